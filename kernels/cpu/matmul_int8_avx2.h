/* Matmul of quantized weights with int8 activations for few tokens, AVX2: what all those formats share.
 *
 * In each of these formats a cell of 32 or 16 weights is scale * code - min with int8 codes.  Signed codes meet vpmaddubsw (which wants one unsigned side) as |code| and activation * sign(code);
 * pairs stay within int16 as activations are within 127.
 *
 * Included through matmul_planes_avx2.h or matmul_blocks_avx2.h.  The includer of those defines first:
 *   enum { PLANES, PLANE_BITS,  int8 planes that make up one code, highest first, and their distance
 *          HAS_MIN }            0: min is always 0.  1: of 32 weights.  2: of a cell
 *   NAME                        of the kernel
 * and afterwards:
 *   unpack(code, q, b)          code[plane] = codes of block b < 8 of the group of 8 at q
 * Between the two stand:
 *   enum { CELLS, GROUP_BYTES } cells of a block of 32: 1 or 2; bytes of 8 blocks in the quants
 *   row_scales(scale, min, quants, scales, first, n)  scale[cell] and min[cell] of blocks first .. first + n - 1 <= 8 of a
 *                               row; 0 beyond n.  first is a multiple of 8                                            */
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/cpu.h"

enum { TOKENS = 4, GROUP = 8 };

INLINE void unpack(__m256i code[PLANES], const uint8_t *q, const int b);
INLINE void row_scales(__m256 scale[CELLS], __m256 min[CELLS], const uint8_t *quants, const uint8_t *scales, int64_t first,
                       int n);

/* Eight int32 partial sums of code * x over a block.                                                                  */
INLINE __m256i block_dot(const __m256i code[PLANES], const int8_t *x) {
    const __m256i values = _mm256_loadu_si256((const void *)x);
    __m256i sum = _mm256_setzero_si256();
    UNROLL for (int plane = 0; plane < PLANES; plane++) {
        __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(code[plane]), _mm256_sign_epi8(values, code[plane]));
        sum = _mm256_add_epi32(_mm256_slli_epi32(sum, PLANE_BITS), _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    return sum;
}

/* Eight int32 partial sums of x over a block.                                                                         */
INLINE __m256i block_sum(const int8_t *x) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_loadu_si256((const void *)x));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* The factors of block b's cells, each for the lanes that it has in the sums of a block.                              */
INLINE __m256 by_lane(float factor[CELLS][GROUP], int b) {
    if (CELLS == 1) return _mm256_set1_ps(factor[0][b]);
    return _mm256_set_m128(_mm_set1_ps(factor[CELLS - 1][b]), _mm_set1_ps(factor[0][b]));
}

/* n <= GROUP blocks from block `first` on, a multiple of GROUP, of a row times `tokens` tokens; two chains of sums.      */
INLINE void group(__m256 sum[TOKENS][2], const lr_matmul_args *a, const uint8_t *quants, const uint8_t *scales, int64_t t,
                  int64_t first, const int n, const int tokens) {
    const int64_t n_blocks = a->w.cols / 32;
    const size_t ahead = 4 * a->w.quants_stride;
    const uint8_t *q = quants + first / GROUP * GROUP_BYTES;
    float factor[TOKENS][CELLS][GROUP], less[TOKENS][CELLS][GROUP];
    __m256 scale[CELLS], min[CELLS];
    row_scales(scale, min, quants, scales, first, n);
    UNROLL for (int k = 0; k < tokens; k++) {
        float d[GROUP] = { 0 }, s[GROUP] = { 0 };
        memcpy(d, a->x.d + (t + k) * n_blocks + first, sizeof(float) * (size_t)n);
        UNROLL for (int c = 0; c < CELLS; c++) {
            _mm256_storeu_ps(factor[k][c], _mm256_mul_ps(scale[c], _mm256_loadu_ps(d)));
            if (HAS_MIN == 2) _mm256_storeu_ps(less[k][c], _mm256_mul_ps(min[c], _mm256_loadu_ps(d)));
        }
        if (HAS_MIN != 1) continue;
        memcpy(s, a->x.s + (t + k) * n_blocks + first, sizeof(float) * (size_t)n);
        sum[k][0] = _mm256_fnmadd_ps(min[0], _mm256_loadu_ps(s), sum[k][0]);
    }
    _mm_prefetch((const char *)q + ahead, _MM_HINT_T0);
    _mm_prefetch((const char *)q + ahead + 64, _MM_HINT_T0);
    UNROLL for (int b = 0; b < GROUP; b++) {
        if (b >= n) break;
        __m256i code[PLANES];
        unpack(code, q, b);
        UNROLL for (int k = 0; k < tokens; k++) {
            const int8_t *x = (const int8_t *)a->x.values + (t + k) * a->w.cols + 32 * (first + b);
            __m256 *to = &sum[k][b % 2];
            *to = _mm256_fmadd_ps(_mm256_cvtepi32_ps(block_dot(code, x)), by_lane(factor[k], b), *to);
            if (HAS_MIN == 2) *to = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(block_sum(x)), by_lane(less[k], b), *to);
        }
    }
}

/* Row r times tokens t .. t + tokens - 1.                                                                             */
INLINE void tile(const lr_matmul_args *a, int64_t r, int64_t t, const int tokens) {
    const int64_t n_blocks = a->w.cols / 32, full = n_blocks / GROUP * GROUP;
    const uint8_t *quants = lr_row_quants(&a->w, r), *scales = lr_row_scales(&a->w, r);
    __m256 sum[TOKENS][2];
    UNROLL for (int k = 0; k < tokens; k++) sum[k][0] = sum[k][1] = _mm256_setzero_ps();
    for (int64_t first = 0; first < full; first += GROUP) group(sum, a, quants, scales, t, first, GROUP, tokens);
    if (full < n_blocks) group(sum, a, quants, scales, t, full, (int)(n_blocks - full), tokens);
    const float factor = lr_row_factor(&a->w, r);
    UNROLL for (int k = 0; k < tokens; k++)
        lr_matmul_store(a, t + k, r, sum8(_mm256_add_ps(sum[k][0], sum[k][1])) * factor);
}

void NAME(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_matmul_args *a = args;
    (void)scratch;
    for (int64_t r = i0; r < i1; r++)
        for (int64_t t = 0; t < a->x.n; t += TOKENS) {
            switch (lr_min(TOKENS, a->x.n - t)) {
            case 1: tile(a, r, t, 1); break;
            case 2: tile(a, r, t, 2); break;
            case 3: tile(a, r, t, 3); break;
            case 4: tile(a, r, t, 4); break;
            }
        }
}
