/* Draws the next token.  Everything works in place on the logits: no memory is allocated and no index array is kept,
 * so what a step removes becomes -inf.  Steps in the order of llama.cpp, so that known settings mean the same:
 * repeat penalty, top-k, top-p, min-p, temperature, draw.  Ties always fall to the lowest id.                         */
#include "runtime/llmrun.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "runtime/base.h"

void llmrun_sampling_default(llmrun_sampling *p) {
    *p = (llmrun_sampling){
        .struct_size = sizeof *p,
        .temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .repeat_penalty = 1,
        .repeat_last = 64,
    };
}

/* splitmix64: any state is a good seed.  Source: Steele, Lea, Flood, OOPSLA 2014.                                     */
static double draw_unit(uint64_t *rng) {
    uint64_t z = *rng += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Makes every value comparable: NaN cannot win, +inf wins like the largest float.                                     */
static void clean(float *logits, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        if (isnan(logits[i])) logits[i] = -INFINITY;
        if (logits[i] > FLT_MAX) logits[i] = FLT_MAX;
    }
}

static int32_t largest(const float *logits, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Sum of e^((l - max) / temperature).                                                                                 */
static double weigh(const float *logits, int32_t n, float max, double temperature) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        if (logits[i] > -INFINITY) sum += exp(((double)logits[i] - max) / temperature);
    return sum;
}

/* Positive logits are divided, negative ones multiplied.                                                              */
static float penalised(float logit, float penalty) {
    return logit > 0 ? fminf(logit / penalty, FLT_MAX) : logit * penalty;
}

static bool occurs(const int32_t *ids, int32_t n, int32_t id) {
    for (int32_t i = 0; i < n; i++)
        if (ids[i] == id) return true;
    return false;
}

/* Each id once, however often it occurs.                                                                              */
static void penalise(float *logits, int32_t n, float penalty, const int32_t *recent, int32_t n_recent) {
    for (int32_t i = 0; i < n_recent; i++)
        if (recent[i] >= 0 && recent[i] < n && !occurs(recent, i, recent[i]))
            logits[recent[i]] = penalised(logits[recent[i]], penalty);
}

/* Bits of a float, ordered so that a larger value has the smaller key.                                                */
static uint32_t descending_key(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffff;
}

/* Keeps the fewest largest values whose weights reach target, at least one.  Weight: 1, or e^(l - max) if max is given.
 * Finds the last key to keep by its leading 11, 22, 32 bits, with one histogram of weights for each.                  */
static void keep_largest(float *logits, int32_t n, double target, const float *max) {
    enum { BITS = 11, BINS = 1 << BITS };
    static const int shifts[] = { 21, 10, 0 };
    double bins[BINS], before = 0; /* weight of all keys below the prefix */
    uint32_t prefix = 0, mask = 0;
    for (size_t pass = 0; pass < LR_COUNT(shifts); pass++) {
        memset(bins, 0, sizeof bins);
        for (int32_t i = 0; i < n; i++) {
            uint32_t key = descending_key(logits[i]);
            if (logits[i] > -INFINITY && (key & mask) == prefix)
                bins[(key & ~mask) >> shifts[pass]] += max ? exp((double)logits[i] - *max) : 1;
        }
        uint32_t bin = 0, last = 0; /* last: the last bin that holds anything, where rounding missed the target */
        while (bin < BINS && (bins[bin] == 0 || before + bins[bin] < target)) {
            if (bins[bin] != 0) last = bin;
            before += bins[bin++];
        }
        if (bin == BINS) before -= bins[bin = last];
        prefix |= bin << shifts[pass];
        mask |= (uint32_t)(BINS - 1) << shifts[pass];
    }
    for (int32_t i = 0; i < n; i++) {
        uint32_t key = descending_key(logits[i]);
        if (key < prefix || logits[i] == -INFINITY) continue;
        if (key == prefix && (before == 0 || before < target))
            before += max ? exp((double)logits[i] - *max) : 1;
        else
            logits[i] = -INFINITY;
    }
}

/* Walks the kept tokens by id until the drawn share of the total weight is used up.                                   */
static int32_t draw(const float *logits, int32_t n, float max, double temperature, uint64_t *rng) {
    double left = draw_unit(rng) * weigh(logits, n, max, temperature);
    int32_t last = 0;
    for (int32_t i = 0; i < n; i++) {
        if (logits[i] == -INFINITY) continue;
        left -= exp(((double)logits[i] - max) / temperature);
        last = i;
        if (left < 0) break;
    }
    return last;
}

int32_t llmrun_sample(float *logits, int32_t n_vocab, const llmrun_sampling *p, uint64_t *rng, const int32_t *history,
                      int32_t n_history, float *logprob) {
    if (n_vocab <= 0) return -1;
    clean(logits, n_vocab);
    int32_t top = largest(logits, n_vocab);
    float unmodified_max = logits[top];
    double log_total = logprob ? log(weigh(logits, n_vocab, unmodified_max, 1)) : 0;

    int32_t n_recent = history ? (int32_t)lr_min(n_history, p->repeat_last) : 0;
    const int32_t *recent = n_recent > 0 ? history + (n_history - n_recent) : NULL;
    bool penalty = recent && p->repeat_penalty > 0 && p->repeat_penalty != 1;
    if (penalty) {
        penalise(logits, n_vocab, p->repeat_penalty, recent, n_recent);
        top = largest(logits, n_vocab);
    }
    float max = logits[top];
    int32_t id = top;
    if (p->temperature > 0 && max > -INFINITY) {
        if (p->top_k > 0 && p->top_k < n_vocab) keep_largest(logits, n_vocab, p->top_k, NULL);
        if (p->top_p < 1) keep_largest(logits, n_vocab, p->top_p * weigh(logits, n_vocab, max, 1), &max);
        if (p->min_p > 0) {
            float least = max + logf(p->min_p);
            for (int32_t i = 0; i < n_vocab; i++)
                if (logits[i] < least && i != top) logits[i] = -INFINITY;
        }
        id = draw(logits, n_vocab, max, p->temperature, rng);
    }
    if (logprob) {
        float logit = logits[id];
        if (penalty && occurs(recent, n_recent, id)) logit = penalised(logit, 1 / p->repeat_penalty);
        *logprob = unmodified_max > -INFINITY ? (float)((double)logit - unmodified_max - log_total) : -INFINITY;
    }
    return id;
}
