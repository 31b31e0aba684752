/* What latent attention needs beside attention itself: new rows of the cache, the rotated values of queries, and the
 * products that each head has with rows of its own.
 * Source: DeepSeek-V2, arXiv:2405.04434, section 2.1.                                                                */
#include "kernels/cuda/gemv_tile.cuh"
#include "kernels/cuda/kv_store.cuh"

/* ---- rows: a warp takes the row of the cache, or one head of the queries ---- */

enum { ROW_WARPS = 4, DIM_MOST = 576 };

__global__ void __launch_bounds__(ROW_WARPS *LANES) k_latent(lr_latent_args a, int n_seqs) {
    GPU_SHARED(float, rows, [ROW_WARPS][DIM_MOST]);
    int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, item = (int)blockIdx.y * ROW_WARPS + warp;
    int64_t row = blockIdx.x;
    if (item > a.n_heads) return; /* whole warps; there are no barriers of the block */

    bool is_k = item == 0;
    int dim = is_k ? a.kv_rank + a.n_rot : a.n_rot, head_dim = a.n_nope + a.n_rot;
    const float *from = is_k ? a.k + row * dim : a.x + (row * a.n_heads + item - 1) * head_dim + a.n_nope;
    float *x = rows[warp];
    for (int i = lane; i < dim; i += LANES) x[i] = from[i];
    __syncwarp();
    if (is_k) norm(x, a.k_norm, a.kv_rank, a.norm_eps, false, lane);
    rotate(is_k ? x + a.kv_rank : x, a.cos_sin + row * a.n_rot, a.n_rot, true, lane);
    if (!is_k) {
        float *to = a.q + (row * a.n_heads + item - 1) * (a.kv_rank + a.n_rot) + a.kv_rank;
        for (int i = lane; i < dim; i += LANES) to[i] = x[i];
        return;
    }
    const lr_seq *seq = sequence_of(a.seqs, n_seqs, row);
    if (seq) kv_store(seq->kv, 0, seq->position + (int)(row - seq->row), false, x, lane);
}

cudaError_t gpu_latent(lr_device *d, const lr_latent_args *a, const lr_pass_shape *s) {
    if (a->kv_rank + a->n_rot > DIM_MOST) return cudaErrorInvalidValue;
    if (s->n <= 0) return cudaSuccess;
    dim3 grid((unsigned)s->n, (unsigned)(a->n_heads + ROW_WARPS) / ROW_WARPS);
    double values = (double)s->n * (a->kv_rank + (a->n_heads + 1.0) * a->n_rot);
    return GPU_LAUNCH_COST(8 * values, 6 * values, k_latent, grid, dim3(ROW_WARPS * LANES), 0,
                           d->queue[LR_QUEUE_COMPUTE], *a, s->n_seqs);
}

/* ---- products of heads: as in gemv.cu, with a head and a few tokens a block ---- */

enum { WARPS = 8, BLOCK_ROWS = WARPS * GEMV_ROWS };
static_assert(BLOCK_ROWS * LR_GPU_FEW <= WARPS * LANES, "a thread for each output");

struct head_products {
    const uint8_t *quants, *scales;
    size_t quants_stride, scales_stride;
    float *y;
    int64_t y_stride, y_head;
    int rows, x_head; /* of a head; bytes of activations from head to head */
    int d_head;       /* scales of activations from head to head */
    int tokens;       /* of a block, at most LR_GPU_FEW */
};

/* The head's and the tokens' own.                                                                                    */
GPU_FN gemv_input input_of_block(const gemv_input &x, const head_products &p) {
    int head = (int)blockIdx.y, token = (int)blockIdx.z * p.tokens, at = head * p.d_head + token * x.d_stride;
    return { x.values + (size_t)token * x.values_stride + (size_t)head * p.x_head, x.d + at, x.s + at, x.values_stride,
             x.d_stride, min(x.n - token, p.tokens), false };
}

GPU_FN void store(const head_products &p, int row, int t, float sum) {
    p.y[(blockIdx.z * p.tokens + t) * p.y_stride + blockIdx.y * p.y_head + row] = sum;
}

template <class Dot, int N>
__global__ void __launch_bounds__(WARPS *LANES, gemv_blocks<Dot, N>())
    k_heads(head_products p, gemv_input all, int units) {
    GPU_SHARED(float, parts, [WARPS][GEMV_ROWS * N]);
    gemv_input x = input_of_block(all, p);
    int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES, row0 = (int)blockIdx.x * BLOCK_ROWS;
    dot_row row[GEMV_ROWS];
    GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
        size_t i = (size_t)blockIdx.y * p.rows + min(row0 + warp * GEMV_ROWS + r, p.rows - 1);
        row[r] = { p.quants + i * p.quants_stride, p.scales + i * p.scales_stride };
    }
    float sums[GEMV_ROWS * N] = {};
    gemv_dot<Dot, N>(sums, row, x, lane, units, LANES);
    warp_sums_to<GEMV_ROWS * N>(parts[warp], sums);
    __syncthreads();
    int r = threadIdx.x % BLOCK_ROWS, t = threadIdx.x / BLOCK_ROWS;
    if (t < x.n && row0 + r < p.rows) store(p, row0 + r, t, parts[r / GEMV_ROWS][r % GEMV_ROWS * N + t]);
}

template <class Dot>
__global__ void __launch_bounds__(TILE_WARPS *LANES, 3) k_heads_tile(head_products p, gemv_input all, int units) {
    GPU_SHARED(float, parts, [TILE_WARPS][TILE_SUMS]);
    gemv_input x = input_of_block(all, p);
    size_t first = (size_t)blockIdx.y * p.rows;
    int row0 = (int)blockIdx.x * TILE_ROWS;
    tile_product<Dot>(parts, p.quants + first * p.quants_stride, p.scales + first * p.scales_stride, p.quants_stride,
                      p.scales_stride, row0, p.rows, x, units);
    __syncthreads();
    int r = threadIdx.x % TILE_ROWS, t = threadIdx.x / TILE_ROWS;
    if (t < x.n && row0 + r < p.rows) store(p, row0 + r, t, tile_sum(parts, r, t));
}

template <class Dot> static cudaError_t launch(lr_device *d, const lr_heads_args *a) {
    const lr_act *x = &a->x;
    bool q8 = x->format == LR_ACT_Q8;
    int rows = (int)(a->w.rows / a->n_heads), units = (int)(a->w.cols / Dot::VALUES);
    gemv_input input = gemv_input_of(x);
    head_products p = { (const uint8_t *)a->w.quants, (const uint8_t *)a->w.scales, a->w.quants_stride,
                        a->w.scales_stride, a->y, a->y_stride, a->y_head, rows, (int)a->x_head * (q8 ? 1 : 4),
                        q8 ? (int)a->x_head / 32 : 0, LR_GPU_FEW };
    if (x->n == 1 || p.d_head % 4) p.tokens = 1; /* tensor cores want scales of four blocks aligned */
    double products = (double)x->n * (double)a->w.rows, groups = (double)((x->n + p.tokens - 1) / p.tokens);
    double bytes = gemv_weight_bytes(&a->w) * groups + 4 * products;
    bytes += (double)x->n * a->n_heads * act_row_bytes(x->format, a->w.cols);
    double flops = 2 * products * (double)a->w.cols;
    cudaStream_t queue = d->queue[LR_QUEUE_COMPUTE];
    auto grid = [&](int block_rows) {
        return dim3((unsigned)((rows + block_rows - 1) / block_rows), (unsigned)a->n_heads, (unsigned)groups);
    };
    auto by_lanes = [&](auto n) {
        return GPU_LAUNCH_COST(bytes, flops, k_heads<Dot, decltype(n)::value>, grid(BLOCK_ROWS), dim3(WARPS * LANES),
                               0, queue, p, input, units);
    };
    auto by_tiles = [&](auto dot) {
        return GPU_LAUNCH_COST(bytes, flops, k_heads_tile<decltype(dot)>, grid(TILE_ROWS), dim3(TILE_WARPS * LANES), 0,
                               queue, p, input, units);
    };
    if (p.tokens == 1) return by_lanes(std::integral_constant<int, 1>());
    if constexpr ((int)LR_GPU_FEW >= (int)Dot::TILE_FROM) return by_tiles(Dot());
    else return by_lanes(std::integral_constant<int, LR_GPU_FEW>());
}

cudaError_t gpu_heads(lr_device *d, const lr_heads_args *a) {
    lr_matmul_args head = {}; /* whose alignment is that of all */
    head.w = a->w;
    head.x = a->x;
    head.x.cols = a->x_head;
    bool whole = a->x.format != LR_ACT_Q8 || a->x_head % 32 == 0;
    if (a->x.n < 1 || !whole || a->x.format != lr_gpu_act(a->w.format, 1)) return cudaErrorInvalidValue;
    return gemv_by_format(&head, [&](auto dot) { return launch<decltype(dot)>(d, a); });
}
