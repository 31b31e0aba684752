/* A backend: devices that layers can run on, their memory, queues and ops.
 *
 * GPU backends are shared objects (libllmrun-cuda.so, libllmrun-sim.so) that export one function, lr_backend_open; they
 * are looked for beside the library.  The CPU implements the same lr_device_ops inside the library, so that one forward
 * pass serves every device.
 *
 * Calls on one device come from one thread at a time.  Ops and copies are queued and return at once; what they touch
 * must stay untouched until the queue has passed them.  After a failed call the device is lost for its users: every
 * later call may fail too, close still works.  Nothing allocates device memory but arena_open and graph_end.         */
#ifndef LR_BACKEND_H
#define LR_BACKEND_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LR_BACKEND_ABI 5

typedef struct lr_device lr_device; /* an open device; its content is the backend's own */
typedef struct lr_event lr_event;   /* a point in a queue */
typedef struct lr_graph lr_graph;   /* ops recorded once, launched many times */

/* The queues of a device: each runs in order, all at the same time.  COPY sends to the device, RETURN brings back what
 * nobody on the device waits for.                                                                                     */
typedef enum lr_queue { LR_QUEUE_COMPUTE, LR_QUEUE_COPY, LR_QUEUE_RETURN, LR_N_QUEUES } lr_queue;

/* What the library gives to a backend.                                                                               */
typedef struct lr_backend_host {
    void *(*alloc)(size_t bytes); /* zeroed; NULL on failure */
    void (*free)(void *p);
    llmrun_status (*fail)(llmrun_error *err, llmrun_status status, const char *format, ...);
} lr_backend_host;

/* What is known of a device before it is opened.                                                                     */
typedef struct lr_device_info {
    char name[64];
    int32_t major, minor;      /* compute capability */
    uint64_t total_bytes;
    uint64_t free_bytes;       /* now, context of this process not yet made */
    uint64_t overhead_bytes;   /* upper bound of what opening adds beside the arena: context, kernels, graphs */
    uint64_t granule_bytes;    /* an arena is a multiple of this */
    uint64_t library_bytes;    /* of the arena, that use_library works in; 0: there is no library */
    uint64_t library_overhead; /* estimate of what it takes beside */
    double read_bytes_per_s;   /* device memory; 0: unknown until measured */
    double flops_per_s;        /* f16 matrix products; 0: unknown */
    double link_bytes_per_s;   /* to and from the host, each way; 0: unknown */
} lr_device_info;

/* Shape of a pass, known to the host when it queues ops.                                                             */
typedef struct lr_pass_shape {
    int64_t n;              /* rows */
    int32_t n_seqs;
    int64_t most_rows;      /* of one sequence */
    int32_t n_ctx;          /* no position reaches it; fixed for an engine, so that splits of the context are too */
    int32_t context;        /* no position of this pass reaches it: for the virtual clock alone; 0: n_ctx */
} lr_pass_shape;

/* New rows of q, k, v: norm of each head where the family has one, rope, and into the cache.                         */
typedef struct lr_qkv_args {
    float *q, *k;                  /* (n, n_heads * head_dim), changed in place; (n, n_kv_heads * head_dim), perhaps too */
    const float *v;                /* (n, n_kv_heads * head_dim) */
    const float *q_norm, *k_norm;  /* RMSNorm of each head: (head_dim); or of the row: all its heads; or NULL */
    bool norm_rows;
    bool norm_each;                /* LayerNorms of heads, with weights for each: (n_heads * head_dim), (n_kv_heads * .. */
    float norm_eps;
    const float *cos_sin;          /* (n, n_rot), see lr_rope_args */
    int32_t n_heads, n_kv_heads, head_dim, n_rot; /* n_rot 0: no rope */
    bool rope_adjacent;
    const lr_seq *seqs;            /* in the device's memory, like every pointer here */
} lr_qkv_args;

/* Latent attention: new rows of the cache, norm of their first kv_rank values and rope of the others, into the cache; and
 * the rotated values of queries to where those of the cache will meet them.  Pairs (2i, 2i + 1) rotate.               */
typedef struct lr_latent_args {
    float *k;                      /* (n, kv_rank + n_rot), perhaps changed in place */
    const float *k_norm;           /* (kv_rank) */
    float norm_eps;
    float *x;                      /* (n, n_heads * (n_nope + n_rot)), perhaps changed in place */
    float *q;                      /* (n, n_heads * (kv_rank + n_rot)), of which the last n_rot of each head are written */
    const float *cos_sin;          /* (n, n_rot), see lr_rope_args */
    int32_t n_heads, n_nope, n_rot, kv_rank;
    const lr_seq *seqs;
} lr_latent_args;

/* A product for each head: y[t][h] = w_h x[t][h], w_h being the h-th of n_heads equal parts of the rows of w.         */
typedef struct lr_heads_args {
    float *y;
    int64_t y_stride, y_head;      /* floats from row to row of the pass, from head to head */
    lr_act x;                      /* rows with all heads: floats on the CPU, else in the format that lr_device_ops.act */
    int64_t x_head;                /* has for one row; values from head to head, w.cols of which count */
    lr_matrix w;
    int32_t n_heads;
} lr_heads_args;

/* Ops of a forward pass.  Pointers in argument structs are of the device; `out` itself is of the host.  An activation
 * `out` gets the op's rows packed (LR_ACT_F32: plain floats); NULL: not wanted.                                       */
typedef struct lr_device_ops {
    /* Format in which matmul takes its activations for weights of format w in a pass of n tokens; LR_ACT_NONE: this
     * device has no kernel for w.                                                                                     */
    lr_act_format (*act)(const lr_device *d, lr_format w, int64_t n);
    llmrun_status (*embed)(lr_device *d, const lr_embed_args *a, int64_t n, llmrun_error *err);
    /* a->y NULL: only out is wanted (not with accumulate). */
    llmrun_status (*norm)(lr_device *d, const lr_norm_args *a, int64_t rows, const lr_act *out, llmrun_error *err);
    llmrun_status (*pack)(lr_device *d, const lr_pack_args *a, llmrun_error *err); /* a->out.n rows */
    /* 1 to 3 products of the same activations m[0].x.                                                                 */
    llmrun_status (*matmul)(lr_device *d, const lr_matmul_args *m, int count, llmrun_error *err);
    /* out = act(m[0]) * m[1]; m[0].y and m[1].y are buffers of x.n rows that the op may use.                          */
    llmrun_status (*matmul_glu)(lr_device *d, const lr_matmul_args m[2], lr_glu_act act, const lr_act *out,
                                llmrun_error *err);
    /* Where gate and up are not one op; y may be gate or up. */
    llmrun_status (*glu)(lr_device *d, const lr_glu_args *a, int64_t rows, const lr_act *out, llmrun_error *err);
    llmrun_status (*qkv)(lr_device *d, const lr_qkv_args *a, const lr_pass_shape *s, llmrun_error *err);
    /* a->out, the rows as floats, may be NULL where out is given; a->partial as the shape needs. */
    llmrun_status (*attention)(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out,
                               llmrun_error *err);
    /* Of layers with experts; NULL: this backend has none. */
    llmrun_status (*gate_rows)(lr_device *d, const lr_gate_rows_args *a, int64_t rows, llmrun_error *err);
    llmrun_status (*route)(lr_device *d, const lr_route_args *a, int64_t rows, llmrun_error *err);
    llmrun_status (*experts)(lr_device *d, const lr_experts_args *a, llmrun_error *err);
    llmrun_status (*latent)(lr_device *d, const lr_latent_args *a, const lr_pass_shape *s, llmrun_error *err);
    llmrun_status (*heads)(lr_device *d, const lr_heads_args *a, llmrun_error *err);
    llmrun_status (*delta)(lr_device *d, const lr_delta_args *a, const lr_pass_shape *s, llmrun_error *err);
} lr_device_ops;

typedef struct lr_backend {
    uint32_t abi;
    const char *name;         /* "cuda", "sim" */
    lr_device_ops ops;

    int32_t (*count)(void);   /* devices; 0: no driver or no device */
    llmrun_status (*info)(int32_t index, lr_device_info *info, llmrun_error *err); /* makes no context */
    llmrun_status (*open)(lr_device **d, int32_t index, llmrun_error *err);        /* context, queues, kernels */
    void (*close)(lr_device *d); /* accepts NULL */
    /* Bytes that this process has taken on the device so far, arena included; 0: the driver does not say.             */
    uint64_t (*used_bytes)(lr_device *d);
    llmrun_status (*measure)(lr_device *d, lr_device_info *rates, llmrun_error *err); /* fills the three rates, < 0.3 s */

    llmrun_status (*arena_open)(lr_device *d, uint64_t bytes, void **base, llmrun_error *err); /* one a device */
    void (*arena_close)(lr_device *d); /* after all queues are empty */
    /* Loads the vendor's library (cuBLAS), which takes device memory beside overhead_bytes: measure used_bytes after it.
     * With base it serves dense products of long passes from then on, in that many bytes of the arena at base; 0 bytes
     * let go of it.  False: there is none, our own kernels go on.                                                     */
    bool (*use_library)(lr_device *d, void *base, uint64_t bytes);
    llmrun_status (*pinned_open)(lr_device *d, uint64_t bytes, void **base, llmrun_error *err); /* host memory */
    void (*pinned_close)(lr_device *d, void *base);

    /* Copies between pinned memory and the device.  rows x bytes, from row to row `pitch` apart on each side (rows 1:
     * pitches are not used).                                                                                          */
    llmrun_status (*copy_in)(lr_device *d, lr_queue q, void *dst, size_t dst_pitch, const void *pinned, size_t pitch,
                             size_t bytes, size_t rows, llmrun_error *err);
    llmrun_status (*copy_out)(lr_device *d, lr_queue q, void *pinned, size_t pitch, const void *src, size_t src_pitch,
                              size_t bytes, size_t rows, llmrun_error *err);
    /* From another device of this backend, queued on d; direct where the hardware can, else by way of the host.       */
    llmrun_status (*copy_peer)(lr_device *d, lr_queue q, void *dst, lr_device *from, const void *src, size_t bytes,
                               llmrun_error *err);

    llmrun_status (*event_open)(lr_device *d, lr_event **e, llmrun_error *err);
    void (*event_close)(lr_device *d, lr_event *e); /* accepts NULL */
    llmrun_status (*event_record)(lr_device *d, lr_queue q, lr_event *e, llmrun_error *err);
    /* Queue q of d goes on only after e, which may be of another device.  An event never recorded is passed.           */
    llmrun_status (*event_wait)(lr_device *d, lr_queue q, lr_event *e, llmrun_error *err);
    llmrun_status (*event_sync)(lr_device *d, lr_event *e, llmrun_error *err); /* the calling thread waits */
    llmrun_status (*sync)(lr_device *d, llmrun_error *err);                    /* all queues empty */

    /* What is queued on COMPUTE between begin and end is recorded, not run.  At most a few graphs a device, made before
     * the plan is sealed: they take device memory that overhead_bytes counts.                                         */
    llmrun_status (*graph_begin)(lr_device *d, llmrun_error *err);
    llmrun_status (*graph_end)(lr_device *d, lr_graph **g, llmrun_error *err);
    llmrun_status (*graph_launch)(lr_device *d, lr_graph *g, llmrun_error *err);
    void (*graph_close)(lr_device *d, lr_graph *g); /* accepts NULL */

    /* Simulated GPUs only, else NULL: the virtual clock in seconds, and work of the host that moves it on.             */
    double (*clock)(void);
    void (*host_work)(double seconds);
} lr_backend;

/* The one exported function.  config: what --sim-gpus says ("2x512M", "2x1G:900:80"); NULL or "early" for hardware
 * (kernels/cuda/gpu.h).  NULL with err filled where the backend cannot work here at all.                             */
typedef const lr_backend *(*lr_backend_open_function)(uint32_t abi, const lr_backend_host *host, const char *config,
                                                      llmrun_error *err);
#define LR_BACKEND_OPEN "lr_backend_open"

/* ---- facts about GPU kernels that the planner needs too (gpu_facts.c, in the library and in the backends) ---- */

enum { LR_GPU_FEW = 8 }; /* passes of up to so many tokens take the kernels that read weights once */

/* Memory that cuBLAS works in, where it serves dense products: NVIDIA's advice for Hopper, enough for the others.      */
#define LR_GPU_CUBLAS_WORKSPACE ((uint64_t)32 << 20)

/* See lr_device_ops.act; the same on every GPU.                                                                      */
lr_act_format lr_gpu_act(lr_format weights, int64_t n);
/* Experts that a GPU can sort the rows of a pass by.                                                                  */
enum { LR_GPU_EXPERTS_MOST = 4096 };

/* lr_experts_args.work on a GPU for n tokens: offsets.  Pairs are (token, rank), those of long passes sorted by expert. */
typedef struct lr_gpu_experts_room {
    size_t hidden;             /* (n k, hidden) packed as down reads them */
    size_t in;                 /* columns in orders of their own: (n k, dim) packed as gate and up read them */
    size_t rows;               /* floats: (n k, hidden) of gate and of up, then (n k, dim); short passes have it for the
                                * hidden values alone, and where columns are in orders of their own */
    size_t tokens, pairs;      /* the rest is of long passes: (n k) of each sorted pair, its token and its number t k + rank */
    size_t tiles;              /* (n_tiles) of 4 int32_t, see gemm.h */
    int32_t n_tiles;           /* in tiles of LR_GPU_EXPERTS_TILE rows, the smallest */
    size_t bytes;
} lr_gpu_experts_room;
enum { LR_GPU_EXPERTS_TILE = 32 };
/* ordered: format of gate and up where any of the three has columns in orders of its experts' own, else LR_FORMAT_NONE. */
lr_gpu_experts_room lr_gpu_experts_lay_out(int64_t n, int32_t k, int32_t n_experts, int64_t dim, int64_t hidden,
                                           lr_format ordered, lr_format down);
/* For all passes of at most n tokens.                                                                                 */
size_t lr_gpu_experts_bytes(int64_t n, int32_t k, int32_t n_experts, int64_t dim, int64_t hidden,
                            lr_format ordered, lr_format down);
/* Into how many parts attention of a few rows cuts the context: fixed by shape, never by the device.                 */
int32_t lr_gpu_attention_splits(int32_t n_kv_heads, int32_t n_ctx);
size_t lr_gpu_attention_partial_bytes(int32_t n_rows, int32_t n_ctx, int32_t n_heads, int32_t n_kv_heads,
                                      int32_t head_dim);
/* KV formats that attention reads on a GPU, and head_dim up to 256 that it can take.                                  */
bool lr_gpu_attention_takes(lr_format kv, int32_t head_dim);
/* The same of latent attention.                                                                                       */
bool lr_gpu_latent_takes(lr_format kv, int32_t kv_rank, int32_t n_nope, int32_t n_rot);
/* The same of gated delta nets.                                                                                       */
bool lr_gpu_delta_takes(int32_t k_dim, int32_t v_dim, int32_t taps);

#ifdef __cplusplus
}
#endif
#endif
