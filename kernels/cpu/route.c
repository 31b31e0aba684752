/* Routing of rows to experts.  Sources: Shazeer et al., arXiv:1701.06538; DeepSeek-V2, arXiv:2405.04434 (groups).      */
#include <math.h>

#include "kernels/cpu/elementwise.h"

static float logit(const float *logits, int32_t i) { return isnan(logits[i]) ? -INFINITY : logits[i]; }

/* The best value behind `last` in the order of picking (value descending, then index), of those whose group is open.
 * last -1: the best of all.                                                                                           */
static int32_t pick(const float *values, int32_t n, int32_t last, uint64_t open, int32_t group_size) {
    float limit = last < 0 ? INFINITY : logit(values, last), most = 0;
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++) {
        float v = logit(values, i);
        bool behind = v < limit || (v == limit && i > last);
        if (!behind || (best >= 0 && v <= most) || !(open >> i / group_size & 1)) continue;
        best = i;
        most = v;
    }
    return best;
}

/* Bits of the k_groups groups with the best experts.                                                                  */
static uint64_t open_groups(const lr_route_args *a, const float *logits) {
    const int32_t size = a->n_experts / a->n_groups;
    float best[64];
    uint64_t open = 0;
    for (int32_t g = 0; g < a->n_groups; g++) best[g] = logits[g * size + pick(logits + g * size, size, -1, 1, size)];
    for (int32_t i = 0, last = -1; i < a->k_groups; i++) {
        last = pick(best, a->n_groups, last, 1, a->n_groups);
        open |= (uint64_t)1 << last;
    }
    return open;
}

void lr_route_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_route_args *a = args;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        const float *logits = a->logits + t * a->n_experts;
        int32_t *chosen = a->chosen + t * a->k, size = a->n_groups ? a->n_experts / a->n_groups : a->n_experts;
        float *weights = a->weights + t * a->k, sum = 0, among = 0;
        uint64_t open = a->n_groups ? open_groups(a, logits) : 1;
        for (int32_t j = 0; j < a->k; j++)
            chosen[j] = pick(logits, a->n_experts, j ? chosen[j - 1] : -1, open, size);
        /* The best of all is the best of the chosen: its group is open. */
        for (int32_t i = 0; i < a->n_experts && !a->among_chosen; i++) sum += expf(logits[i] - logits[chosen[0]]);
        for (int32_t j = 0; j < a->k; j++) among += weights[j] = expf(logits[chosen[j]] - logits[chosen[0]]);
        float scale = a->scale / (a->among_chosen ? among : sum);
        for (int32_t j = 0; j < a->k; j++) weights[j] *= scale;
    }
}

void lr_gate_rows_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_gate_rows_args *a = args;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        float scale = 1.0f / (1.0f + expf(-a->gate[t]));
        for (int64_t i = 0; i < a->dim; i++) a->x[t * a->dim + i] *= scale;
    }
}
