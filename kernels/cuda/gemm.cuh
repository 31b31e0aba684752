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
    gemm_groups groups; /* of kernels with GROUPS */
};

/* Blocks that run at the same time share tiles in the second-level cache: tiles of tokens come in groups, and in a
 * group each tile of rows meets all of them before the next one.                                                     */
enum { GEMM_GROUP = 16 };

struct gemm_tile {
    int token_tile, row_tile, matrix;
};
template <bool GROUPS> GPU_FN gemm_tile gemm_tile_of_block(const gemm_args &a) {
    if (GROUPS) { /* rows first: the next tile of tokens may read the same weights */
        int row_tile = (int)blockIdx.x % a.row_tiles;
        return { (int)blockIdx.x / a.row_tiles, row_tile, a.count > 1 && row_tile >= a.matrix[1].first_tile };
    }
    int in_group = GEMM_GROUP * a.row_tiles, group = (int)blockIdx.x / in_group, i = (int)blockIdx.x % in_group;
    int width = min(GEMM_GROUP, a.token_tiles - group * GEMM_GROUP);
    int row_tile = i / width, matrix = 0;
    if (a.count > 1 && row_tile >= a.matrix[1].first_tile) matrix = 1;
    if (a.count > 2 && row_tile >= a.matrix[2].first_tile) matrix = 2;
    return { group * GEMM_GROUP + i % width, row_tile, matrix };
}
/* Without an index that arguments would have to be copied to memory for.                                             */
GPU_FN gemm_matrix gemm_matrix_of(const gemm_args &a, int i) {
    return i == 0 ? a.matrix[0] : i == 1 ? a.matrix[1] : a.matrix[2];
}

/* ---- fragments ----
 * Weights are the first factor of the instruction, so that four registers of its fragment are two rows' and can be
 * computed in place; activations the second, whose two registers come in order out of one load.  Rows of weights lie in
 * a stage so that fragment row g is row 2g of its 16 and g + 8 is 2g + 1: a lane has pairs of neighbours to store. */

GPU_FN int gemm_global_row(int row) { return (row & ~15) | (row & 7) << 1 | (row >> 3 & 1); }

template <bool BF16> GPU_FN void gemm_mma(float sum[4], const unsigned w[4], const unsigned x[2]) {
    if (BF16)
        mma_m16n8k16_bf16(sum, w, x, sum);
    else
        mma_m16n8k16_f16(sum, w, x, sum);
}

/* Where a row keeps its i-th 16 bytes in a stage.  What eight lanes read at once lies in all banks: with ldmatrix, one
 * piece of each of eight rows; else four pieces of two rows of activations, which rows of 64 bytes are as they are, and
 * 32 bytes of each of four rows of quants.                                                                           */
template <class T> GPU_FN int gemm_place_x(int row, int i) {
    if (T::IS_PLAIN) return T::COLUMNS == 32 ? i ^ (row >> 1 & 3) : i ^ (row & 7);
    return T::COLUMNS == 64 ? i ^ ((row & 1) * 6) : i;
}
template <class T> GPU_FN int gemm_place_w(int row, int i) { return T::IS_PLAIN ? gemm_place_x<T>(row, i) : i; }

/* 32 columns of 8 tokens from `row` on: v[0], v[1] for the first instruction, v[2], v[3] for the second.             */
template <class T> GPU_FN void gemm_load_x(unsigned v[4], const uint8_t *x, int row, int lane, int part) {
    if constexpr (T::IS_PLAIN) {
        row += lane & 7;
        ldmatrix_x4(v, x + row * (2 * T::COLUMNS) + 16 * gemm_place_x<T>(row, 4 * part + (lane >> 3)));
    } else {
        row += lane >> 2;
        uint4 loaded =
            *(const uint4 *)(x + row * (2 * T::COLUMNS) + 16 * gemm_place_x<T>(row, T::chunk(lane & 3, part)));
        v[0] = loaded.x, v[1] = loaded.y, v[2] = loaded.z, v[3] = loaded.w;
    }
}

/* A step of 16 rows of weights from `row` on, for COLUMNS / 16 instructions.                                         */
template <class T>
GPU_FN void gemm_load_w(unsigned w[T::COLUMNS / 16][4], const uint8_t *quants, const uint8_t *scales, int row, int lane,
                        int step, const unsigned noted[2]) {
    if constexpr (T::IS_PLAIN) {
        row += lane & 15;
        GPU_UNROLL for (int i = 0; i < T::COLUMNS / 16; i++)
            ldmatrix_x4(w[i], quants + row * T::ROW_BYTES + 16 * gemm_place_w<T>(row, 2 * i + (lane >> 4)));
    } else {
        row += lane >> 2;
        GPU_UNROLL for (int lower = 0; lower < 2; lower++, row += 8) {
            unsigned v[T::COLUMNS / 8];
            T::decode(v, quants + row * T::ROW_BYTES, scales + row * T::SCALE_BYTES, lane & 3, step, noted[lower]);
            GPU_UNROLL for (int i = 0; i < T::COLUMNS / 8; i++) w[i / 2][i % 2 * 2 + lower] = v[i];
        }
    }
}

/* ---- the kernel ---- */

template <class T, int TOKENS, int ROWS, int WARPS_OF_TOKENS, int WARPS_OF_ROWS, int STAGES> struct gemm_shape {
    enum {
        THREADS = 32 * WARPS_OF_TOKENS * WARPS_OF_ROWS,
        WARP_TOKENS = TOKENS / WARPS_OF_TOKENS,
        WARP_ROWS = ROWS / WARPS_OF_ROWS,
        X_ROW_BYTES = 2 * T::COLUMNS,
        QUANTS_AT = TOKENS * X_ROW_BYTES, /* in a stage */
        SCALES_AT = QUANTS_AT + ROWS * T::ROW_BYTES,
        STAGE_BYTES = SCALES_AT + ROWS * T::SCALE_BYTES,
        SHARED_BYTES = STAGES * STAGE_BYTES
    };
};

/* GROUPS: tiles of tokens are those of a.groups, and so are their matrices and rows.                                 */
template <class T, int TOKENS, int ROWS, int WARPS_OF_TOKENS, int WARPS_OF_ROWS, int STAGES, int BLOCKS, bool GROUPS>
__global__ void __launch_bounds__(32 * WARPS_OF_TOKENS * WARPS_OF_ROWS, BLOCKS) k_gemm(const gemm_args a) {
    typedef gemm_shape<T, TOKENS, ROWS, WARPS_OF_TOKENS, WARPS_OF_ROWS, STAGES> S;
    GPU_DYN_SHARED(uint8_t, shared);
    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5;
    gemm_tile tile = gemm_tile_of_block<GROUPS>(a);
    gemm_matrix m = gemm_matrix_of(a, tile.matrix);
    gemm_group_tile group = {};
    if constexpr (GROUPS) {
        group = a.groups.tiles[tile.token_tile];
        if (group.expert < 0) return;
    }
    int token0 = GROUPS ? group.first : tile.token_tile * TOKENS, row0 = (tile.row_tile - m.first_tile) * ROWS;
    int n_tokens = GROUPS ? group.n : a.n - token0, n_rows = m.rows - row0;
    int steps = (a.cols + T::COLUMNS - 1) / T::COLUMNS;
    const int64_t row0_of_all = GROUPS ? (int64_t)group.expert * m.rows + row0 : row0;
    const uint8_t *x = GROUPS ? a.x : a.x + (int64_t)token0 * a.cols * 2;
    const uint8_t *quants = m.quants + row0_of_all * m.quants_stride;
    const uint8_t *scales = m.scales + row0_of_all * m.scales_stride;

    /* A thread fetches the same place of every so many rows, multiples of 8 of activations, of 16 of quants.         */
    constexpr int X_PIECES = S::X_ROW_BYTES / 16, X_APART = S::THREADS / X_PIECES;
    constexpr int QUANT_PIECES = T::ROW_BYTES / 16, QUANTS_APART = S::THREADS / QUANT_PIECES;
    constexpr bool DECODED = tile_walk<T>::IS_DECODED;
    static_assert(X_APART % 8 == 0 && (QUANTS_APART % 16 == 0 || DECODED) && ROWS <= S::THREADS, "who fetches what");
    int x_row = (int)threadIdx.x / X_PIECES, x_at = (int)threadIdx.x % X_PIECES;
    int quants_row = (int)threadIdx.x / QUANT_PIECES, quants_at = (int)threadIdx.x % QUANT_PIECES;
    int quants_from = gemm_global_row(quants_row), scales_row = (int)threadIdx.x;
    int x_from[GROUPS ? (TOKENS + X_APART - 1) / X_APART : 1]; /* rows of x */
    if constexpr (GROUPS)
        GPU_UNROLL for (int i = 0; i < TOKENS; i += X_APART)
            x_from[i / X_APART] = gemm_group_row(a.groups.from, token0 + min(x_row + i, n_tokens - 1));
    auto fetch = [&](int step, uint8_t *stage) {
        int column0 = step * T::COLUMNS;
        int column = tile_walk<T>::column(step, x_at);
        bool in_row = column < a.cols;
        const uint8_t *from = x + (x_row * a.cols + column) * 2;
        uint8_t *to = stage + x_row * S::X_ROW_BYTES + 16 * gemm_place_x<T>(x_row, x_at);
        if constexpr (GROUPS)
            GPU_UNROLL for (int i = 0; i < TOKENS; i += X_APART)
                cp_async16(to + i * S::X_ROW_BYTES, x + ((int64_t)x_from[i / X_APART] * a.cols + column) * 2,
                           in_row && x_row + i < n_tokens);
        else
            GPU_UNROLL for (int i = 0; i < TOKENS; i += X_APART)
                cp_async16(to + i * S::X_ROW_BYTES, from + i * a.cols * 2, in_row && x_row + i < n_tokens);
        if constexpr (!DECODED) {
            in_row = column0 + T::column(quants_at) < a.cols;
            from = quants + (quants_from * m.quants_stride + tile_walk<T>::quants_at(step) + 16 * quants_at);
            to = stage + S::QUANTS_AT + quants_row * T::ROW_BYTES + 16 * gemm_place_w<T>(quants_row, quants_at);
            if (ROWS >= QUANTS_APART || quants_row < ROWS)
                GPU_UNROLL for (int i = 0; i < ROWS; i += QUANTS_APART)
                    cp_async16(to + i * T::ROW_BYTES, from + i * m.quants_stride, in_row && quants_from + i < n_rows);
        }
        if constexpr (!T::IS_PLAIN) {
            int row = gemm_global_row(scales_row);
            if (scales_row < ROWS)
                T::fetch_scales(stage + S::SCALES_AT + scales_row * T::SCALE_BYTES, scales + row * m.scales_stride,
                                column0, a.cols, row < n_rows);
        }
    };

    /* Or it loads a unit of one row, and stores it a step later, as f16.                                             */
    constexpr int UNITS = T::COLUMNS / 32;
    static_assert(!DECODED || S::THREADS == ROWS * UNITS, "a unit for each thread");
    typename tile_walk<T>::raw raw;
    int unit_row = (int)threadIdx.x / UNITS, unit_at = (int)threadIdx.x % UNITS;
    const uint8_t *unit_from = quants + (int64_t)min(gemm_global_row(unit_row), n_rows - 1) * m.quants_stride;
    auto unit_of = [&](int step) { return (unsigned)min(step * UNITS + unit_at, a.cols / 32 - 1); };
    auto load = [&](int step) {
        if constexpr (DECODED)
            if (step < steps) raw = T::load(unit_from, unit_of(step));
    };
    auto store = [&](int step, uint8_t *stage) {
        if constexpr (DECODED) {
            if (step >= steps) return;
            uint4 weights[4];
            T::decode(weights, raw, unit_of(step));
            uint8_t *to = stage + S::QUANTS_AT + unit_row * T::ROW_BYTES;
            GPU_UNROLL for (int i = 0; i < 4; i++)
                *(uint4 *)(to + 16 * gemm_place_w<T>(unit_row, 4 * unit_at + i)) = weights[i];
        }
    };

    constexpr int W_FRAGMENTS = S::WARP_ROWS / 16, X_FRAGMENTS = S::WARP_TOKENS / 8, PARTS = T::COLUMNS / 32;
    constexpr int TOGETHER = X_FRAGMENTS * W_FRAGMENTS <= 8 ? X_FRAGMENTS : 8 / W_FRAGMENTS; /* sums in flight: 8 */
    int warp_token = warp / WARPS_OF_ROWS * S::WARP_TOKENS, warp_row = warp % WARPS_OF_ROWS * S::WARP_ROWS;
    const unsigned noted[2] = { T::note(scales), T::note(scales + m.scales_stride) }; /* of even and odd rows */
    float sum[W_FRAGMENTS][X_FRAGMENTS][4] = {};
    load(0);
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < steps) fetch(step, shared + step * S::STAGE_BYTES);
        cp_async_commit();
    }
    store(0, shared);
    load(1);
    uint8_t *const last = shared + (STAGES - 1) * S::STAGE_BYTES, *stage = shared, *before = last;
    for (int step = 0; step < steps; step++) {
        cp_async_wait<STAGES - 2>();
        __syncthreads(); /* this step has come for all, and all are done with the one before, whose stage is free */
        if (step + STAGES - 1 < steps) fetch(step + STAGES - 1, before);
        cp_async_commit();
        uint8_t *const next = stage == last ? shared : stage + S::STAGE_BYTES;
        store(step + 1, next);
        load(step + 2);
        unsigned w[W_FRAGMENTS][T::COLUMNS / 16][4];
        GPU_UNROLL for (int i = 0; i < W_FRAGMENTS; i++)
            gemm_load_w<T>(w[i], stage + S::QUANTS_AT, stage + S::SCALES_AT, warp_row + 16 * i, lane, step, noted);
        GPU_UNROLL for (int pass = 0; pass < X_FRAGMENTS / TOGETHER * PARTS; pass++) {
            int j0 = pass / PARTS * TOGETHER, part = pass % PARTS;
            unsigned v[TOGETHER][4];
            if (X_FRAGMENTS == 16 && j0 == 8 && part == 0) __syncwarp(); /* or all is loaded first, and registers end */
            GPU_UNROLL for (int j = 0; j < TOGETHER; j++)
                gemm_load_x<T>(v[j], stage, warp_token + 8 * (j0 + j), lane, part);
            GPU_UNROLL for (int k = 0; k < 2; k++) GPU_UNROLL for (int j = 0; j < TOGETHER; j++)
                GPU_UNROLL for (int i = 0; i < W_FRAGMENTS; i++)
                    gemm_mma<T::IS_BF16>(sum[i][j0 + j], w[i][2 * part + k], v[j] + 2 * k);
        }
        before = stage;
        stage = next;
    }

    int row = row0 + warp_row + (lane >> 2) * 2, token = token0 + warp_token + (lane & 3) * 2;
    float bias[W_FRAGMENTS][2];
    gemm_output out = gemm_matrix_of(a, tile.matrix).out; /* not in registers all the time */
    int rows = gemm_matrix_of(a, tile.matrix).rows;
    if (GROUPS && out.bias) out.bias += (int64_t)group.expert * rows;
    if (DECODED && out.factor) {
        if (GROUPS) out.factor += (int64_t)group.expert * rows;
        GPU_UNROLL for (int i = 0; i < W_FRAGMENTS; i++) GPU_UNROLL for (int r = 0; r < 2; r++) {
            float factor = row + 16 * i + r < rows ? out.factor[row + 16 * i + r] : 0.0f;
            GPU_UNROLL for (int j = 0; j < X_FRAGMENTS; j++) sum[i][j][2 * r] *= factor, sum[i][j][2 * r + 1] *= factor;
        }
    }
    GPU_UNROLL for (int i = 0; i < W_FRAGMENTS; i++) gemm_load_bias<2>(bias[i], out, row + 16 * i, rows);
    GPU_UNROLL for (int j = 0; j < 2 * X_FRAGMENTS; j++) {
        int t = token + j / 2 * 8 + j % 2;
        if (GROUPS ? t - token0 >= n_tokens : t >= a.n) continue;
        float d = a.d ? a.d[GROUPS ? gemm_group_row(a.groups.from, t) : t] : 1.0f;
        if (GROUPS) t = gemm_group_row(a.groups.to, t);
        GPU_UNROLL for (int i = 0; i < W_FRAGMENTS; i++) {
            const float y[2] = { d * sum[i][j / 2][j % 2] + bias[i][0], d * sum[i][j / 2][j % 2 + 2] + bias[i][1] };
            gemm_store<2>(out, t, row + 16 * i, rows, y);
        }
    }
}

#endif
