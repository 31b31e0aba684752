/* Matmul of quantized weights with int8 activations for few tokens, AVX2: what all those formats share.
 *
 * In each of these formats a block of 32 weights is scale * code - min with int8 codes, and 16 bytes of scales belong to
 * eight such blocks.  Signed codes meet vpmaddubsw (which wants one unsigned side) as |code| and activation * sign(code);
 * pairs stay within int16 as activations are within 127.
 *
 * The includer defines first:
 *   enum { BLOCK_BYTES, PLANES, PLANE_BITS, HAS_MIN }  bytes of 32 codes; int8 planes that make up one code
 *   unpack(code, q, b)      code[plane] = codes of block b of the row at q
 *   scales8(scale, min, s)  of the eight blocks whose 16 scale bytes are at s; min may stay unset without HAS_MIN
 *   NAME                    of the kernel                                                                             */
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/cpu.h"

enum { TOKENS = 4, GROUP = 8 };

INLINE void unpack(__m256i code[PLANES], const uint8_t *q, int64_t b);
INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s);

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

/* Row r times tokens t .. t + tokens - 1.                                                                             */
INLINE void tile(const lr_matmul_args *a, int64_t r, int64_t t, const int tokens) {
    const int64_t n_blocks = a->w.cols / 32;
    const size_t ahead = 4 * a->w.quants_stride;
    const uint8_t *quants = lr_row_quants(&a->w, r), *scales = lr_row_scales(&a->w, r);
    const int8_t *x = (const int8_t *)a->x.values + t * a->w.cols;
    const float *d = a->x.d + t * n_blocks, *s = a->x.s + t * n_blocks;
    __m256 sum[TOKENS];
    UNROLL for (int k = 0; k < tokens; k++) sum[k] = _mm256_setzero_ps();

    for (int64_t first = 0; first < n_blocks; first += GROUP) {
        const int n = (int)lr_min(GROUP, n_blocks - first);
        uint8_t bytes[16] = { 0 };
        float factor[TOKENS][GROUP] = { { 0 } };
        __m256 scale, min = _mm256_setzero_ps();
        memcpy(bytes, scales + 2 * first, 2 * (size_t)n);
        scales8(&scale, &min, bytes);
        UNROLL for (int k = 0; k < tokens; k++) {
            const float *dk = d + k * n_blocks + first, *sk = s + k * n_blocks + first;
            memcpy(factor[k], dk, sizeof(float) * (size_t)n);
            _mm256_storeu_ps(factor[k], _mm256_mul_ps(scale, _mm256_loadu_ps(factor[k])));
            if (HAS_MIN) sum[k] = _mm256_fnmadd_ps(min, _mm256_loadu_ps(sk), sum[k]);
        }
        _mm_prefetch((const char *)quants + first * BLOCK_BYTES + ahead, _MM_HINT_T0);
        _mm_prefetch((const char *)quants + first * BLOCK_BYTES + ahead + 64, _MM_HINT_T0);
        for (int b = 0; b < n; b++) {
            __m256i code[PLANES];
            unpack(code, quants, first + b);
            UNROLL for (int k = 0; k < tokens; k++) {
                __m256 dot = _mm256_cvtepi32_ps(block_dot(code, x + k * a->w.cols + 32 * (first + b)));
                sum[k] = _mm256_fmadd_ps(dot, _mm256_set1_ps(factor[k][b]), sum[k]);
            }
        }
    }
    UNROLL for (int k = 0; k < tokens; k++) lr_matmul_store(a, t + k, r, sum8(sum[k]));
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
