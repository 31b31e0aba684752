/* Prefill matmul of the block formats of codebooks, at the end of the files of their kernels for few tokens: 16 rows
 * are decoded as there, a block at a time, and transposed.  GEMM is its name.                                        */
#include "kernels/cpu/gemm_quads_avx512.h"

/* Vector k of a row has in its dwords 2 b and 2 b + 1 the quads 2 k and 2 k + 1 of block b.                         */
static void unpack_rows(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    const int zero = CELL == 32 ? LR_GEMM_ZERO_BLOCKS : LR_GEMM_ZERO_HALVES;
    const size_t step = CELL == 32 ? sizeof(panel_block) : sizeof(panel_halves);
    const __m512i raise = _mm512_set1_epi8((char)(zero - SHIFT));
    uint8_t *to = panel;
    for (int64_t b = 0; b < w->cols / 256; b++, to += 8 * step) {
        __m512i rows[VECTORS][GROUP], scales[GROUP];
        for (int r = 0; r < GROUP; r++) {
            __m512i u[1][VECTORS];
            __m512 min;
            load_line(u, g.quants[r] + BYTES * b, 0, LINE_BLOCKS);
            for (int k = 0; k < VECTORS; k++) rows[k][r] = _mm512_add_epi8(u[0][k], raise);
            scales[r] = _mm512_castps_si512(group_scales(&min, g.quants[r] + BYTES * b, 8));
        }
        for (int k = 0; k < VECTORS; k++) {
            lr_transpose_16(rows[k]);
            for (int i = 0; i < 16; i++) {
                panel_block *block = (panel_block *)(to + i / 2 * step);
                _mm512_store_si512(block->u[2 * k + i % 2], rows[k][i]);
            }
        }
        lr_transpose_16(scales);
        for (int i = 0; i < 256 / CELL; i++) {
            panel_halves *block = (panel_halves *)(to + i / SUMS * step); /* a single scale is where the first is */
            _mm512_store_si512(block->scale[i % SUMS], scales[i]);
        }
    }
}

void GEMM(const void *args, int64_t i0, int64_t i1, void *scratch) {
    lr_gemm gemm = CELL == 32 ? lr_gemm_blocks_avx512 : lr_gemm_halves_avx512;
    gemm.unpack = unpack_rows;
    lr_gemm_run(&gemm, args, i0, i1, scratch);
}
