/* Matmul of unquantized weights with f32 activations for few tokens, AVX-512: what these formats share.
 *
 * A single token with narrow rows: row after row from end to end, which the processor's own prefetch follows best.
 * It does so much better in a loop of 512 bytes than of 128: each load then steps further ahead.
 *
 * Else activations would push each other out of the first cache, so a load of them serves eight rows (four, with more
 * than two tokens), and the conversion of 16 weights serves all tokens.  The next rows are prefetched meanwhile to the
 * second cache, in the order of addresses: as many streams as rows would cost a third of the bandwidth.  Lanes go to
 * their totals every CHUNK columns, which keeps rounding small in long rows.
 *
 * The includer defines first:
 *   VALUE                  type of a stored weight
 *   load16(p, mask)        16 weights from p (any alignment) to f32; those outside the mask are not read and give 0
 *   NAME                   of the kernel                                                                             */
#include "kernels/cpu/cpu.h"

enum { ROWS = 8, MAX_TOKENS = 4, LINE = 64 / sizeof(VALUE), CHUNK = 1024, NARROW = 3072 };

static const __mmask16 ALL = 0xffff;

/* The mask for what of 16 columns there is from c on.                                                                */
INLINE __mmask16 mask_at(int64_t c, int64_t cols) { return (__mmask16)((1u << lr_min(16, cols - c)) - 1); }

/* Rows i0 .. i1 - 1 times token t.                                                                                   */
static void one_by_one(const lr_matmul_args *a, int64_t i0, int64_t i1, int64_t t) {
    const int64_t cols = a->w.cols;
    const float *x = (const float *)a->x.values + t * cols;
    for (int64_t r = i0; r < i1; r++) {
        const VALUE *w = (const VALUE *)(const void *)lr_row_quants(&a->w, r);
        __m512 sum[4];
        UNROLL for (int i = 0; i < 4; i++) sum[i] = _mm512_setzero_ps();
        int64_t c = 0;
        for (; c + 8 * LINE <= cols; c += 8 * LINE)
            UNROLL for (int k = 0; k < 8 * LINE / 16; k++)
                sum[k % 4] = _mm512_fmadd_ps(load16(w + c + 16 * k, ALL), _mm512_loadu_ps(x + c + 16 * k), sum[k % 4]);
        for (; c < cols; c += 16) {
            const __mmask16 mask = mask_at(c, cols);
            sum[0] = _mm512_fmadd_ps(load16(w + c, mask), _mm512_maskz_loadu_ps(mask, x + c), sum[0]);
        }
        sum[0] = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
        lr_matmul_store(a, t, r, _mm512_reduce_add_ps(sum[0]));
    }
}

/* Sixteen columns at c of `rows` rows and `tokens` tokens.                                                           */
INLINE void step(__m512 sum[ROWS][MAX_TOKENS], const VALUE *const w[ROWS], const float *x, int64_t x_stride, int64_t c,
                 __mmask16 mask, const int rows, const int tokens) {
    __m512 values[MAX_TOKENS];
    UNROLL for (int t = 0; t < tokens; t++) values[t] = _mm512_maskz_loadu_ps(mask, x + t * x_stride + c);
    UNROLL for (int r = 0; r < rows; r++) {
        __m512 weights = load16(w[r] + c, mask);
        UNROLL for (int t = 0; t < tokens; t++) sum[r][t] = _mm512_fmadd_ps(weights, values[t], sum[r][t]);
    }
}

/* Rows r .. r + rows - 1 (those that exist) times tokens t .. t + tokens - 1.                                        */
INLINE void tile(const lr_matmul_args *a, int64_t r, int64_t t, const int rows, const int tokens) {
    const int64_t cols = a->w.cols;
    const float *x = (const float *)a->x.values + t * cols;
    const VALUE *w[ROWS];
    for (int i = 0; i < rows; i++)
        w[i] = (const VALUE *)(const void *)lr_row_quants(&a->w, lr_min(r + i, a->w.rows - 1));
    const char *next = (const char *)lr_row_quants(&a->w, r) + rows * a->w.quants_stride;

    __m512 total[ROWS][MAX_TOKENS];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int k = 0; k < tokens; k++) total[i][k] = _mm512_setzero_ps();
    for (int64_t c = 0, end; c < cols; c = end) {
        end = lr_min(c + CHUNK, cols);
        __m512 sum[ROWS][MAX_TOKENS];
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int k = 0; k < tokens; k++) sum[i][k] = _mm512_setzero_ps();
        for (; c + LINE <= end; c += LINE) {
            UNROLL for (int i = 0; i < rows; i++)
                _mm_prefetch(next + c * (int64_t)sizeof(*w[0]) * rows + 64 * i, _MM_HINT_T1);
            UNROLL for (int k = 0; k < LINE; k += 16) step(sum, w, x, cols, c + k, ALL, rows, tokens);
        }
        for (; c < end; c += 16) step(sum, w, x, cols, c, mask_at(c, end), rows, tokens);
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int k = 0; k < tokens; k++) total[i][k] = _mm512_add_ps(total[i][k], sum[i][k]);
    }
    UNROLL for (int i = 0; i < rows; i++) {
        if (r + i >= a->w.rows) break;
        UNROLL for (int k = 0; k < tokens; k++) lr_matmul_store(a, t + k, r + i, _mm512_reduce_add_ps(total[i][k]));
    }
}

INLINE void some_rows(const lr_matmul_args *a, int64_t r0, int64_t r1, int64_t t, const void *x, const int tokens) {
    const int rows = tokens > 2 ? ROWS / 2 : ROWS;
    (void)x;
    if (tokens == 1 && a->w.cols <= NARROW) one_by_one(a, r0, r1, t);
    else for (int64_t r = r0; r < r1; r += rows) tile(a, r, t, rows, tokens);
}

#include "kernels/cpu/few_tokens_avx512.h"

void NAME(const void *args, int64_t i0, int64_t i1, void *scratch) {
    (void)scratch;
    each_row(args, i0, i1, NULL);
}
