/* The blocks of a layer, each computed at one place; forward.c walks through them.                                     */
#ifndef LR_FORWARD_LAYER_H
#define LR_FORWARD_LAYER_H

#include "runtime/forward.h"

/* A pass under way.                                                                                                    */
typedef struct lr_work {
    llmrun_engine *e;
    const lr_pass *p;
    lr_pass_shape shape;
    bool streams;  /* this pass is long enough to send host groups to GPUs */
    int x_at;      /* place that holds x */
    const float *angles; /* cos_sin of this pass once it has been computed */
    llmrun_error *err;
} lr_work;

/* Float rows that matmuls read: x itself, or its norm, which y has room for; or rows that are packed already.          */
typedef struct lr_input {
    const float *x, *norm, *bias; /* norm: weight, or NULL; bias of the norm, or NULL */
    float *y;
    const lr_act *packed;
    int64_t n, cols;
} lr_input;

static inline float *lr_layer_floats(const lr_place *p, uint64_t offset) { return lr_place_at(p, offset); }

/* Format in which the step before leaves the input of m; floats where m has its columns in an order of its own.        */
lr_act_format lr_layer_input_format(const lr_place *p, const lr_matrix *m, int64_t n);
/* Runs the norm, into `out` alone where the place can.                                                                 */
llmrun_status lr_layer_norm(const lr_work *w, lr_place *p, const lr_input *in, const lr_act *out);
/* y[i] (+)= m[i] in + bias[i], up to LR_PRODUCTS_MOST; the norm is done in the same step as the packing where all want one format.    */
enum { LR_PRODUCTS_MOST = 6 };
llmrun_status lr_layer_products(const lr_work *w, lr_place *p, const lr_input *in, const lr_matrix *const *m,
                                float *const *y, const float *const *bias, int count, bool accumulate);
/* x += m in + bias; with a norm in between where the family has one there.                                             */
llmrun_status lr_layer_add_product(const lr_work *w, lr_place *p, const lr_input *in, const lr_matrix *m,
                                   const float *bias, const float *post_norm);

/* seqs: the layer's sequences, in the place's memory.                                                                  */
llmrun_status lr_layer_attention(const lr_work *w, lr_place *p, int32_t layer, const lr_layer *l, const lr_seq *seqs);
/* latent.c: the same for models that keep keys and values of all heads as one short row (DeepSeek-V2).                 */
llmrun_status lr_latent_attention(const lr_work *w, lr_place *p, const lr_layer *l, const lr_seq *seqs);
/* delta.c: the same for layers that are gated delta nets.                                                              */
llmrun_status lr_delta_net(const lr_work *w, lr_place *p, const lr_layer *l, const lr_seq *seqs);
/* The feed-forward's input: the norm of x; where it is parallel to attention, `h`; where there are experts, `y`.      */
lr_input lr_layer_ffn_input(const lr_work *w, const lr_place *p, const lr_layer *l);
/* Leaves the hidden values packed as w_down wants them where that is at the same place, else as floats in `gate`.      */
llmrun_status lr_layer_gate_up(const lr_work *w, lr_place *p, const lr_layer *l, lr_act_format format);
/* The same with weights that are sent meanwhile; *l, a copy of the engine's layer, gets where they are.                */
llmrun_status lr_layer_streamed_gate_up(const lr_work *w, lr_place *p, int32_t layer, lr_layer *l, lr_act_format format);
llmrun_status lr_layer_down(const lr_work *w, lr_place *p, const lr_layer *l, lr_act_format format, bool packed_there);

/* forward_experts.c, layers with experts: the norm, which `y` keeps for them, and the shared feed-forward.            */
llmrun_status lr_layer_shared(const lr_work *w, lr_place *p, const lr_layer *l);
/* The experts, which read `y`.                                                                                         */
llmrun_status lr_layer_experts_run(const lr_work *w, lr_place *p, const lr_layer *l);

#endif
