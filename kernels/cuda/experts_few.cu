/* The routed experts of a few tokens.  A matrix is found through `chosen`, in rows e * rows .. of its tensor; the rest is
 * what a dense feed-forward of one token does (gemv.cuh, gemv_glu.cuh).                                              */
#include "kernels/cuda/experts.h"
#include "kernels/cuda/gemv_glu.cuh"

enum { WARPS = 8, LOG_WARPS = 3 };

GPU_FN projection expert_of(const projection &all, int expert, int rows) {
    size_t row = (size_t)expert * (size_t)rows;
    return { all.quants + row * all.quants_stride, all.scales + row * all.scales_stride, all.quants_stride,
             all.scales_stride, all.bias ? all.bias + row : nullptr };
}

/* Row t as its first one.                                                                                            */
GPU_FN gemv_input from_row(const gemv_input &x, int t) {
    int d = t * x.d_stride;
    return { x.values + t * x.values_stride, x.d + d, x.s + d, x.values_stride, x.d_stride, x.n, false };
}

/* blockIdx.y: pair (token, rank); the hidden values go to the row of that number.  of: so many pairs read a row of x.  */
template <class Dot>
__global__ void __launch_bounds__(GLU_WARPS * 32, gemv_blocks<Dot, 1>())
    k_experts_glu(projection gate, projection up, const int32_t *chosen, int of, lr_glu_act act, gemv_input x, int units,
                  int rows, lr_act hidden) {
    int pair = (int)blockIdx.y, expert = chosen[pair];
    glu_outputs<Dot, 1>(expert_of(gate, expert, rows), expert_of(up, expert, rows), act, from_row(x, pair / of), units,
                        rows, (int)blockIdx.x * GLU_OUTPUTS, hidden, pair);
}

/* blockIdx.y: token.  1 << log_split warps of the block share rows: each has every so many-th of the token's experts,
 * and sums are added in an order that follows from the shape alone.                                                  */
template <class Dot>
__global__ void __launch_bounds__(WARPS * 32, gemv_blocks<Dot, 1>())
    k_experts_down(projection down, const int32_t *chosen, const float *weights, int k, gemv_input hidden, int units,
                   int rows, int log_split, float *x) {
    GPU_SHARED(float, parts, [WARPS][GEMV_ROWS]);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, split = 1 << log_split, t = (int)blockIdx.y;
    int rows_of_block = WARPS * GEMV_ROWS >> log_split, row0 = (int)blockIdx.x * rows_of_block;
    chosen += t * k;
    weights += t * k;

    float totals[GEMV_ROWS] = {};
    for (int j = warp & (split - 1); j < k; j += split) {
        const projection m = expert_of(down, chosen[j], rows);
        dot_row row[GEMV_ROWS];
        GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
            size_t i = (size_t)min(row0 + (warp >> log_split) * GEMV_ROWS + r, rows - 1);
            row[r] = { m.quants + i * m.quants_stride, m.scales + i * m.scales_stride };
        }
        float sums[GEMV_ROWS] = {}, weight = weights[j];
        gemv_dot<Dot, 1>(sums, row, from_row(hidden, t * k + j), lane, units, 32);
        GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) totals[r] += weight * sums[r];
    }
    warp_sums_to<GEMV_ROWS>(parts[warp], totals);
    __syncthreads();

    int r = threadIdx.x, row = row0 + r;
    if (r >= rows_of_block || row >= rows) return;
    float sum = 0;
    for (int i = 0; i < split; i++) sum += parts[(r / GEMV_ROWS << log_split) + i][r % GEMV_ROWS];
    for (int j = 0; j < k && down.bias; j++) sum += weights[j] * down.bias[(int64_t)chosen[j] * rows + row];
    x[(int64_t)t * rows + row] += sum;
}

static int log_split_of(int k) {
    int log = 0;
    while (log < LOG_WARPS && 1 << log < k) log++;
    return log;
}

static double act_bytes(const lr_act *a) { return (double)a->n * act_row_bytes(a->format, a->cols); }

template <class Dot>
static cudaError_t launch_glu(lr_device *d, const lr_experts_args *a, const lr_act *h, const lr_act *hidden) {
    const lr_matrix *w = a->gate;
    double bytes = 2 * experts_read(a) * gemv_weight_bytes(w) + act_bytes(h) + act_bytes(hidden);
    dim3 grid((unsigned)((w->rows + GLU_OUTPUTS - 1) / GLU_OUTPUTS), (unsigned)hidden->n);
    return GPU_LAUNCH_COST(bytes, 4.0 * (double)hidden->n * (double)w->rows * (double)w->cols, k_experts_glu<Dot>, grid,
                           dim3(GLU_WARPS * 32), 0, d->queue[LR_QUEUE_COMPUTE], projection_of(w, a->b_gate),
                           projection_of(a->up, a->b_up), a->chosen, w->perm ? 1 : a->k, a->act, gemv_input_of(h),
                           (int)(w->cols / Dot::VALUES), (int)w->rows, *hidden);
}

template <class Dot> static cudaError_t launch_down(lr_device *d, const lr_experts_args *a, const lr_act *hidden) {
    const lr_matrix *w = a->down;
    double bytes = experts_read(a) * gemv_weight_bytes(w) + act_bytes(hidden);
    int log_split = log_split_of(a->k), rows_of_block = WARPS * GEMV_ROWS >> log_split;
    dim3 grid((unsigned)((w->rows + rows_of_block - 1) / rows_of_block), (unsigned)a->n);
    return GPU_LAUNCH_COST(bytes + 8.0 * (double)a->n * (double)w->rows,
                           2.0 * (double)hidden->n * (double)w->rows * (double)w->cols, k_experts_down<Dot>, grid,
                           dim3(WARPS * 32), 0, d->queue[LR_QUEUE_COMPUTE], projection_of(w, a->b_down), a->chosen,
                           a->weights, a->k, gemv_input_of(hidden), (int)(w->cols / Dot::VALUES), (int)w->rows,
                           log_split, a->x);
}

cudaError_t gpu_experts_few(lr_device *d, const lr_experts_args *a, const lr_act *h, const lr_act *hidden, float *rows) {
    const lr_act floats = lr_act_at(LR_ACT_F32, hidden->n, hidden->cols, rows), *out = a->down->perm ? &floats : hidden;
    lr_matmul_args gate = {}, up = {}, down = {};
    gate.w = *a->gate;
    up.w = *a->up;
    gate.x = up.x = *h;
    down.w = *a->down;
    down.x = *hidden;
    if (!gemv_is_alike(&gate, &up)) return cudaErrorInvalidValue;
    cudaError_t e = gemv_by_format(&gate, [&](auto dot) { return launch_glu<decltype(dot)>(d, a, h, out); });
    if (e == cudaSuccess && out != hidden) e = gpu_experts_reorder(d, a, a->down->perm, rows, 1, hidden);
    if (e != cudaSuccess) return e;
    return gemv_by_format(&down, [&](auto dot) { return launch_down<decltype(dot)>(d, a, hidden); });
}
