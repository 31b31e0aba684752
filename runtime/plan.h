/* The planner: a pure function from shapes, formats and budgets to a placement.  No I/O, no device, no clock: the same
 * input gives the same plan, byte for byte.  Every byte that the run will use has a named region here.               */
#ifndef LR_PLAN_H
#define LR_PLAN_H

#include "kernels/backend.h"
#include "models/model.h"

#define LR_PLAN_MAX_GPUS 16
#define LR_PLACE_HOST (-1) /* place of a tensor or group: the CPU; 0 and above: that GPU */

/* What is placed as one: the tensors that one step of a layer reads.                                                 */
typedef enum lr_group {
    LR_GROUP_ATTN,    /* attn_norm, wq, wk, wv, wo, their biases, q_norm, k_norm, or a gated delta net; and the
                       * layer's KV cache, or the state of that.  Where
                       * attention and feed-forward are parallel, all of the layer: the other two are empty */
    LR_GROUP_GATE_UP, /* ffn_norm, w_gate, w_up, biases; beside experts all of the shared feed-forward */
    LR_GROUP_DOWN,    /* w_down, bias; or the router and the experts */
    LR_N_GROUPS,      /* of a layer; group g of layer l has index l * LR_N_GROUPS + g */
    LR_GROUP_EMBED = LR_N_GROUPS, /* with the head where they are tied */
    LR_GROUP_HEAD     /* out_norm, head */
} lr_group;
lr_group lr_plan_group(const lr_hparams *h, lr_role role);
const char *lr_plan_role_name(lr_role role); /* "wq"; static text */

typedef enum lr_prefer {
    LR_PREFER_AUTO,    /* the file's precision if it fits on the GPUs, else 8-bit, else 4-bit, else offload */
    LR_PREFER_QUALITY, /* the file's precision as long as GPUs and host together hold it: offload before fewer bits */
    LR_PREFER_SPEED    /* 4-bit at once: fewest bytes a token */
} lr_prefer;

typedef enum lr_tier {
    LR_TIER_RESIDENT, /* in the arena of its place */
    LR_TIER_MAPPED,   /* used straight from the file's mapping (host), no arena bytes */
    LR_TIER_STREAMED, /* of the host; passes of lr_plan.stream_from tokens or more copy it to a GPU */
    LR_TIER_DISK      /* mapped, larger than RAM: read from disk in layer order */
} lr_tier;

/* One weight tensor of the model as the planner sees it.                                                             */
typedef struct lr_plan_tensor {
    lr_role role;
    int32_t layer;          /* -1: outside the layers */
    int64_t rows, cols;     /* of all experts, where experts is not 0 */
    int32_t experts;        /* so many matrices one below the other, of which a token reads hparams.n_experts_used */
    lr_format file_format;  /* run format that the file's bytes already are (f32 f16 bf16), or LR_FORMAT_NONE */
    bool aligned;           /* the file's bytes can be used in place (alignment of the element) */
    bool permuted;          /* in the file's precision its columns are in another order, which goes with them */
} lr_plan_tensor;

/* Precisions that one tensor may have where they are mixed, fewest bits first; to ask for: lr_plan_rungs.             */
typedef enum lr_rung { LR_RUNG_Q4_K, LR_RUNG_Q6_K, LR_RUNG_Q8_0, LR_RUNG_FILE, LR_N_RUNGS } lr_rung;
extern const lr_format lr_plan_rungs[LR_N_RUNGS];

/* What it costs to run one tensor there instead of in the file's precision, all else unchanged: how far the logits go, as
 * KL divergence in nats a token, measured (sensitivity.h).  Costs of tensors add up, nearly.                         */
typedef struct lr_plan_cost {
    double kl[LR_RUNG_FILE];
} lr_plan_cost;

typedef struct lr_plan_device {
    char name[64];          /* "cpu", "GPU 0" */
    uint64_t budget_bytes;  /* all that may be added there */
    uint64_t overhead_bytes; /* context, libraries: measured or estimated; 0 on the simulated GPU */
    uint64_t granule_bytes; /* the arena is a multiple of this */
    uint64_t library_bytes, library_overhead; /* of the arena, that the vendor's library for dense products works in, 0:
                                                 there is none; what it takes beside */
    double read_bytes_per_s, flops_per_s, link_bytes_per_s; /* measured or stated rates; 0: unknown */
    bool rates_stated;      /* not of a device that is there: from --gpu or a table of cards */
} lr_plan_device;

typedef struct lr_plan_input {
    const lr_hparams *model;
    const lr_plan_tensor *tensors;
    size_t n_tensors;
    lr_format quant;        /* LR_FORMAT_NONE: auto (file precision, then 8-bit, then 4-bit) */
    int32_t quant_bits;     /* 0, or 8 / 4 from "8bit" / "4bit": best format of that width; goes before quant */
    const lr_plan_cost *costs; /* (n_tensors) or NULL: not measured.  Precisions that are not pinned are mixed by them */
    bool mixed;             /* mixed without trying the file's precision first; needs costs */
    double mixed_bits;      /* mixed: bits of a weight on average, at most; 0: as many as fit */
    const lr_format *formats; /* (n_tensors) asked for of each, LR_FORMAT_NONE: the file's; goes before quant.  Or NULL */
    lr_format kv;           /* LR_FORMAT_NONE: auto (f16, never changed silently) */
    int32_t n_ctx;          /* 0: auto (model's own, lowered only when it does not fit) */
    int32_t n_ctx_most;     /* upper limit for auto, 0: n_ctx_train */
    int32_t n_batch;        /* 0: auto (512, lowered to 32 to fit); never above n_ctx, never below n_sessions */
    int32_t n_sessions, n_threads;
    lr_prefer prefer;
    bool disk;              /* mapped weights may exceed the host budget: every token then reads from disk */
    bool use_mmap;          /* mapped weights possible */
    bool cached;            /* converted weights come from the on-disk cache: mapped, not in the arena */
    lr_plan_device host;    /* the CPU */
    const lr_plan_device *gpus; /* (n_gpus) in the order in which layers go through them */
    int32_t n_gpus;         /* 0: everything on the CPU */
    double disk_bytes_per_s;     /* read in order; 0: unknown */
    uint64_t host_fixed_bytes;   /* tokenizer, directory, threads: known before planning */
    const lr_ops *ops;      /* which activation format each matmul reads; NULL: f32 */
    const char *model_path; /* for the command that repeats the plan; NULL: "MODEL" */
    double convert_bytes_per_s;  /* file bytes that conversion takes in, all threads; 0: unknown */
    size_t (*scratch_bytes)(int64_t max_cols, int64_t n, int32_t n_heads, int32_t head_dim); /* of lr_ops */
    size_t scratch_least;        /* what a thread needs besides, for converting weights */
    size_t (*partial_bytes)(int32_t n_rows, int32_t n_ctx, int32_t n_heads, int32_t n_kv_heads, int32_t v_dim);
} lr_plan_input;

typedef struct lr_plan_region {
    char name[48];          /* "layers.3.weights", "kv.3", "activations.x", "logits", "scratch" */
    uint64_t offset, bytes; /* in its device's arena; offset a multiple of LR_ALIGN */
} lr_plan_region;

/* Where one tensor goes.                                                                                             */
typedef struct lr_plan_placement {
    lr_format format;       /* it runs in */
    lr_tier tier;
    int8_t place;           /* LR_PLACE_HOST or the GPU whose arena holds it */
    uint64_t bytes;         /* in the run layout; used from the model's file on the host: of the mapping */
    uint64_t offset;        /* in its arena; in the cache file's block where it is mapped from there; else 0 */
    uint64_t order_bytes;   /* on GPUs: of the order of its columns, behind its planes; or 0 */
    uint64_t block_offset;  /* converted: in the block of all converted tensors, which is what the cache file holds */
    bool converted;         /* its bytes are not those of the model's file */
    bool fell_back;         /* rows do not divide by the asked format's block */
} lr_plan_placement;

/* Bytes that a tensor so placed takes in a GPU's arena, and where in them the order of its columns begins.           */
static inline uint64_t lr_plan_order_offset(const lr_plan_placement *p) { return lr_aligned(p->bytes); }
static inline uint64_t lr_plan_gpu_bytes(const lr_plan_placement *p) {
    return lr_plan_order_offset(p) + lr_aligned(p->order_bytes);
}

/* Activation buffers of a pass, offsets in the arena of the CPU or of one GPU.                                       */
typedef struct lr_plan_buffers {
    uint64_t x, y, q, k, v, att, gate, up;    /* float rows of dim, dim, q_dim, kv_dim, kv_dim, q_dim, hidden, hidden */
    uint64_t h;                               /* rows of dim: the feed-forward's input, kept while attention adds to x */
    uint64_t inner;                           /* rows of lr_inner_width: values between matrices beside q, k and v */
    uint64_t act;                             /* packed activations, widest needed */
    uint64_t route, experts;                  /* CPU: of layers with experts: router's results, lr_experts_args.work */
    uint64_t act_hidden;                      /* GPU: packed input of w_down, beside act; CPU: 0, act serves */
    uint64_t cos_sin, partial, logits;        /* cos_sin: n_ropes tables; logits: logit_rows x n_vocab */
    uint64_t seqs;                            /* CPU: n_sessions x lr_seq.  GPU: that for each of its layers */
    uint64_t tokens;                          /* CPU: n_sessions x n_ctx ids */
    uint64_t ids;                             /* GPU that embeds: n_batch ids; where positions have a table, so many of
                                               * them behind.  CPU: positions alone */
    uint64_t scratch, scratch_stride;         /* CPU: per thread */
} lr_plan_buffers;

/* What a plan takes of one GPU.  seqs, ids and cos_sin follow each other in the arena, in this order: the header of a
 * pass, sent in one copy.                                                                                            */
typedef struct lr_plan_gpu {
    lr_plan_region *regions; /* (n_regions) all of the arena */
    size_t n_regions;
    lr_plan_buffers buffers;
    int32_t n_layers;        /* whose attention it ever computes, streamed ones too: lists of seqs, in layer order */
    uint64_t arena_bytes, overhead_bytes, total_bytes; /* total <= budget */
    uint64_t weights_bytes, kv_bytes, activation_bytes, staging_bytes; /* of the arena, by class */
    uint64_t weight_bytes_per_token;
    uint64_t header, header_bytes; /* the whole of it */
    uint64_t library, library_bytes; /* workspace of the vendor's library; 0 bytes: it is not used */
    /* Staging: weights of a streamed group of each kind, so that the next layer's are on their way while this one's are
     * used; 0 bytes: none of that kind is streamed to this GPU.                                                        */
    uint64_t slot[LR_N_GROUPS], slot_bytes[LR_N_GROUPS];
    uint64_t kv_slot[2], kv_slot_bytes; /* staging: one layer's cache of one session */
    /* One block of pinned host memory: offsets.                                                                      */
    uint64_t pinned_bytes;
    uint64_t pinned_header[2]; /* header_bytes each */
    uint64_t pinned_x;         /* n_batch rows of dim: boundary to the host */
    uint64_t pinned_hidden;    /* n_batch rows of hidden, where a feed-forward is split between it and the host */
    uint64_t pinned_logits;    /* logit_rows x n_vocab, where it has the head */
    uint64_t pinned_slot[2];   /* the largest slot_bytes each; also what loading sends weights through */
    uint64_t pinned_slot_bytes; /* at least LR_PLAN_LOAD_SLOT */
    uint64_t pinned_kv[2];     /* kv_slot_bytes each */
} lr_plan_gpu;
#define LR_PLAN_LOAD_SLOT ((uint64_t)1 << 20) /* smallest slot that loading works with; a row must fit */

typedef struct lr_plan {
    int32_t n_ctx, n_batch, n_sessions, n_threads, logit_rows;
    lr_format quant;        /* asked for or chosen; as in the file, mixed: the format of most matrix bytes */
    bool quant_kept;        /* each matrix runs in its file's own precision (f32 files: f16) */
    lr_format *formats;     /* (n_tensors) asked for of each, where precisions are mixed; else NULL */
    double mixed_bits;      /* that they were chosen for; 0: unknown */
    double kl;              /* mixed: estimated of the costs; 0: unknown */
    lr_format kv;
    bool n_ctx_lowered;     /* auto context had to shrink below the model's own */
    lr_plan_placement *placements; /* (n_tensors), same order as the input */
    size_t n_tensors;
    int8_t *place;           /* (n_layers x LR_N_GROUPS) where each group is computed */
    size_t n_groups;         /* n_layers x LR_N_GROUPS */
    int8_t *stream;          /* (the same) host groups: the GPU that long passes stream them to, or LR_PLACE_HOST */
    int8_t embed_place, head_place;
    int32_t stream_from;     /* passes of at least so many tokens stream; 0: none does */
    int32_t n_host_layers;   /* layers of which any group is computed by the CPU at decode */
    lr_plan_gpu *gpus;       /* (n_gpus) */
    int32_t n_gpus;
    uint64_t block_bytes;    /* of all converted tensors: the cache file */
    uint64_t pinned_bytes;   /* of all GPUs: host memory, part of total_bytes */
    lr_plan_region *regions; /* of the host arena */
    size_t n_regions;
    lr_plan_buffers buffers;
    uint64_t arena_bytes;    /* host arena: ends the last region, rounded up to the granule */
    uint64_t weights_bytes;  /* host tensors in the arena, at its start */
    uint64_t mapped_bytes;   /* weights used from mappings, read by every token; counted apart */
    uint64_t mapped_rows_bytes; /* embedding beside an own head: mapped, a token reads one row; not in needed_bytes */
    uint64_t disk_bytes;     /* of the mapped ones: more than RAM holds, so every token reads them from disk */
    uint64_t fixed_bytes;    /* host_fixed_bytes + device overhead */
    uint64_t total_bytes;    /* arena + pinned + fixed: planned peak of host memory beside the mappings */
    uint64_t needed_bytes;   /* total + mapped - disk: what the budget must hold */
    uint64_t weight_bytes;   /* all weights in their run formats, file padding not counted */
    uint64_t format_bytes[LR_N_FORMATS]; /* weight_bytes by format */
    uint64_t weight_bytes_per_token; /* read by one decoded token (input embedding: one row) */
    uint64_t kv_bytes_per_token;     /* of context: all layers, windowed ones by what they hold; one session */
    uint64_t kv_slot_bytes;          /* one session's cache, its pages rounded up to LR_ALIGN */
    uint64_t kv_bytes, activation_bytes; /* regions of that class, rounded up to LR_ALIGN; with weights: the arena */
    uint64_t *kv_offset;     /* (n_sessions x n_layers) in the arena of the layer's attention: by session, then layer */
    uint64_t *kv_page_bytes; /* (n_layers) */
    int32_t *kv_slots;       /* (n_layers) positions the layer keeps; 0: a state, of as many bytes at any position */
    uint64_t n_params;
    double decode_tokens_per_s, prefill_tokens_per_s, load_seconds; /* predicted; 0 where rates are unknown */
    char why[512];           /* one line: what was chosen and why */
    uint64_t hash;           /* of choices, placements, regions, offsets and sizes; predictions and why are not in it */
} lr_plan;

/* Makes the plan.  Order in auto mode, first that fits: (1) precision as in the file with the full context, then with a
 * context lowered to what fits but not below 4096; (2) the same in 8-bit; (3) in 4-bit; (4) 4-bit with a context down
 * to 512.  At each step the chunk goes from 512 down to 32 before anything else gives way; beside a lowered context it
 * starts from 128.  What the caller pinned is kept.
 * Where costs are known and not the file's precision was chosen, what the budget has left then buys bits where they count
 * most (plan_mix.h), unless layers are left to the CPU beside GPUs.  in->model etc. must outlive the call only.
 * NOMEM when nothing fits: needed, available and the remedies below.  ARG, UNSUPPORTED, FORMAT: impossible input.
 * Cost: <= 1 ms for 100 layers.                                                                                      */
llmrun_status lr_plan_make(lr_plan *plan, const lr_plan_input *in, llmrun_error *err);
void lr_plan_close(lr_plan *plan); /* frees its arrays; accepts a zeroed plan */

/* Lays out the choices of a plan's JSON (lr_plan_json) for the input as it is now: precision, cache, context, chunk and
 * places are those of the document, budgets and rates those of the input.  FORMAT: no such document, or the result would
 * be another plan; the sentence says where.  NOMEM, VRAM: it does not fit the budgets any more.                      */
llmrun_status lr_plan_replay(lr_plan *plan, const lr_plan_input *in, const char *json, llmrun_error *err);

/* A change of the command line that makes a refused plan fit: proved by planning again.                              */
typedef struct lr_plan_remedy {
    char words[80];        /* "--quant 4bit -c 2048"; "--vram 8589934592,0": without the second GPU */
    lr_plan_input input;   /* the input with that change; its gpus may be those below */
    lr_plan_device gpus[LR_PLAN_MAX_GPUS];
    uint64_t needed_bytes; /* of the host, by the plan it gives */
    double decode_tokens_per_s; /* predicted, 0: unknown */
} lr_plan_remedy;
enum { LR_PLAN_MAX_REMEDIES = 8 };
/* Fills the smallest changes, single ones first, other devices and exact sizes last; returns their number, 0 when `in`
 * fits already.                                                                                                      */
int lr_plan_remedies(const lr_plan_input *in, lr_plan_remedy out[LR_PLAN_MAX_REMEDIES]);

/* Decode tokens/s that 1 GiB more on each GPU would add, by planning again; 0 where nothing is left to the CPU or rates
 * are unknown.                                                                                                       */
double lr_plan_marginal(const lr_plan *plan, const lr_plan_input *in);

void lr_plan_text(const lr_plan *plan, const lr_plan_input *in, lr_text *out); /* for people */
void lr_plan_json(const lr_plan *plan, const lr_plan_input *in, lr_text *out); /* one JSON document */

#endif
