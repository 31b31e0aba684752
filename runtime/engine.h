/* A loaded model: const after open, shared by its sessions.                                                           */
#ifndef LR_ENGINE_H
#define LR_ENGINE_H

#include <pthread.h>

#include "runtime/bind.h"
#include "runtime/cache.h"
#include "runtime/place.h"
#include "runtime/threads.h"
#include "runtime/tokenizer.h"

/* The experts of a layer, each a matrix of its own.                                                                   */
typedef struct lr_layer_experts {
    const lr_matrix *gate, *up, *down;         /* (n_experts), or NULL: the layer has none */
    const float *b_gate, *b_up, *b_down;       /* of all experts, or NULL */
    lr_matrix router, shared_gate;             /* shared_gate: without planes where there is none */
    const float *b_router;                     /* or NULL */
} lr_layer_experts;

/* A gated delta net, see models/model.h.                                                                              */
typedef struct lr_layer_delta {
    lr_matrix q, k, v, z, b, a, out;
    const float *conv, *dt, *rate, *norm;
} lr_layer_delta;

typedef struct lr_layer {
    lr_matrix wq, wk, wv, wo, w_gate, w_up, w_down;
    lr_matrix wq_a, wkv_a, wk_b, wv_b;         /* latent attention */
    const float *q_a_norm, *kv_a_norm;
    lr_matrix wq_gate;                         /* without planes: what attention gives is not gated */
    lr_layer_delta delta;                      /* without planes: the layer is no gated delta net */
    const float *attn_norm, *ffn_norm;         /* (dim), or NULL: x goes in as it is */
    const float *b_attn_norm, *b_ffn_norm;     /* (dim) or NULL */
    const float *attn_post_norm, *ffn_post_norm; /* (dim) or NULL */
    const float *q_norm, *k_norm;              /* (head_dim), or of all heads (norm_rows), or NULL */
    const float *sinks;                        /* (n_heads) or NULL */
    const float *bq, *bk, *bv, *bo;            /* or NULL */
    const float *b_gate, *b_up, *b_down;       /* or NULL */
    int32_t window;                            /* 0: full attention */
    lr_layer_experts experts;                  /* w_gate, w_up, w_down are those of the shared one then, if any */
} lr_layer;

/* Consecutive steps on one GPU that a decoded token launches as one.  See forward.c for steps.                        */
typedef struct lr_recording {
    int32_t first, last;
    int place;
    lr_graph *graph;
} lr_recording;
enum { LR_MAX_RECORDINGS = 2 * LR_PLAN_MAX_GPUS };

struct llmrun_engine {
    lr_report report;
    lr_checkpoint checkpoint;
    lr_binding binding;
    lr_plan_input plan_input;
    lr_plan_cost *costs;           /* of plan_input, NULL: not measured, or precisions are pinned */
    lr_plan plan;
    lr_ops ops;
    lr_threads *threads;
    llmrun_tokenizer *tokenizer;   /* NULL if the model has none */
    const lr_backend *backend;     /* of the GPUs, NULL: none is used */
    lr_plan_device gpu_budgets[LR_PLAN_MAX_GPUS]; /* plan_input.gpus */
    int32_t gpu_index[LR_PLAN_MAX_GPUS];          /* of each in the backend */
    lr_cpu_device cpu;
    lr_place host, gpus[LR_PLAN_MAX_GPUS];
    lr_recording recordings[LR_MAX_RECORDINGS];
    int32_t n_recordings;
    uint8_t *arena;                /* of the host: plan.arena_bytes */
    lr_cache cache;                /* converted weights, where they come from the cache */
    lr_matrix embed, head, positions;
    const float *out_norm, *b_out_norm, *b_head; /* biases: or NULL */
    lr_layer *layers;              /* (n_layers) weights where the plan put them */
    lr_matrix *experts;            /* what the layers' experts point into */
    int32_t *seq_list;             /* (n_layers) which list of seqs its attention has on the GPU that computes it */
    double *rope_freq;             /* (n_ropes, n_rot / 2) */
    char *chat_template;           /* of the options, NULL: the model's own */
    bool has_chat_template;

    pthread_mutex_t lock;          /* one pass at a time, and guards slots */
    bool has_lock;
    bool *slot_taken;              /* (n_sessions) */
};

static inline lr_place *lr_engine_place(llmrun_engine *e, int place) {
    return place == LR_PLACE_HOST ? &e->host : &e->gpus[place];
}

/* What opening needs before any weight is touched: checkpoint, binding, kernels, plan input without rates and GPUs.  Also
 * serves `info` and `quantize`.  e is zeroed by the caller; lr_engine_free accepts it in any state.                   */
llmrun_status lr_engine_prepare(llmrun_engine *e, const llmrun_options *o, llmrun_error *err);
/* What planning needs besides: the GPUs, and rates, which are measured once and kept in the cache directory.          */
llmrun_status lr_engine_find_devices(llmrun_engine *e, const llmrun_options *o, llmrun_error *err);
/* That of the options, else the user's; "": nothing is kept; NULL: there is none, or no memory.  Release with lr_free. */
char *lr_engine_cache_dir(const llmrun_options *o);
void lr_engine_free(llmrun_engine *e);

/* chat.c: the text of the model's chat template (n_bytes), NULL if it has none: that of the options, else
 * chat_template.jinja, else the one in tokenizer_config.json (of several: the default), else that of the GGUF metadata. */
const char *lr_chat_template(const llmrun_engine *e, size_t *n_bytes);

/* Planes of tensor i where the plan put it: its place's arena, the file's map or the cache.                            */
lr_matrix lr_engine_tensor(const llmrun_engine *e, size_t i);
/* Puts a matrix or vector into the member of its role.                                                                */
void lr_layer_set(lr_layer *layer, lr_role role, lr_matrix m);

/* gpus.c: which GPUs there are and what may be used of each, into plan_input; without any the plan is the CPU's.  dir: of
 * the cache.                                                                                                          */
llmrun_status lr_gpus_find(llmrun_engine *e, const llmrun_options *o, const char *dir, llmrun_error *err);
/* Opens the planned GPUs and plans again with the overhead they really have.                                          */
llmrun_status lr_gpus_open(llmrun_engine *e, const llmrun_options *o, llmrun_error *err);
/* Takes the arenas of the final plan.                                                                                 */
llmrun_status lr_gpus_attach(llmrun_engine *e, llmrun_error *err);
llmrun_status lr_engine_settle(llmrun_engine *e, llmrun_error *err); /* waits until all GPUs are idle */
/* What the process has of a GPU; the arena where the driver does not say.  Nothing is allocated after opening, so this is
 * also the most it ever had.                                                                                          */
uint64_t lr_gpus_peak(const llmrun_engine *e, int32_t gpu);
void lr_gpus_close(llmrun_engine *e);

/* load_gpu.c: weights of the GPUs, chunk by chunk through pinned memory; what is converted also goes to the cache.     */
llmrun_status lr_load_gpus(llmrun_engine *e, const llmrun_options *o, lr_cache_writer *cache, llmrun_error *err);

/* Rows of random values of the spread that trained models have, around a mean: 16 rows, repeated.  [errors: NOMEM]     */
llmrun_status lr_random_weights(void *dst, lr_format format, int64_t rows, int64_t cols, float mean, llmrun_error *err);

/* The plan of a prepared engine: made, or replayed.                                                                   */
llmrun_status lr_engine_plan(llmrun_engine *e, const llmrun_options *o, llmrun_error *err);

/* load.c: plans, allocates, brings the weights to where the plan puts them (map, cache or conversion) and fills embed,
 * head, out_norm and layers.  e is prepared.                                                                          */
llmrun_status lr_engine_load(llmrun_engine *e, const llmrun_options *o, llmrun_error *err);

#endif
