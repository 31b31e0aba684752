/* fp8 weights with f32 activations, few tokens, AVX-512.  A block of 64 is summed without its scale, which then counts
 * once.  E4M3 becomes f16 by a shift: the same fields at a bias that is 8 larger, so 2^8 times too small.             */
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/cpu.h"

enum { ROWS = 4, MAX_TOKENS = 4, BLOCK = 64 };

/* 16 weights times 2^-8.                                                                                              */
INLINE __m512 load16(const uint8_t *p) {
    const __m256i bits = _mm256_slli_epi16(_mm256_cvtepi8_epi16(load_16(p)), 7);
    return _mm512_cvtph_ps(_mm256_and_si256(bits, _mm256_set1_epi16((short)0xbfff)));
}

/* All four rows from r on that the matrix has; so r1 is not needed.                                                  */
INLINE void some_rows(const lr_matmul_args *a, int64_t r, int64_t r1, int64_t t, const void *unused, const int tokens) {
    const float *x = (const float *)a->x.values + t * a->w.cols;
    (void)r1, (void)unused;
    const uint8_t *w[ROWS], *scales[ROWS];
    __m512 total[ROWS][MAX_TOKENS];
    for (int i = 0; i < ROWS; i++) {
        w[i] = lr_row_quants(&a->w, lr_min(r + i, a->w.rows - 1));
        scales[i] = lr_row_scales(&a->w, lr_min(r + i, a->w.rows - 1));
    }
    const char *next = (const char *)w[0] + ROWS * a->w.quants_stride;
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int k = 0; k < tokens; k++) total[i][k] = _mm512_setzero_ps();
    for (int64_t c = 0; c < a->w.cols; c += BLOCK) {
        __m512 sum[ROWS][MAX_TOKENS];
        UNROLL for (int i = 0; i < ROWS; i++) _mm_prefetch(next + c * ROWS + 64 * i, _MM_HINT_T0);
        UNROLL for (int j = 0; j < BLOCK; j += 16) {
            __m512 values[MAX_TOKENS];
            UNROLL for (int k = 0; k < tokens; k++) values[k] = _mm512_loadu_ps(x + k * a->w.cols + c + j);
            UNROLL for (int i = 0; i < ROWS; i++) {
                const __m512 weights = load16(w[i] + c + j);
                UNROLL for (int k = 0; k < tokens; k++)
                    sum[i][k] = j ? _mm512_fmadd_ps(weights, values[k], sum[i][k]) : _mm512_mul_ps(weights, values[k]);
            }
        }
        UNROLL for (int i = 0; i < ROWS; i++) {
            float d;
            memcpy(&d, scales[i] + c / BLOCK * 4, sizeof d);
            UNROLL for (int k = 0; k < tokens; k++)
                total[i][k] = _mm512_fmadd_ps(_mm512_mul_ps(sum[i][k], _mm512_set1_ps(256)), _mm512_set1_ps(d), total[i][k]);
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++) {
        if (r + i >= a->w.rows) break;
        UNROLL for (int k = 0; k < tokens; k++) lr_matmul_store(a, t + k, r + i, _mm512_reduce_add_ps(total[i][k]));
    }
}

#include "kernels/cpu/few_tokens_avx512.h"

void lr_matmul_fp8_avx512(const void *args, int64_t i0, int64_t i1, void *scratch) {
    (void)scratch;
    each_row(args, i0, i1, NULL);
}
