/* matmul_int8_avx512.h for block formats: scales lie inside the blocks, so load_line is the format's own, and group_scales
 * gets the group.                                                                                                     */
#include "kernels/cpu/avx512.h"

enum { VECTORS = SUMS * PARTS };

/* f16 at p, p + stride ..., n <= 16 of them; 0 beyond.                                                                */
INLINE __m512 strided_halves(const uint8_t *p, const int stride, const int n) {
    __m128i low = _mm_setzero_si128(), high = low;
    uint16_t h;
#define INSERT(to, i, at)                                                                                              \
    if ((at) < n) memcpy(&h, p + (at) * stride, sizeof h), to = _mm_insert_epi16(to, h, i)
#define INSERT8(to, at)                                                                                                \
    INSERT(to, 0, at); INSERT(to, 1, at + 1); INSERT(to, 2, at + 2); INSERT(to, 3, at + 3);                            \
    INSERT(to, 4, at + 4); INSERT(to, 5, at + 5); INSERT(to, 6, at + 6); INSERT(to, 7, at + 7)
    INSERT8(low, 0);
    INSERT8(high, 8);
#undef INSERT8
#undef INSERT
    return _mm512_cvtph_ps(_mm256_set_m128i(high, low));
}

/* 16 bytes at p, p + stride ...: four, of which `left` exist.                                                         */
INLINE __m512i strided_16(const uint8_t *p, const int stride, const int left) {
    __m512i v = _mm512_castsi128_si512(load_16(p));
    if (left > 1) v = _mm512_inserti32x4(v, load_16(p + stride), 1);
    if (left > 2) v = _mm512_inserti32x4(v, load_16(p + 2 * stride), 2);
    if (left > 3) v = _mm512_inserti32x4(v, load_16(p + 3 * stride), 3);
    return v;
}

/* The low and the high nibbles of w as bytes.                                                                         */
INLINE void nibbles(__m512i u[2], __m512i w) {
    const __m512i four = _mm512_set1_epi8(15);
    u[0] = _mm512_and_si512(w, four);
    u[1] = _mm512_and_si512(_mm512_srli_epi16(w, 4), four);
}

/* Sets bit 4 of the codes of four blocks, of which `left` exist: bit e of the 32 bits at p for code e of a block.      */
INLINE void fifth_bits(__m512i u[2], const uint8_t *p, const int stride, const int left) {
    uint64_t low = 0, high = 0; /* codes 0 .. 15, and 16 .. 31, of each block */
    UNROLL for (int b = 0; b < 4; b++) {
        uint16_t h[2] = { 0 };
        if (b < left) memcpy(h, p + b * stride, sizeof h);
        low |= (uint64_t)h[0] << 16 * b;
        high |= (uint64_t)h[1] << 16 * b;
    }
    u[0] = _mm512_mask_add_epi8(u[0], low, u[0], _mm512_set1_epi8(16));
    u[1] = _mm512_mask_add_epi8(u[1], high, u[1], _mm512_set1_epi8(16));
}

#include "kernels/cpu/matmul_int8_avx512.h"
