/* Matmul of quantized weights with int8 activations for few tokens, AVX-512 VNNI: what all those formats share.
 *
 * In each of these formats a block of 32 weights is scale * code - min.  vpdpbusd wants one unsigned side, so codes are
 * used as bytes u = code + SHIFT, and the sums start from -SHIFT * (sum of the activations' int8 values): exact.
 * Also in each of them 64 bytes of scales belong to 32 such blocks: a span, 1024 columns.
 *
 * Eight rows are taken together.  A cache line of each is loaded and the 8 x 8 matrix of 8-byte pieces is transposed:
 * then one register holds the same 8 columns of eight rows, and the activations of these columns are one broadcast
 * load.  Four vpdpbusd finish a block of eight rows in two int32 lanes a row; a convert, a multiply and an FMA turn these
 * 256 products into the float sums.  The next eight rows are prefetched meanwhile.
 *
 * The includer defines first:
 *   enum { LINE_BLOCKS,   blocks of 32 weights in 64 bytes of quants
 *          PLANES, PLANE_BITS,  bytes that make up one code (1 or 3), highest first, and their distance
 *          SHIFT,         of the codes, or of their highest byte
 *          HAS_MIN }      0: min is always 0; 1: and the number of blocks is even
 *   unpack(u, w, b)       u[4 * plane + i] = columns 8 i .. 8 i + 7 of block b of the transposed line w[8]
 *   span_scales(out, s)   from the transposed scale bytes s[8] of a span: scale[b] with both lanes of a row alike, and if
 *                         HAS_MIN min[b / 2] with the lanes of a row for the even and the odd block
 *   NAME                  of the kernel                                                                               */
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/cpu.h"

enum { ROWS = 8, MAX_TOKENS = 4, SPAN_BLOCKS = 32, BLOCK_BYTES = 64 / LINE_BLOCKS };

typedef struct span {
    __m512 scale[SPAN_BLOCKS], min[SPAN_BLOCKS / 2];
} span;

INLINE void unpack(__m512i u[4 * PLANES], const __m512i w[8], int b);
INLINE void span_scales(span *out, const __m512i s[8]);

/* 32 bytes at low, then 32 at high.                                                                                   */
INLINE __m512i load_halves(const uint8_t *low, const uint8_t *high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(load_32(low)), load_32(high), 1);
}

/* The 64 bytes at p[r] + offset of eight rows, transposed: out[j] = 8-byte piece j of rows 0 .. 7.                     */
INLINE void load_rows(__m512i out[8], const uint8_t *const p[ROWS], int64_t offset) {
    UNROLL for (int half = 0; half < 2; half++) {
        const int64_t at = offset + 32 * half;
        __m512i a = load_halves(p[0] + at, p[2] + at), b = load_halves(p[1] + at, p[3] + at);
        __m512i c = load_halves(p[4] + at, p[6] + at), d = load_halves(p[5] + at, p[7] + at);
        __m512i ab_even = _mm512_unpacklo_epi64(a, b), ab_odd = _mm512_unpackhi_epi64(a, b);
        __m512i cd_even = _mm512_unpacklo_epi64(c, d), cd_odd = _mm512_unpackhi_epi64(c, d);
        out[4 * half] = _mm512_shuffle_i64x2(ab_even, cd_even, 0x88);
        out[4 * half + 1] = _mm512_shuffle_i64x2(ab_odd, cd_odd, 0x88);
        out[4 * half + 2] = _mm512_shuffle_i64x2(ab_even, cd_even, 0xdd);
        out[4 * half + 3] = _mm512_shuffle_i64x2(ab_odd, cd_odd, 0xdd);
    }
}

/* As load_rows where only n_bytes < 64 are left of the rows; the rest is zero.                                        */
static void load_rows_end(__m512i out[8], const uint8_t *const p[ROWS], int64_t offset, size_t n_bytes) {
    uint8_t padded[ROWS][64] = { { 0 } };
    const uint8_t *rows[ROWS];
    for (int r = 0; r < ROWS; r++) rows[r] = memcpy(padded[r], p[r] + offset, n_bytes);
    load_rows(out, rows, 0);
}

/* Prefetches the share of the line at offset in the eight rows at next.  In the order of addresses: that is one stream,
 * where the loads of eight rows are eight, which would cost a third of the bandwidth.                                 */
INLINE void prefetch_rows(const uint8_t *next, int64_t offset) {
    UNROLL for (int r = 0; r < ROWS; r++) _mm_prefetch((const char *)next + ROWS * offset + 64 * r, _MM_HINT_T0);
}

/* Scales of a span whose scale bytes are one f16 a block.                                                             */
INLINE void half_scales(span *out, const __m512i s[8]) {
    for (int i = 0; i < SPAN_BLOCKS / 2; i++) {
        __m512 pair = _mm512_cvtph_ps(_mm512_cvtepi64_epi32(_mm512_srli_epi64(s[i / 2], 32 * (i % 2))));
        out->scale[2 * i] = _mm512_moveldup_ps(pair);
        out->scale[2 * i + 1] = _mm512_movehdup_ps(pair);
    }
}

/* start[b] = what the two lanes of a row start from for block b of these activations: columns 0 .. 3 of each piece go to
 * the first, 4 .. 7 to the second.                                                                                    */
static void start_sums(int32_t (*start)[2], const int8_t *q, int64_t n_blocks) {
    for (int64_t b = 0; b < n_blocks; b++) {
        __m256i fours = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8((char)SHIFT), load_32(q + 32 * b));
        __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
        sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
        _mm_storel_epi64((void *)start[b], _mm_sub_epi32(_mm_setzero_si128(), sums));
    }
}

/* Dot of one block's codes with its 32 activations q: two lanes a row.  A third plane is converted apart, as the whole
 * would not fit in int32.                                                                                             */
INLINE __m512 block_dot(const __m512i u[4 * PLANES], const int8_t *q, const int32_t start[2]) {
    __m512i sum = SHIFT ? broadcast_i64(start) : _mm512_setzero_si512(), low = _mm512_setzero_si512();
    UNROLL for (int i = 0; i < 4; i++) sum = _mm512_dpbusd_epi32(sum, u[i], broadcast_i64(q + 8 * i));
    if (PLANES == 1) return _mm512_cvtepi32_ps(sum);

    sum = _mm512_slli_epi32(sum, PLANE_BITS);
    UNROLL for (int i = 0; i < 4; i++) {
        sum = _mm512_dpbusd_epi32(sum, u[4 % (4 * PLANES) + i], broadcast_i64(q + 8 * i));
        low = _mm512_dpbusd_epi32(low, u[8 % (4 * PLANES) + i], broadcast_i64(q + 8 * i));
    }
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(1 << PLANE_BITS), _mm512_cvtepi32_ps(low));
}

/* Rows r .. r + 7 (those that exist) times tokens t .. t + tokens - 1.                                               */
INLINE void tile(const lr_matmul_args *a, int64_t r, int64_t t, const int tokens,
                 const int32_t (*start)[2]) {
    const lr_matrix *w = &a->w;
    const int64_t n_blocks = w->cols / 32;
    const int8_t *q = (const int8_t *)a->x.values + t * w->cols;
    const float *d = a->x.d + t * n_blocks, *s = a->x.s + t * n_blocks;
    const uint8_t *quants[ROWS], *scales[ROWS];
    for (int i = 0; i < ROWS; i++) {
        int64_t row = lr_min(r + i, w->rows - 1);
        quants[i] = lr_row_quants(w, row);
        scales[i] = lr_row_scales(w, row);
    }
    start += t * n_blocks;
    __m512 sum[MAX_TOKENS];
    UNROLL for (int k = 0; k < tokens; k++) sum[k] = _mm512_setzero_ps();

    for (int64_t first = 0; first < n_blocks; first += SPAN_BLOCKS) {
        const int n = (int)lr_min(SPAN_BLOCKS, n_blocks - first);
        __m512i pieces[8], u[4 * PLANES];
        span f;
        prefetch_rows(scales[0] + ROWS * w->scales_stride, first * 2);
        if (n == SPAN_BLOCKS)
            load_rows(pieces, scales, first * 2);
        else
            load_rows_end(pieces, scales, first * 2, (size_t)n * 2);
        span_scales(&f, pieces);
        for (int b = 0; HAS_MIN && b < n; b += 2) UNROLL for (int k = 0; k < tokens; k++) {
            const float *sb = s + k * n_blocks + first + b;
            sum[k] = _mm512_fnmadd_ps(f.min[b / 2], broadcast_2ps(sb), sum[k]);
        }
        for (int line = 0; line < n; line += LINE_BLOCKS) {
            const int in_line = (int)lr_min(LINE_BLOCKS, n - line);
            const int64_t offset = (first + line) * BLOCK_BYTES;
            prefetch_rows(quants[0] + ROWS * w->quants_stride, offset);
            if (in_line == LINE_BLOCKS)
                load_rows(pieces, quants, offset);
            else
                load_rows_end(pieces, quants, offset, (size_t)in_line * BLOCK_BYTES);
            UNROLL for (int b = 0; b < LINE_BLOCKS; b++) {
                if (b >= in_line) break;
                const int64_t block = first + line + b;
                unpack(u, pieces, b);
                UNROLL for (int k = 0; k < tokens; k++) {
                    const int64_t at = k * n_blocks + block;
                    __m512 dot = block_dot(u, q + 32 * at, start[at]);
                    dot = _mm512_mul_ps(dot, _mm512_set1_ps(d[at]));
                    sum[k] = _mm512_fmadd_ps(dot, f.scale[line + b], sum[k]);
                }
            }
        }
    }
    const __mmask8 rows = (__mmask8)((1 << lr_min(ROWS, w->rows - r)) - 1);
    UNROLL for (int k = 0; k < tokens; k++) store_rows8(a, t + k, r, rows, pair_sums(sum[k]));
}

void NAME(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_matmul_args *a = args;
    int32_t (*start)[2] = scratch; /* (x.n, cols / 32) */
    if (SHIFT) start_sums(start, a->x.values, a->x.n * (a->x.cols / 32));
    for (int64_t r = i0; r < i1; r += ROWS)
        for (int64_t t = 0; t < a->x.n; t += MAX_TOKENS) {
            switch (lr_min(MAX_TOKENS, a->x.n - t)) {
            case 1: tile(a, r, t, 1, start); break;
            case 2: tile(a, r, t, 2, start); break;
            case 3: tile(a, r, t, 3, start); break;
            case 4: tile(a, r, t, 4, start); break;
            }
        }
}
