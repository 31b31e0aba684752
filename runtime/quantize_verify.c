/* GGUF metadata before it is written: what a reader makes of it must be the model.  Whatever the container has no word for
 * (windows in other layers than the family's, another activation, experts in some layers only) shows here.            */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "loaders/gguf.h"
#include "loaders/write.h"
#include "runtime/quantize.h"

static bool near(float a, float b) { return fabsf(a - b) <= 1e-5f * fmaxf(fabsf(a), fabsf(b)); }

static const char *compare_ropes(const lr_hparams *a, const lr_hparams *b) {
    if (a->n_rot != b->n_rot || a->n_ropes != b->n_ropes) return "which part of a head rotates";
    for (int32_t i = 0; i < a->n_ropes && a->n_rot; i++) {
        const lr_rope *x = &a->rope[i], *y = &b->rope[i];
        bool by_tensors = x->scaling == LR_ROPE_LLAMA3 || x->scaling == LR_ROPE_LONG;
        bool yarn = x->scaling == LR_ROPE_YARN;
        if (!near(x->theta, y->theta)) return "rope_theta";
        if (!by_tensors && x->scaling != y->scaling) return "rope_scaling";
        if (x->scaling == LR_ROPE_LLAMA3) continue;
        if (!near(x->attn_factor, y->attn_factor) || (!by_tensors && x->scaling != LR_ROPE_NONE && !near(x->factor, y->factor)) ||
            (yarn && (x->beta_fast != y->beta_fast || x->beta_slow != y->beta_slow || x->sharp != y->sharp)) ||
            ((yarn || by_tensors) && x->n_ctx_orig != y->n_ctx_orig))
            return "rope_scaling";
    }
    return NULL;
}

/* What differs, in the words of config.json, or NULL.                                                                  */
static const char *compare(const lr_hparams *a, const lr_hparams *b) {
    for (size_t i = 0; i < lr_n_hparam_rows; i++) {
        const lr_hparam_row *row = &lr_hparam_rows[i];
        bool experts = row->offset >= offsetof(lr_hparams, n_experts) && row->offset <= offsetof(lr_hparams, expert_every);
        const char *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
        if ((!experts || a->n_experts) && *(const int32_t *)x != *(const int32_t *)y) return row->keys[0];
    }
    for (size_t i = 0; i < lr_n_number_rows; i++) {
        const lr_number_row *row = &lr_number_rows[i];
        if (!near(*(const float *)((const char *)a + row->offset), *(const float *)((const char *)b + row->offset)))
            return row->keys[0];
    }
    for (int32_t l = 0; l < a->n_layers; l++) {
        if (lr_layer_windowed(a, l) != lr_layer_windowed(b, l)) return "the layers that have a sliding window";
        if (lr_layer_has_experts(a, l) != lr_layer_has_experts(b, l)) return "the layers that have experts";
        if ((a->layer_flags[l] ^ b->layer_flags[l]) & LR_LAYER_NO_ROPE) return "the layers without rope";
    }
    if (a->window != b->window) return "sliding_window";
    if (a->act != b->act) return "hidden_act";
    if (a->parallel != b->parallel) return "use_parallel_residual";
    if (a->n_experts && a->among_chosen != b->among_chosen) return "norm_topk_prob";
    if (a->n_experts && (a->sigmoid != b->sigmoid || a->bias_chooses != b->bias_chooses)) return "scoring_func";
    if (a->n_expert_groups && lr_max(1, a->best_of_group) != lr_max(1, b->best_of_group)) return "topk_method";
    return a->n_pos != b->n_pos ? "n_positions" : compare_ropes(a, b);
}

llmrun_status lr_quantize_verify(const lr_quantize *q, const lr_gguf_meta *meta) {
    char path[] = "GGUF";
    const lr_checkpoint *c = &q->e->checkpoint;
    lr_text header = {0};
    lr_gguf g = {0};
    lr_checkpoint written = {.dir = path};
    lr_tensor *tensors = NULL;
    size_t n = 0, cap = 0;
    uint64_t bytes, n_header;
    const lr_family *family;
    lr_hparams *h = lr_zalloc(1, sizeof *h);
    llmrun_status status = h ? lr_gguf_layout(NULL, 0, meta, &header, &bytes, q->err) : lr_fail_nomem(q->err, path, sizeof *h);
    lr_map map = {.data = (const uint8_t *)header.text, .size = header.n, .path = path, .heap = true, .fd = -1};
    if (!status) status = lr_gguf_read(&g, &map, 0, &tensors, &n, &cap, &n_header, q->err);
    if (!status) status = lr_gguf_config(&written.config, &g, path, q->err);
    written.gguf = g;
    if (!status) status = lr_hparams_read_gguf(h, &family, &written, q->err);
    const char *differs = status ? NULL : compare(&q->e->binding.hparams, h);
    if (differs)
        status = lr_fail(q->err, LLMRUN_UNSUPPORTED, "%s: GGUF has no word for %s of this %s", c->dir, differs,
                         q->e->binding.family->name);
    lr_config_close(&written.config);
    lr_gguf_close(&g);
    lr_free(header.text);
    lr_free(h);
    return status;
}
