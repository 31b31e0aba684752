/* Matmul of unquantized weights with f32 activations for few tokens, AVX-512: what these formats share.
 *
 * Four rows are dotted with up to four tokens at once, so a load of activations serves four rows, and the conversion of
 * 16 weights serves four tokens.  The next four rows are prefetched meanwhile, in the order of addresses: four streams
 * at once would cost a third of the bandwidth.  Lanes go to their totals every CHUNK columns, which keeps rounding small
 * in long rows.
 *
 * The includer defines first:
 *   VALUE                  type of a stored weight
 *   load16(p, mask)        16 weights from p (any alignment) to f32; those outside the mask are not read and give 0
 *   NAME                   of the kernel                                                                              */
#include "kernels/cpu/cpu.h"

enum { ROWS = 4, MAX_TOKENS = 4, LINE = 64 / sizeof(VALUE), CHUNK = 1024 };

static const __mmask16 ALL = 0xffff;

/* Sixteen columns at c of four rows and `tokens` tokens.                                                            */
INLINE void step(__m512 sum[ROWS][MAX_TOKENS], const VALUE *const w[ROWS], const float *x, int64_t x_stride, int64_t c,
                 __mmask16 mask, const int tokens) {
    __m512 values[MAX_TOKENS];
    UNROLL for (int t = 0; t < tokens; t++) values[t] = _mm512_maskz_loadu_ps(mask, x + t * x_stride + c);
    UNROLL for (int r = 0; r < ROWS; r++) {
        __m512 weights = load16(w[r] + c, mask);
        UNROLL for (int t = 0; t < tokens; t++) sum[r][t] = _mm512_fmadd_ps(weights, values[t], sum[r][t]);
    }
}

/* Rows r .. r + 3 (those that exist) times tokens t .. t + tokens - 1.                                               */
INLINE void tile(const lr_matmul_args *a, int64_t r, int64_t t, const int tokens) {
    const int64_t cols = a->w.cols;
    const float *x = (const float *)a->x.values + t * cols;
    const VALUE *w[ROWS];
    for (int i = 0; i < ROWS; i++)
        w[i] = (const VALUE *)(const void *)lr_row_quants(&a->w, lr_min(r + i, a->w.rows - 1));
    const char *next = (const char *)lr_row_quants(&a->w, r) + ROWS * a->w.quants_stride;

    __m512 total[ROWS][MAX_TOKENS];
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int k = 0; k < tokens; k++) total[i][k] = _mm512_setzero_ps();
    for (int64_t c = 0, end; c < cols; c = end) {
        end = lr_min(c + CHUNK, cols);
        __m512 sum[ROWS][MAX_TOKENS];
        UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int k = 0; k < tokens; k++) sum[i][k] = _mm512_setzero_ps();
        for (; c + LINE <= end; c += LINE) {
            UNROLL for (int i = 0; i < ROWS; i++)
                _mm_prefetch(next + c * (int64_t)sizeof(*w[0]) * ROWS + 64 * i, _MM_HINT_T0);
            UNROLL for (int k = 0; k < LINE; k += 16) step(sum, w, x, cols, c + k, ALL, tokens);
        }
        for (; c < end; c += 16) {
            __mmask16 mask = (__mmask16)((1u << lr_min(16, end - c)) - 1);
            step(sum, w, x, cols, c, mask, tokens);
        }
        UNROLL for (int i = 0; i < ROWS; i++)
            UNROLL for (int k = 0; k < tokens; k++) total[i][k] = _mm512_add_ps(total[i][k], sum[i][k]);
    }
    UNROLL for (int i = 0; i < ROWS; i++) {
        if (r + i >= a->w.rows) break;
        UNROLL for (int k = 0; k < tokens; k++) lr_matmul_store(a, t + k, r + i, _mm512_reduce_add_ps(total[i][k]));
    }
}

void NAME(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_matmul_args *a = args;
    (void)scratch;
    for (int64_t r = i0; r < i1; r += ROWS)
        for (int64_t t = 0; t < a->x.n; t += MAX_TOKENS) {
            switch (lr_min(MAX_TOKENS, a->x.n - t)) {
            case 1: tile(a, r, t, 1); break;
            case 2: tile(a, r, t, 2); break;
            case 3: tile(a, r, t, 3); break;
            case 4: tile(a, r, t, 4); break;
            }
        }
}
