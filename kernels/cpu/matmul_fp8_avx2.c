/* fp8 weights with f32 activations, few tokens, AVX2: as matmul_fp8_avx512.c, two rows times up to two tokens.         */
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/cpu.h"

enum { ROWS = 2, TOKENS = 2, BLOCK = 64 };

/* 8 weights times 2^-8.                                                                                               */
INLINE __m256 load8(const uint8_t *p) {
    const __m128i bits = _mm_slli_epi16(_mm_cvtepi8_epi16(_mm_loadl_epi64((const void *)p)), 7);
    return _mm256_cvtph_ps(_mm_and_si128(bits, _mm_set1_epi16((short)0xbfff)));
}

/* Rows r and r + 1 (if it exists) times tokens t .. t + tokens - 1.                                                   */
INLINE void tile(const lr_matmul_args *a, int64_t r, int64_t t, const int tokens) {
    const float *x = (const float *)a->x.values + t * a->w.cols;
    __m256 total[ROWS][TOKENS];
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int k = 0; k < tokens; k++) total[i][k] = _mm256_setzero_ps();
    for (int64_t c = 0; c < a->w.cols; c += BLOCK)
        UNROLL for (int i = 0; i < ROWS; i++) {
            const int64_t row = lr_min(r + i, a->w.rows - 1);
            const uint8_t *w = lr_row_quants(&a->w, row) + c;
            __m256 sum[TOKENS];
            float d;
            UNROLL for (int k = 0; k < tokens; k++) sum[k] = _mm256_setzero_ps();
            UNROLL for (int j = 0; j < BLOCK; j += 8) {
                const __m256 weights = load8(w + j);
                UNROLL for (int k = 0; k < tokens; k++)
                    sum[k] = _mm256_fmadd_ps(weights, _mm256_loadu_ps(x + k * a->w.cols + c + j), sum[k]);
            }
            memcpy(&d, lr_row_scales(&a->w, row) + c / BLOCK * 4, sizeof d);
            UNROLL for (int k = 0; k < tokens; k++)
                total[i][k] = _mm256_fmadd_ps(_mm256_mul_ps(sum[k], _mm256_set1_ps(256)), _mm256_set1_ps(d), total[i][k]);
        }
    UNROLL for (int i = 0; i < ROWS; i++) {
        if (r + i >= a->w.rows) break;
        UNROLL for (int k = 0; k < tokens; k++) lr_matmul_store(a, t + k, r + i, sum8(total[i][k]));
    }
}

void lr_matmul_fp8_avx2(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_matmul_args *a = args;
    (void)scratch;
    for (int64_t r = i0; r < i1; r += ROWS) {
        int64_t t = 0;
        for (; t + TOKENS <= a->x.n; t += TOKENS) tile(a, r, t, TOKENS);
        if (t < a->x.n) tile(a, r, t, 1);
    }
}
