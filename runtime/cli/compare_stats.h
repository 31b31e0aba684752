/* How far the logits of one run are from those of a reference run, position by position.  The reference is kept in two
 * bytes a logit: the fourth root of p / largest p, which has its finest steps where p is large; a row is normalised again
 * when it is read.  That moves the KL of one position by less than 1e-5, of equal rows by less than 1e-6, and the mean of
 * many positions by less than 1e-6 (tests/test_compare.c, tests/golden/check_compare.py).
 * All probabilities are in nats.  Needs libc alone.                                                                   */
#ifndef COMPARE_STATS_H
#define COMPARE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The kept reference: most positions at most, n filled in order.                                                      */
typedef struct kept_logits {
    int32_t n_vocab;
    size_t n, most;
    uint16_t *steps;                 /* (most, n_vocab) fourth roots; 65535 stands for 1 */
    double *ln;                      /* (65536) ln (p / largest p) of each step */
    int32_t *tops, *targets;         /* (most) likeliest id; the id that came */
    double *target_ln;               /* (most) ln p of the id that came, exact */
} kept_logits;

size_t kept_row_bytes(int32_t n_vocab); /* what one position takes */
bool kept_open(kept_logits *k, int32_t n_vocab, size_t most); /* false: out of memory */
void kept_close(kept_logits *k);
/* Adds the next position: logits (n_vocab), and the id that came.  False if a logit is not finite.                    */
bool kept_add(kept_logits *k, const float *logits, int32_t target);

typedef struct spread {
    double mean, error; /* error: standard error of the mean, 0 for one value */
} spread;

typedef struct figures {
    size_t n;
    double perplexity, perplexity_error; /* the error by the delta method: perplexity * error of the mean of -ln p */
    spread ln_ratio;  /* ln (perplexity / that of the reference): paired, so its error is small */
    spread kl;        /* KL(reference || this) */
    double kl_median, kl_99, kl_most; /* quantiles interpolate between values, as numpy does */
    spread same_top;  /* share of positions with the same likeliest token */
    double rms_dp;    /* root mean square of p - p_reference of the id that came */
} figures;

/* Sums over the positions compared so far.                                                                            */
typedef struct comparison {
    size_t n, most;
    float *kl; /* (most) */
    double nll, nll2, ratio, ratio2, kl1, kl2, dp2, same;
} comparison;

bool comparison_open(comparison *c, size_t most); /* false: out of memory */
void comparison_close(comparison *c);
/* Compares position c->n of the reference with logits (n_vocab).  False if a logit is not finite.                     */
bool comparison_add(comparison *c, const kept_logits *k, const float *logits);
/* Sorts c->kl.  n must be at least 1.                                                                                 */
figures comparison_figures(comparison *c);
/* Those of the reference itself: all differences are 0.                                                               */
figures kept_figures(const kept_logits *k);

#endif
