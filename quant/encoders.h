/* Encoders by instruction set.  The same source (encoders_body.h and the *_lanes.h of each format) is compiled once per
 * set; all of them give the same bytes.  The choice is made per call from the CPU's own flags: there is no state.     */
#ifndef LR_ENCODERS_H
#define LR_ENCODERS_H

#include "quant/quant.h"

typedef struct lr_encoders {
    const char *isa; /* "c", "avx2", "avx512" */
    /* n is a multiple of the format's block; planes as in formats.def */
    void (*q8_0)(void *quants, void *scales, const float *x, int64_t n);
    void (*q4_k)(void *quants, void *scales, const float *x, int64_t n);
    void (*iq4_nl)(void *quants, void *scales, const float *x, int64_t n);
    void (*nf4)(void *quants, void *scales, const float *x, int64_t n);
    /* The same bytes' meaning, chosen so that the sum of w (x - decoded x)^2 is small; w (n) > 0. */
    void (*q4_k_weighted)(void *quants, void *scales, const float *x, const float *w, int64_t n);
    void (*iq4_nl_weighted)(void *quants, void *scales, const float *x, const float *w, int64_t n);
    /* any n; both sides may be unaligned */
    void (*f16_to_f32)(float *x, const void *src, int64_t n);
    void (*f32_to_f16)(void *out, const float *x, int64_t n);
    void (*bf16_to_f32)(float *x, const void *src, int64_t n);
    void (*f32_to_bf16)(void *out, const float *x, int64_t n);
    /* Largest bits & 0x7fffffff of the values: their order is that of the magnitudes; >= 0x7f800000: Inf or NaN among
     * them. */
    uint32_t (*abs_max_bits)(const float *x, int64_t n);
} lr_encoders;

extern const lr_encoders lr_encoders_c;
#if defined(__x86_64__)
extern const lr_encoders lr_encoders_avx2, lr_encoders_avx512;
#endif

/* Encodes n values (a multiple of the block) of q4_k, iq4_nl, nf4 and GGUF's Q4_0, Q4_K and IQ4_NL so that the sum of
 * w (x - decoded x)^2 is small.  False: the format has no choice to make.                                             */
bool lr_encode_weighted(lr_format format, void *quants, void *scales, const float *x, const float *w, int64_t n);

/* The fastest set this CPU has.                                                                                      */
const lr_encoders *lr_encoders_best(void);
/* The sets that this CPU can run, slowest first; returns their number.                                               */
int lr_encoders_list(const lr_encoders *list[3]);

#endif
