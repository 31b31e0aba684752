/* Routing of rows to experts.  Sources: Shazeer et al., arXiv:1701.06538; DeepSeek-V2, arXiv:2405.04434 (groups);
 * DeepSeek-V3, arXiv:2412.19437 (sigmoid, bias).                                                                     */
#include <math.h>

#include "kernels/cpu/elementwise.h"

#define LEAST_SUM 1e-20f /* of scores that the chosen ones are divided by, as the published models have it */

/* The best value behind `last` in the order of picking (value descending, then index), of those whose group is open.
 * last -1: the best of all.                                                           */
static int32_t pick(const float *values, int32_t n, int32_t last, uint64_t open, int32_t group_size) {
    float limit = last < 0 ? INFINITY : values[last], most = 0;
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++) {
        float v = values[i];
        bool behind = v < limit || (v == limit && i > last);
        if (!behind || (best >= 0 && v <= most) || !(open >> i / group_size & 1)) continue;
        best = i;
        most = v;
    }
    return best;
}

/* Bits of the k_groups groups with the best experts.                                                                  */
static uint64_t open_groups(const lr_route_args *a, const float *values) {
    const int32_t size = a->n_experts / a->n_groups;
    float best[64];
    uint64_t open = 0;
    for (int32_t g = 0; g < a->n_groups; g++) {
        const float *group = values + g * size;
        int32_t first = pick(group, size, -1, 1, size), second = pick(group, size, first, 1, size);
        best[g] = group[first] + (a->best_of_group == 2 && second >= 0 ? group[second] : 0);
    }
    for (int32_t i = 0, last = -1; i < a->k_groups; i++) {
        last = pick(best, a->n_groups, last, 1, a->n_groups);
        open |= (uint64_t)1 << last;
    }
    return open;
}

/* Of the softmax without its denominator.                                                                             */
static float score(const lr_route_args *a, float logit, float most) {
    return a->sigmoid ? 1.0f / (1.0f + expf(-logit)) : expf(logit - most);
}

/* What experts are chosen by: logits where their order is that of the scores.  Returns the denominator.               */
static float choose_by(const lr_route_args *a, const float *logits, float most, float *values) {
    float sum = 0;
    for (int32_t i = 0; i < a->n_experts; i++) sum += values[i] = score(a, logits[i], most);
    if (a->sigmoid) sum = 1;
    for (int32_t i = 0; i < a->n_experts; i++) {
        float v = a->sigmoid || a->bias ? values[i] / sum + (a->bias ? a->bias[i] : 0) : logits[i];
        values[i] = isnan(v) ? -INFINITY : v;
    }
    return sum;
}

void lr_route_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_route_args *a = args;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        const float *logits = a->logits + t * a->n_experts;
        int32_t *chosen = a->chosen + t * a->k, size = a->n_groups ? a->n_experts / a->n_groups : a->n_experts;
        float *weights = a->weights + t * a->k, values[LR_MAX_EXPERTS], most = -INFINITY, among = 0;
        for (int32_t i = 0; i < a->n_experts; i++) most = fmaxf(most, logits[i]);
        float sum = choose_by(a, logits, most, values);
        uint64_t open = a->n_groups ? open_groups(a, values) : 1;
        for (int32_t j = 0; j < a->k; j++) {
            chosen[j] = pick(values, a->n_experts, j ? chosen[j - 1] : -1, open, size);
            among += weights[j] = score(a, logits[chosen[j]], most);
        }
        float scale = a->scale / (a->among_chosen ? among + LEAST_SUM : sum);
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
