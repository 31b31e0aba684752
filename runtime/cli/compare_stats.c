/* Statistics of llmrun compare; see compare_stats.h.                                                                  */
#include "runtime/cli/compare_stats.h"

#include <math.h>
#include <stdlib.h>

enum { STEPS = 65535 };

/* ---- the reference ---- */

size_t kept_row_bytes(int32_t n_vocab) {
    return (size_t)n_vocab * sizeof(uint16_t) + 2 * sizeof(int32_t) + sizeof(double);
}

bool kept_open(kept_logits *k, int32_t n_vocab, size_t most) {
    *k = (kept_logits){ .n_vocab = n_vocab, .most = most };
    if (n_vocab < 1 || most < 1 || most > SIZE_MAX / kept_row_bytes(n_vocab)) return false;
    k->steps = malloc(most * (size_t)n_vocab * sizeof *k->steps);
    k->ln = malloc((STEPS + 1) * sizeof *k->ln);
    k->tops = malloc(most * sizeof *k->tops);
    k->targets = malloc(most * sizeof *k->targets);
    k->target_ln = malloc(most * sizeof *k->target_ln);
    if (k->steps && k->ln && k->tops && k->targets && k->target_ln) {
        k->ln[0] = 4 * log(0.5 / STEPS);
        for (int i = 1; i <= STEPS; i++) k->ln[i] = 4 * log((double)i / STEPS);
        return true;
    }
    kept_close(k);
    return false;
}

void kept_close(kept_logits *k) {
    free(k->steps);
    free(k->ln);
    free(k->tops);
    free(k->targets);
    free(k->target_ln);
    *k = (kept_logits){ 0 };
}

typedef struct row_summary {
    int32_t top;
    double most, ln_sum; /* ln_sum: ln of the sum of all exp(logit) */
} row_summary;

static bool summarize(const float *logits, int32_t n, row_summary *s) {
    float most = logits[0];
    double sum = 0;
    s->top = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!isfinite(logits[i])) return false;
        if (logits[i] > most) most = logits[i], s->top = i;
    }
    for (int32_t i = 0; i < n; i++) sum += (double)expf(logits[i] - most);
    s->most = (double)most;
    s->ln_sum = s->most + log(sum);
    return true;
}

bool kept_add(kept_logits *k, const float *logits, int32_t target) {
    row_summary s;
    if (k->n == k->most || !summarize(logits, k->n_vocab, &s)) return false;
    uint16_t *steps = k->steps + k->n * (size_t)k->n_vocab;
    float most = (float)s.most;
    for (int32_t i = 0; i < k->n_vocab; i++) steps[i] = (uint16_t)(STEPS * expf((logits[i] - most) / 4) + 0.5f);
    k->tops[k->n] = s.top;
    k->targets[k->n] = target;
    k->target_ln[k->n] = (double)logits[target] - s.ln_sum;
    k->n++;
    return true;
}

/* ---- the comparison ---- */

bool comparison_open(comparison *c, size_t most) {
    *c = (comparison){ .most = most, .kl = malloc(most * sizeof *c->kl) };
    return c->kl != NULL;
}

void comparison_close(comparison *c) {
    free(c->kl);
    *c = (comparison){ 0 };
}

/* KL(reference || q) of one position.  With w = p / largest p, W = sum of w, and d the distance of each logarithm from
 * the largest of its row, the sum of p (ln p - ln q) is sum of w (d_p - d_q) / W - ln W + ln of the same sum for q.    */
static double divergence(const kept_logits *k, size_t row, const float *logits, const row_summary *q) {
    const uint16_t *steps = k->steps + row * (size_t)k->n_vocab;
    double weights = 0, sum = 0;
    for (int32_t i = 0; i < k->n_vocab; i++) {
        double root = (double)steps[i] * (1.0 / STEPS), square = root * root, w = square * square;
        weights += w;
        sum += w * (k->ln[steps[i]] - ((double)logits[i] - q->most));
    }
    return sum / weights - log(weights) + (q->ln_sum - q->most);
}

bool comparison_add(comparison *c, const kept_logits *k, const float *logits) {
    row_summary q;
    size_t row = c->n;
    if (row >= c->most || row >= k->n || !summarize(logits, k->n_vocab, &q)) return false;
    double ln_p = k->target_ln[row], ln_q = (double)logits[k->targets[row]] - q.ln_sum;
    double kl = divergence(k, row, logits, &q), dp = exp(ln_q) - exp(ln_p);
    c->nll -= ln_q;
    c->nll2 += ln_q * ln_q;
    c->ratio += ln_p - ln_q;
    c->ratio2 += (ln_p - ln_q) * (ln_p - ln_q);
    c->kl1 += kl;
    c->kl2 += kl * kl;
    c->dp2 += dp * dp;
    c->same += q.top == k->tops[row];
    c->kl[c->n++] = (float)kl;
    return true;
}

/* ---- figures ---- */

static spread spread_of(double sum, double squares, size_t n) {
    double mean = sum / (double)n, rest = squares - sum * mean;
    return (spread){ mean, n > 1 && rest > 0 ? sqrt(rest / (double)(n - 1) / (double)n) : 0 };
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(const float *sorted, size_t n, double share) {
    double at = share * (double)(n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= n) return (double)sorted[n - 1];
    return (double)sorted[i] + (at - (double)i) * ((double)sorted[i + 1] - (double)sorted[i]);
}

figures comparison_figures(comparison *c) {
    spread nll = spread_of(c->nll, c->nll2, c->n);
    qsort(c->kl, c->n, sizeof *c->kl, ascending);
    return (figures){ .n = c->n,
                      .perplexity = exp(nll.mean),
                      .perplexity_error = exp(nll.mean) * nll.error,
                      .ln_ratio = spread_of(c->ratio, c->ratio2, c->n),
                      .kl = spread_of(c->kl1, c->kl2, c->n),
                      .kl_median = quantile(c->kl, c->n, 0.5),
                      .kl_99 = quantile(c->kl, c->n, 0.99),
                      .kl_most = (double)c->kl[c->n - 1],
                      .same_top = spread_of(c->same, c->same, c->n),
                      .rms_dp = sqrt(c->dp2 / (double)c->n) };
}

figures kept_figures(const kept_logits *k) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < k->n; i++) {
        sum -= k->target_ln[i];
        squares += k->target_ln[i] * k->target_ln[i];
    }
    spread nll = spread_of(sum, squares, k->n);
    return (figures){ .n = k->n,
                      .perplexity = exp(nll.mean),
                      .perplexity_error = exp(nll.mean) * nll.error,
                      .same_top = { 1, 0 } };
}
