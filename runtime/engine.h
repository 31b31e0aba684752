/* A loaded model: const after open, shared by its sessions.                                                           */
#ifndef LR_ENGINE_H
#define LR_ENGINE_H

#include <pthread.h>

#include "runtime/bind.h"
#include "runtime/cache.h"
#include "runtime/plan.h"
#include "runtime/threads.h"
#include "runtime/tokenizer.h"

typedef struct lr_layer {
    lr_matrix wq, wk, wv, wo, w_gate, w_up, w_down;
    const float *attn_norm, *ffn_norm;         /* (dim) */
    const float *q_norm, *k_norm;              /* (head_dim) or NULL */
    const float *bq, *bk, *bv, *bo;            /* or NULL */
    const float *b_gate, *b_up, *b_down;       /* or NULL */
    int32_t window;                            /* 0: full attention */
} lr_layer;

struct llmrun_engine {
    lr_report report;
    lr_checkpoint checkpoint;
    lr_binding binding;
    lr_plan_input plan_input;
    lr_plan plan;
    lr_ops ops;
    lr_threads *threads;
    llmrun_tokenizer *tokenizer;   /* NULL if the model has none */
    uint8_t *arena;                /* plan.arena_bytes */
    lr_cache cache;                /* converted weights, where they come from the cache */
    lr_matrix embed, head;
    const float *out_norm;
    lr_layer *layers;              /* (n_layers) */
    double *rope_freq;             /* (n_rot / 2) */
    bool has_chat_template;

    pthread_mutex_t lock;          /* one pass at a time, and guards slots */
    bool has_lock;
    bool *slot_taken;              /* (n_sessions) */
};

/* What opening needs before any weight is touched: checkpoint, binding, kernels, plan input.  Also serves `plan` and
 * `info`.  e is zeroed by the caller; lr_engine_free accepts it in any state.                                         */
llmrun_status lr_engine_prepare(llmrun_engine *e, const llmrun_options *o, llmrun_error *err);
void lr_engine_free(llmrun_engine *e);

/* chat.c: the text of the model's chat template (n_bytes), NULL if it has none: chat_template.jinja, else the one in
 * tokenizer_config.json, else the first of those there.                                                               */
const char *lr_chat_template(const llmrun_engine *e, size_t *n_bytes);

/* load.c: plans, allocates, brings the weights to where the plan puts them (map, cache or conversion) and fills embed,
 * head, out_norm and layers.  e is prepared.                                                                          */
llmrun_status lr_engine_load(llmrun_engine *e, const llmrun_options *o, llmrun_error *err);

#endif
