/* The matrix product on tensor cores: y[t][r] = sum_c w[r][c] x[t][c] for a tile of tokens and rows a block, weights of
 * any format that has a tile_<format>.cuh.  Several stages of cp.async feed it; the sum of an output is formed in the
 * same order whatever the shape of the tile, so that neither the device nor the length of a pass changes a bit.      */
#ifndef LR_GEMM_CUH
#define LR_GEMM_CUH

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/tile.cuh"

/* ---- arguments: up to three matrices that share their activations ---- */

struct gemm_matrix {
    const uint8_t *quants, *scales;
    int quants_stride, scales_stride; /* offsets in a tile are of 32 bits */
    gemm_output out;
    int rows, first_tile; /* tiles of rows are counted over all matrices */
};

struct gemm_args {
    gemm_matrix matrix[3];
    int count;
    const uint8_t *x; /* (n, cols), 16 bits each */
    const float *d;   /* (n) or NULL */
    int n, cols, token_tiles, row_tiles;
};

/* Blocks that run at the same time share tiles in the second-level cache: tiles of tokens come in groups, and in a
 * group each tile of rows meets all of them before the next one.                                                     */
enum { GEMM_GROUP = 16 };

struct gemm_tile {
    int token_tile, row_tile;
};
GPU_FN gemm_tile gemm_tile_of_block(const gemm_args &a) {
    int in_group = GEMM_GROUP * a.row_tiles, group = (int)blockIdx.x / in_group, i = (int)blockIdx.x % in_group;
    int width = min(GEMM_GROUP, a.token_tiles - group * GEMM_GROUP);
    return { group * GEMM_GROUP + i % width, i / width };
}

/* ---- the kernel ---- */

template <bool BF16> GPU_FN void gemm_mma(float sum[4], const unsigned x[4], const unsigned w[2]) {
    if (BF16)
        mma_m16n8k16_bf16(sum, x, w, sum);
    else
        mma_m16n8k16_f16(sum, x, w, sum);
}

template <class T, int TOKENS, int ROWS, int WARPS_OF_TOKENS, int WARPS_OF_ROWS, int STAGES> struct gemm_shape {
    enum {
        THREADS = 32 * WARPS_OF_TOKENS * WARPS_OF_ROWS,
        PARTS = T::COLUMNS / 32,                       /* chunks of a lane in a step */
        FRAGMENTS_OF_TOKENS = TOKENS / WARPS_OF_TOKENS / 16,
        FRAGMENTS_OF_ROWS = ROWS / WARPS_OF_ROWS / 8,
        X_ROW_BYTES = 2 * T::COLUMNS,
        QUANTS_AT = TOKENS * X_ROW_BYTES,              /* in a stage */
        SCALES_AT = QUANTS_AT + ROWS * T::ROW_BYTES,
        STAGE_BYTES = SCALES_AT + ROWS * T::SCALE_BYTES,
        SHARED_BYTES = STAGES * STAGE_BYTES
    };
};

/* Where a row of activations keeps its i-th 16 bytes: in steps of 64 columns, what eight lanes of two rows read at once
 * lies in all banks.                                                                                                 */
template <class T> GPU_FN int gemm_place(int row, int i) { return T::COLUMNS == 64 ? i ^ ((row & 1) * 6) : i; }

template <class T, int TOKENS, int ROWS, int WARPS_OF_TOKENS, int WARPS_OF_ROWS, int STAGES, int BLOCKS>
__global__ void __launch_bounds__(32 * WARPS_OF_TOKENS * WARPS_OF_ROWS, BLOCKS) k_gemm(const gemm_args a) {
    typedef gemm_shape<T, TOKENS, ROWS, WARPS_OF_TOKENS, WARPS_OF_ROWS, STAGES> S;
    constexpr int PARTS = S::PARTS, MT = S::FRAGMENTS_OF_TOKENS, NT = S::FRAGMENTS_OF_ROWS;
    GPU_DYN_SHARED(uint8_t, shared);
    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    gemm_tile tile = gemm_tile_of_block(a);
    gemm_matrix m = a.matrix[0];
    if (a.count > 1 && tile.row_tile >= a.matrix[1].first_tile) m = a.matrix[1];
    if (a.count > 2 && tile.row_tile >= a.matrix[2].first_tile) m = a.matrix[2];
    int token0 = tile.token_tile * TOKENS, row0 = (tile.row_tile - m.first_tile) * ROWS;
    const uint8_t *x = a.x + (int64_t)token0 * a.cols * 2;
    const uint8_t *quants = m.quants + (int64_t)row0 * m.quants_stride;
    const uint8_t *scales = m.scales + (int64_t)row0 * m.scales_stride;
    int n_tokens = a.n - token0, n_rows = m.rows - row0, steps = (a.cols + T::COLUMNS - 1) / T::COLUMNS;

    constexpr int X_PIECES = S::X_ROW_BYTES / 16, QUANT_PIECES = T::ROW_BYTES / 16; /* of 16 bytes in a row */
    constexpr int X_APART = S::THREADS / X_PIECES, QUANTS_APART = S::THREADS / QUANT_PIECES;
    int x_row = (int)threadIdx.x / X_PIECES, x_at = (int)threadIdx.x % X_PIECES;
    int quants_row = (int)threadIdx.x / QUANT_PIECES, quants_at = (int)threadIdx.x % QUANT_PIECES;
    int scales_row = (int)threadIdx.x;
    auto fetch = [&](int step, uint8_t *stage) { /* a thread has the same place in every so many rows */
        int column0 = step * T::COLUMNS;
        bool in_row = column0 + 8 * x_at < a.cols;
        const uint8_t *from = x + (x_row * a.cols + column0 + 8 * x_at) * 2;
        uint8_t *to = stage + x_row * S::X_ROW_BYTES + 16 * gemm_place<T>(x_row, x_at);
        GPU_UNROLL for (int i = 0; i < TOKENS; i += X_APART)
            cp_async16(to + i * S::X_ROW_BYTES, from + i * a.cols * 2, in_row && x_row + i < n_tokens);
        in_row = column0 + T::column(quants_at) < a.cols;
        from = quants + (quants_row * m.quants_stride + step * T::ROW_BYTES + 16 * quants_at);
        to = stage + S::QUANTS_AT + quants_row * T::ROW_BYTES + 16 * T::place(quants_row, quants_at);
        if (ROWS >= QUANTS_APART || quants_row < ROWS) GPU_UNROLL for (int i = 0; i < ROWS; i += QUANTS_APART)
            cp_async16(to + i * T::ROW_BYTES, from + i * m.quants_stride, in_row && quants_row + i < n_rows);
        if constexpr (T::SCALE_BYTES > 0) {
            if (ROWS >= S::THREADS || scales_row < ROWS) GPU_UNROLL for (int i = 0; i < ROWS; i += S::THREADS)
                T::fetch_scales(stage + S::SCALES_AT + (scales_row + i) * T::SCALE_BYTES,
                                scales + (scales_row + i) * m.scales_stride, column0, a.cols, scales_row + i < n_rows);
        }
    };

    int warp_token = warp / WARPS_OF_ROWS * (TOKENS / WARPS_OF_TOKENS) + g;
    int warp_row = warp % WARPS_OF_ROWS * (ROWS / WARPS_OF_ROWS) + g;
    unsigned noted = T::note(scales + warp_row * m.scales_stride); /* 8 rows on, it is the same */
    float sum[MT][NT][4] = {};
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < steps) fetch(step, shared + step * S::STAGE_BYTES);
        cp_async_commit();
    }
    uint8_t *const last = shared + (STAGES - 1) * S::STAGE_BYTES, *stage = shared, *before = last;
    for (int step = 0; step < steps; step++) {
        cp_async_wait<STAGES - 2>();
        __syncthreads(); /* this step has come for all, and all are done with the one before, whose stage is free */
        if (step + STAGES - 1 < steps) fetch(step + STAGES - 1, before);
        cp_async_commit();
        unsigned w[NT][4 * PARTS];
        GPU_UNROLL for (int j = 0; j < NT; j++) {
            int row = warp_row + 8 * j;
            T::decode(w[j], stage + S::QUANTS_AT + row * T::ROW_BYTES, stage + S::SCALES_AT + row * T::SCALE_BYTES, row, t,
                      step, noted);
        }
        GPU_UNROLL for (int i = 0; i < MT; i++) GPU_UNROLL for (int part = 0; part < PARTS; part++) {
            int row = warp_token + 16 * i, at = 16 * gemm_place<T>(row, T::chunk(t, part)); /* row + 8: the same */
            uint4 v0 = *(const uint4 *)(stage + row * S::X_ROW_BYTES + at);
            uint4 v8 = *(const uint4 *)(stage + (row + 8) * S::X_ROW_BYTES + at);
            const unsigned first[4] = { v0.x, v8.x, v0.y, v8.y }, second[4] = { v0.z, v8.z, v0.w, v8.w };
            GPU_UNROLL for (int j = 0; j < NT; j++) gemm_mma<T::IS_BF16>(sum[i][j], first, &w[j][4 * part]);
            GPU_UNROLL for (int j = 0; j < NT; j++) gemm_mma<T::IS_BF16>(sum[i][j], second, &w[j][4 * part + 2]);
        }
        before = stage;
        stage = stage == last ? shared : stage + S::STAGE_BYTES;
    }

    GPU_UNROLL for (int i = 0; i < MT; i++) GPU_UNROLL for (int lower = 0; lower < 2; lower++) {
        int token = warp_token + 16 * i + 8 * lower;
        if (token >= n_tokens) continue;
        float d = a.d ? a.d[token0 + token] : 1.0f;
        GPU_UNROLL for (int j = 0; j < NT; j++) {
            const float v[2] = { d * sum[i][j][2 * lower], d * sum[i][j][2 * lower + 1] };
            gemm_store<2>(m.out, token0 + token, row0 + warp_row - g + 8 * j + 2 * t, m.rows, v);
        }
    }
}

#endif
