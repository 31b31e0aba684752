/* Matmul of quantized weights with int8 activations for few tokens, AVX-512 VNNI: what all those formats share.
 *
 * In each of these formats a cell of 32 or 16 weights is scale * code - min.  vpdpbusd wants one unsigned side, so codes
 * are used as bytes u = code + SHIFT, and the sums start from -SHIFT * (sum of the activations' int8 values): exact.
 *
 * Decode waits for memory, so weights are read as memory likes it: row after row, each from end to end, one stream of
 * quants and one of scales.  The processor's own prefetch does this best; prefetch instructions only cost it slots.
 * Activations are laid out once per range of rows in the order in which a row's bytes meet them.  A line (some blocks of
 * 32 weights) gives one or two vectors of int32 sums; a group of 16 cells shares one vector of scales.
 * The sums of a token do not depend on the other tokens, nor on the range.
 *
 * Included through matmul_planes_avx512.h or matmul_blocks_avx512.h.  The includer of those defines first:
 *   enum { LINE_BLOCKS,   blocks of 32 weights in a line
 *          SUMS, PARTS,   a line unpacks to SUMS * PARTS vectors of 64 codes; PARTS of them end in the same sums
 *          PLANES, PLANE_BITS,  bytes that make up one code (1 or 3), highest first, and their distance
 *          SHIFT,         of the codes, or of their highest byte
 *          HAS_MIN }      0: min is always 0.  1: of 32 weights.  2: of a cell, with codes as they are and SHIFT 1
 *   NAME                  of the kernel
 *   RUN                   codes next to each other in a vector whose columns are: 8, or 16 where it is not defined
 * and afterwards:
 *   column(v, c)          of the line, which the first of RUN codes at RUN * c of vector v belongs to
 *   group_scales(min, p, n)  scales (returned) and mins of n <= 16 cells; 0 beyond n.  p: the group's scale bytes where
 *                         they are in a plane of their own, else the group
 * Between the two stand:
 *   enum { CELL, GROUP_BYTES }  weights of a cell; bytes of a group in the quants
 *   load_line(u, p, line, left)  u[plane][v] = byte `plane` of the codes of vector v of that line of the group at p; of its
 *                         blocks only `left` exist (may be more than a line has), the others' codes do not matter       */
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/cpu.h"

#ifndef RUN
#define RUN 16
#endif
enum { ROWS = 8, MAX_TOKENS = 4, GROUP_BLOCKS = CELL / 2, GROUP_LINES = GROUP_BLOCKS / LINE_BLOCKS };

INLINE int column(int v, int c);
INLINE void load_line(__m512i u[PLANES][VECTORS], const uint8_t *p, int line, int left);
INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n);

/* The first n of up to 16 values; the rest is 0.                                                                      */
INLINE __mmask16 first16(int n) { return (__mmask16)((1u << n) - 1); }
INLINE __m512 half_scales(const uint8_t *p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first16(n), p));
}

/* A token's activations as a row's bytes meet them, zero beyond its columns.                                          */
typedef struct line_input {
    __m512i q[VECTORS];
    __m512i start[SUMS]; /* -SHIFT * the sum of what each int32 lane is dotted with */
} line_input;

/* What 16 codes at 16 * c of vector v meet.                                                                           */
INLINE __m128i arrange_16(const int8_t *q, int v, int c) {
    if (RUN == 16) return load_16(q + column(v, c));
    return _mm_unpacklo_epi64(_mm_loadu_si64(q + column(v, 2 * c)), _mm_loadu_si64(q + column(v, 2 * c + 1)));
}

INLINE void arrange_line(line_input *out, const int8_t *q) {
    UNROLL for (int v = 0; v < VECTORS; v++) {
        __m512i low = _mm512_castsi128_si512(arrange_16(q, v, 0));
        __m256i high = _mm256_castsi128_si256(arrange_16(q, v, 2));
        low = _mm512_inserti32x4(low, arrange_16(q, v, 1), 1);
        high = _mm256_inserti128_si256(high, arrange_16(q, v, 3), 1);
        out->q[v] = _mm512_inserti64x4(low, high, 1);
    }
    UNROLL for (int s = 0; s < (SHIFT ? SUMS : 0); s++) {
        __m512i sum = _mm512_setzero_si512();
        UNROLL for (int v = s * PARTS; v < (s + 1) * PARTS; v++)
            sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8((char)SHIFT), out->q[v]);
        out->start[s] = _mm512_sub_epi32(_mm512_setzero_si512(), sum);
    }
}

INLINE int64_t lines_of(int64_t cols) { return (cols / 32 + LINE_BLOCKS - 1) / LINE_BLOCKS; }

static void arrange(line_input *out, const int8_t *q, int64_t n_blocks) {
    int64_t block = 0;
    for (; block + LINE_BLOCKS <= n_blocks; block += LINE_BLOCKS) arrange_line(out++, q + 32 * block);
    if (block < n_blocks) {
        int8_t padded[LINE_BLOCKS * 32] = { 0 };
        arrange_line(out, memcpy(padded, q + 32 * block, (size_t)(n_blocks - block) * 32));
    }
}

/* Dot of the codes of sum s with activations: four products a part in each lane, which int32 holds for every format. */
INLINE __m512 dot(__m512i u[PLANES][VECTORS], const line_input *x, const int s) {
    __m512i sum = SHIFT != 0 && HAS_MIN != 2 ? x->start[s] : _mm512_setzero_si512();
    UNROLL for (int plane = 0; plane < PLANES; plane++) {
        if (plane > 0) sum = _mm512_slli_epi32(sum, PLANE_BITS);
        UNROLL for (int v = s * PARTS; v < (s + 1) * PARTS; v++) sum = _mm512_dpbusd_epi32(sum, u[plane][v], x->q[v]);
    }
    return _mm512_cvtepi32_ps(sum);
}

/* In each lane of sum s of a group's first line: the cell of the group that it belongs to.                            */
INLINE __m512i lane_cells(const int s) {
    const int v = s * PARTS;
#define LANE(i) column(v, (i) * 4 / RUN) / CELL
    return _mm512_setr_epi32(LANE(0), LANE(1), LANE(2), LANE(3), LANE(4), LANE(5), LANE(6), LANE(7), LANE(8), LANE(9),
                             LANE(10), LANE(11), LANE(12), LANE(13), LANE(14), LANE(15));
#undef LANE
}

/* A value for each of n blocks, for each of their cells.                                                              */
INLINE __m512 by_cell(const float *blocks, int n) {
    const __m512 v = _mm512_maskz_loadu_ps(first16(n), blocks);
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return CELL == 32 ? v : _mm512_permutexvar_ps(twice, v);
}

/* n <= GROUP_BLOCKS blocks from block `first` on of a row times `tokens` tokens, x_lines of line_input apart.                   */
INLINE void group(__m512 sums[MAX_TOKENS][SUMS], const lr_act *act, int64_t t, const line_input *x, int64_t x_lines,
                  const uint8_t *quants, __m512 scale, __m512 min, int64_t first, const int n, const int tokens) {
    const int64_t n_blocks = act->cols / 32;
    __m512 factor[MAX_TOKENS], less[MAX_TOKENS];
    UNROLL for (int k = 0; k < tokens; k++) {
        const int64_t at = (t + k) * n_blocks + first;
        factor[k] = _mm512_mul_ps(scale, by_cell(act->d + at, n));
        if (HAS_MIN == 2) less[k] = _mm512_mul_ps(min, by_cell(act->d + at, n));
        if (HAS_MIN == 1) sums[k][0] = _mm512_fnmadd_ps(min, _mm512_maskz_loadu_ps(first16(n), act->s + at), sums[k][0]);
    }
    UNROLL for (int line = 0; line < GROUP_LINES; line++) {
        const int left = n - line * LINE_BLOCKS;
        if (left <= 0) break;
        __m512i u[PLANES][VECTORS];
        load_line(u, quants, line, left);
        UNROLL for (int s = 0; s < SUMS; s++) {
            const __m512i cells = _mm512_add_epi32(lane_cells(s), _mm512_set1_epi32(line * LINE_BLOCKS * 32 / CELL));
            UNROLL for (int k = 0; k < tokens; k++) {
                const line_input *in = &x[k * x_lines + line];
                sums[k][s] = _mm512_fmadd_ps(dot(u, in, s), _mm512_permutexvar_ps(cells, factor[k]), sums[k][s]);
                if (HAS_MIN == 2) /* times the sum of the activations, negative */
                    sums[k][s] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(in->start[s]),
                                                 _mm512_permutexvar_ps(cells, less[k]), sums[k][s]);
            }
        }
    }
}

/* Rows r0 .. r1 - 1 times tokens t .. t + tokens - 1.                                                                 */
INLINE void some_rows(const lr_matmul_args *a, int64_t r0, int64_t r1, int64_t t, const void *lines, const int tokens) {
    const int64_t n_blocks = a->w.cols / 32, full = n_blocks / GROUP_BLOCKS * GROUP_BLOCKS;
    const int64_t x_lines = lines_of(a->w.cols);
    const lr_format_traits *f = &lr_formats[a->w.format];
    const int64_t scale_bytes = f->scale_bytes ? (int64_t)f->scale_bytes * GROUP_BLOCKS * 32 / f->block : GROUP_BYTES;
    for (int64_t r = r0; r < r1; r++) {
        const uint8_t *quants = lr_row_quants(&a->w, r), *scales = f->scale_bytes ? lr_row_scales(&a->w, r) : quants;
        const line_input *in = (const line_input *)lines + t * x_lines;
        __m512 sums[MAX_TOKENS][SUMS];
        UNROLL for (int k = 0; k < tokens; k++) UNROLL for (int s = 0; s < SUMS; s++) sums[k][s] = _mm512_setzero_ps();
        /* The scales of the next group are decoded before the lines of this one: work for while those are on their way. */
        __m512 min = _mm512_setzero_ps(), scale = min, next_min = min, next = min;
        if (full > 0) scale = group_scales(&min, scales, GROUP_BLOCKS * 32 / CELL);
        for (int64_t first = 0; first < full; first += GROUP_BLOCKS) {
            scales += scale_bytes;
            if (first + GROUP_BLOCKS < full) next = group_scales(&next_min, scales, GROUP_BLOCKS * 32 / CELL);
            group(sums, &a->x, t, in, x_lines, quants, scale, min, first, GROUP_BLOCKS, tokens);
            scale = next, min = next_min;
            quants += GROUP_BYTES;
            in += GROUP_LINES;
        }
        if (full < n_blocks) {
            const int n = (int)(n_blocks - full);
            scale = group_scales(&min, scales, n * 32 / CELL);
            group(sums, &a->x, t, in, x_lines, quants, scale, min, full, n, tokens);
        }
        const float factor = lr_row_factor(&a->w, r);
        UNROLL for (int k = 0; k < tokens; k++) {
            UNROLL for (int s = 1; s < SUMS; s++) sums[k][0] = _mm512_add_ps(sums[k][0], sums[k][s]);
            lr_matmul_store(a, t + k, r, _mm512_reduce_add_ps(sums[k][0]) * factor);
        }
    }
}

#include "kernels/cpu/few_tokens_avx512.h"

void NAME(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_matmul_args *a = args;
    const int64_t x_lines = lines_of(a->w.cols);
    line_input *x = scratch; /* (x.n, x_lines) */
    for (int64_t t = 0; t < a->x.n; t++)
        arrange(x + t * x_lines, (const int8_t *)a->x.values + t * a->w.cols, a->w.cols / 32);
    each_row(a, i0, i1, x);
}
