/* Matmul of unquantized weights with f32 activations for few tokens, AVX2: as matmul_float_avx512.h, four rows times up
 * to two tokens.  Every CHUNK columns the lanes are added to their totals: eight lanes alone would round too often.
 *
 * The includer defines first:
 *   VALUE        type of a stored weight
 *   load8(p)     8 weights from p (any alignment) to f32
 *   NAME         of the kernel                                                                                        */
#include "kernels/cpu/cpu.h"

enum { ROWS = 4, TOKENS = 2, LINE = 64 / sizeof(VALUE), CHUNK = 1024 };

/* Eight columns of four rows and `tokens` tokens.                                                                    */
INLINE void step(__m256 sum[ROWS][TOKENS], const VALUE *const w[ROWS], const float *const x[TOKENS], int64_t c,
                 const int tokens) {
    UNROLL for (int i = 0; i < ROWS; i++) {
        __m256 weights = load8(w[i] + c);
        UNROLL for (int k = 0; k < tokens; k++)
            sum[i][k] = _mm256_fmadd_ps(weights, _mm256_loadu_ps(x[k] + c), sum[i][k]);
    }
}

/* The last n < 8 columns, from c on: padded with zeros.                                                               */
static void last_step(__m256 sum[ROWS][TOKENS], const VALUE *const w[ROWS], const float *const x[TOKENS], int64_t c,
                      size_t n, const int tokens) {
    VALUE w_padded[ROWS][8] = { { 0 } };
    float x_padded[TOKENS][8] = { { 0 } };
    const VALUE *w_last[ROWS];
    const float *x_last[TOKENS];
    for (int i = 0; i < ROWS; i++) w_last[i] = memcpy(w_padded[i], w[i] + c, n * sizeof(VALUE));
    for (int k = 0; k < tokens; k++) x_last[k] = memcpy(x_padded[k], x[k] + c, n * sizeof(float));
    step(sum, w_last, x_last, 0, tokens);
}

/* Rows r .. r + 3 (those that exist) times tokens t .. t + tokens - 1.                                                */
INLINE void tile(const lr_matmul_args *a, int64_t r, int64_t t, const int tokens) {
    const int64_t cols = a->w.cols;
    const char *next = (const char *)lr_row_quants(&a->w, r) + ROWS * a->w.quants_stride;
    const VALUE *w[ROWS];
    const float *x[TOKENS];
    for (int i = 0; i < ROWS; i++) w[i] = (const VALUE *)(const void *)lr_row_quants(&a->w, lr_min(r + i, a->w.rows - 1));
    for (int k = 0; k < tokens; k++) x[k] = (const float *)a->x.values + (t + k) * cols;

    __m256 total[ROWS][TOKENS];
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int k = 0; k < tokens; k++) total[i][k] = _mm256_setzero_ps();
    for (int64_t c = 0, end; c < cols; c = end) {
        end = lr_min(c + CHUNK, cols);
        __m256 sum[ROWS][TOKENS];
        UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int k = 0; k < tokens; k++) sum[i][k] = _mm256_setzero_ps();
        for (; c + LINE <= end; c += LINE) {
            UNROLL for (int i = 0; i < ROWS; i++) _mm_prefetch(next + c * (int64_t)sizeof(*w[0]) * ROWS + 64 * i, _MM_HINT_T0);
            UNROLL for (int k = 0; k < LINE; k += 8) step(sum, w, x, c + k, tokens);
        }
        for (; c + 8 <= end; c += 8) step(sum, w, x, c, tokens);
        if (c < end) last_step(sum, w, x, c, (size_t)(end - c), tokens);
        UNROLL for (int i = 0; i < ROWS; i++)
            UNROLL for (int k = 0; k < tokens; k++) total[i][k] = _mm256_add_ps(total[i][k], sum[i][k]);
    }
    UNROLL for (int i = 0; i < ROWS; i++) {
        if (r + i >= a->w.rows) break;
        UNROLL for (int k = 0; k < tokens; k++) lr_matmul_store(a, t + k, r + i, sum8(total[i][k]));
    }
}

void NAME(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_matmul_args *a = args;
    (void)scratch;
    for (int64_t r = i0; r < i1; r += ROWS) {
        int64_t t = 0;
        for (; t + 2 <= a->x.n; t += 2) tile(a, r, t, 2);
        if (t < a->x.n) tile(a, r, t, 1);
    }
}
