/* Products of several tokens with weights of 4 bits on tensor cores: 16 rows by 8 tokens in one instruction, the tokens
 * that are not there being copies of the last.  8 warps share the rows, each takes every eighth tile of 64 bytes.    */
#ifndef LR_GEMV_TILE_CUH
#define LR_GEMV_TILE_CUH

#include "kernels/cuda/gemv.cuh"

enum { TILE_ROWS = 16, TILE_TOKENS = 8, TILE_WARPS = 8, TILE_SUMS = TILE_ROWS * TILE_TOKENS };

/* Blocks on a multiprocessor that registers are to suffice for: fewer beside tables.                                 */
template <class Dot> constexpr int tile_blocks() { return 3 - (sizeof(typename Dot::fixed) >= 32); }

/* Adds the products of a tile of rows l / 4 and l / 4 + 8 to the sums, which are as mma leaves them: tokens 2 (l % 4)
 * and the next of the first row, then of the second.                                                                 */
template <class Dot>
GPU_FN void tile_add(float sums[4], typename Dot::tile &r, typename Dot::tile &r8, const gemv_input &x, unsigned unit,
                     unsigned units, const typename Dot::fixed &fixed) {
    int lane = threadIdx.x % 32;
    dot_input mine = gemv_token(x, lane / 4), left = gemv_token(x, lane % 4 * 2),
              right = gemv_token(x, lane % 4 * 2 + 1);
    constexpr int BLOCKS = Dot::TILE_BLOCKS, ALIGNED = Dot::TILE_ALIGNED;
    unsigned first = unit / 4 * BLOCKS, last = units * Dot::VALUES / 32 - 1; /* blocks beyond have scales of 0 */
    float d[2][BLOCKS], s[2][BLOCKS];
    load_of_blocks<BLOCKS, ALIGNED>(d[0], left.d + left.d_at, first, last);
    load_of_blocks<BLOCKS, ALIGNED>(d[1], right.d + right.d_at, first, last);
    if (Dot::TILE_HAS_MIN) {
        load_of_blocks<BLOCKS, ALIGNED>(s[0], left.s + left.d_at, first, last);
        load_of_blocks<BLOCKS, ALIGNED>(s[1], right.s + right.d_at, first, last);
    }
    Dot::spread(r, unit);
    Dot::spread(r8, unit);
    GPU_UNROLL for (int b = 0; b < BLOCKS; b++) {
        float products[4];
        Dot::multiply(products, r, r8, fixed, b, Dot::tile_input(mine, min(first + (unsigned)b, last)));
        tile_scales w = Dot::scales(r, b), w8 = Dot::scales(r8, b);
        GPU_UNROLL for (int t = 0; t < 2; t++) {
            sums[t] += w.d * d[t][b] * products[t];
            sums[2 + t] += w8.d * d[t][b] * products[2 + t];
            if (Dot::TILE_HAS_MIN) sums[t] -= w.min * s[t][b];
            if (Dot::TILE_HAS_MIN) sums[2 + t] -= w8.min * s[t][b];
        }
    }
}

/* parts[warp][r * TILE_TOKENS + t]: the warp's part of row row0 + r by token t.  The next tile is under way while a
 * warp works on one.                                                                                                 */
template <class Dot>
GPU_FN void tile_product(float parts[TILE_WARPS][TILE_SUMS], const uint8_t *quants, const uint8_t *scales,
                         size_t quants_stride, size_t scales_stride, int row0, int rows, const gemv_input &x,
                         unsigned units) {
    int warp = __shfl_sync(GPU_FULL_WARP, (int)threadIdx.x / 32, 0), lane = threadIdx.x % 32; /* known to be uniform */
    size_t i = (size_t)min(row0 + lane / 4, rows - 1), i8 = (size_t)min(row0 + lane / 4 + 8, rows - 1);
    const dot_row row = { quants + i * quants_stride, scales + i * scales_stride };
    const dot_row row8 = { quants + i8 * quants_stride, scales + i8 * scales_stride };
    unsigned tiles = (units + 3) / 4, quarter = (unsigned)lane % 4;
    const typename Dot::fixed fixed = Dot::fixed::of(quarter, (unsigned)x.n >> (16 + lane % 8));
    float sums[4] = {};
    typename Dot::tile next, next8;
    auto load = [&](unsigned tile) {
        next = Dot::load_tile(row, 4 * tile + quarter, units);
        next8 = Dot::load_tile(row8, 4 * tile + quarter, units);
    };
    if ((unsigned)warp < tiles) load((unsigned)warp);
    for (unsigned tile = (unsigned)warp; tile < tiles; tile += TILE_WARPS) {
        typename Dot::tile now = next, now8 = next8;
        if (tile + TILE_WARPS < tiles) load(tile + TILE_WARPS);
        tile_add<Dot>(sums, now, now8, x, 4 * tile + quarter, units, fixed);
    }
    float *mine = parts[warp] + lane / 4 * TILE_TOKENS + lane % 4 * 2;
    mine[0] = sums[0];
    mine[1] = sums[1];
    mine[8 * TILE_TOKENS] = sums[2];
    mine[8 * TILE_TOKENS + 1] = sums[3];
}

GPU_FN float tile_sum(const float parts[TILE_WARPS][TILE_SUMS], int r, int t) {
    float sum = 0;
    GPU_UNROLL for (int w = 0; w < TILE_WARPS; w++) sum += parts[w][r * TILE_TOKENS + t];
    return sum;
}

/* The kernel that serves n tokens: by_lanes(std::integral_constant<int, N>()) or, on tensor cores, by_tiles(Dot()).  */
template <class Dot, int N = 1, class Lanes, class Tiles>
static cudaError_t gemv_by_tokens(int64_t n, Lanes by_lanes, Tiles by_tiles) {
    if constexpr (N >= Dot::TILE_FROM) {
        return by_tiles(Dot());
    } else {
        if constexpr (N < LR_GPU_FEW)
            if (n > N) return gemv_by_tokens<Dot, 2 * N>(n, by_lanes, by_tiles);
        return by_lanes(std::integral_constant<int, N>());
    }
}

#endif
