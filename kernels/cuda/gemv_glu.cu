/* Gate and up projections of a few tokens, act(gate) * up, and the result packed, in one launch.  See gemv_glu.cuh.    */
#include "kernels/cuda/gemv_glu.cuh"

template <class Dot, int N>
__global__ void __launch_bounds__(GLU_WARPS * 32, gemv_blocks<Dot, N>())
    k_gemv_glu(projection gate, projection up, lr_glu_act act, gemv_input x, int units, int rows, lr_act out) {
    int output0 = (int)blockIdx.x * GLU_OUTPUTS;
    dot_row row[GEMV_ROWS];
    glu_rows(row, gate, up, output0 + (int)threadIdx.x / 32 * GLU_PAIR, rows);
    gemv_wait(x, row, gate.quants_stride, threadIdx.x % 32);
    glu_outputs<Dot, N>(gate, up, act, x, units, rows, output0, out, 0);
}

/* On tensor cores: two tiles of gate, two of up.                                                                     */
template <class Dot>
__global__ void __launch_bounds__(TILE_WARPS * 32, tile_blocks<Dot>())
    k_gemv_glu_tile(projection gate, projection up, lr_glu_act act, gemv_input x, int units, int rows, lr_act out) {
    GPU_SHARED(float, parts, [2 * GLU_OUTPUTS / TILE_ROWS][TILE_WARPS][TILE_SUMS]);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, output0 = blockIdx.x * GLU_OUTPUTS;
    gpu_wait_for_queue();
    for (int i = 0; i < 2 * GLU_OUTPUTS / TILE_ROWS; i++) {
        const projection &p = i % 2 ? up : gate;
        tile_product<Dot>(parts[i], p.quants, p.scales, p.quants_stride, p.scales_stride, output0 + i / 2 * TILE_ROWS,
                          rows, x, units);
    }
    __syncthreads();
    int t = warp, i = lane / TILE_ROWS * 2, r = lane % TILE_ROWS;
    if (t >= x.n) return;
    glu_finish(gate, up, act, out, rows, output0, t, tile_sum(parts[i], r, t), tile_sum(parts[i + 1], r, t));
}

template <class Dot>
static cudaError_t launch(lr_device *d, const lr_matmul_args m[2], lr_glu_act act, const lr_act *out) {
    const lr_act *x = &m[0].x;
    const gemv_input input = gemv_input_of(x, d->early);
    const projection gate = projection_of(&m[0].w, m[0].bias), up = projection_of(&m[1].w, m[1].bias);
    int rows = (int)m[0].w.rows, units = (int)(x->cols / Dot::VALUES);
    double bytes = gemv_weight_bytes(&m[0].w) + gemv_weight_bytes(&m[1].w);
    bytes += (double)x->n * (act_row_bytes(x->format, x->cols) + act_row_bytes(out->format, out->cols));
    bytes += 4.0 * (double)rows * ((m[0].bias != nullptr) + (m[1].bias != nullptr));
    double flops = 4.0 * (double)x->n * (double)rows * (double)x->cols;
    gpu_queue queue = gpu_early_queue(d);
    dim3 grid((unsigned)((rows + GLU_OUTPUTS - 1) / GLU_OUTPUTS));
    auto by_lanes = [&](auto n) {
        return GPU_LAUNCH_COST(bytes, flops, k_gemv_glu<Dot, decltype(n)::value>, grid, dim3(GLU_WARPS * 32), 0, queue,
                               gate, up, act, input, units, rows, *out);
    };
    auto by_tiles = [&](auto dot) {
        return GPU_LAUNCH_COST(bytes, flops, k_gemv_glu_tile<decltype(dot)>, grid, dim3(TILE_WARPS * 32), 0, queue,
                               gate, up, act, input, units, rows, *out);
    };
    return gemv_by_tokens<Dot>(x->n, by_lanes, by_tiles);
}

/* In one launch where the formats allow it: f16 has a scale that depends on the whole row.                           */
cudaError_t gpu_gemv_glu(lr_device *d, const lr_matmul_args m[2], lr_glu_act act, const lr_act *out) {
    if (!gemv_takes(&m[0]) || !gemv_takes(&m[1])) return cudaErrorInvalidValue;
    if (gemv_is_alike(&m[0], &m[1]) && (out->format == LR_ACT_Q8 || out->format == LR_ACT_F32))
        return gemv_by_format(&m[0], [&](auto dot) { return launch<decltype(dot)>(d, m, act, out); });
    cudaError_t error = gpu_gemv(d, m, 2);
    if (error) return error;
    lr_glu_args joined = { nullptr, m[0].y, m[1].y, m[0].w.rows, 0, m[0].y_stride, act };
    return gpu_glu(d, &joined, m[0].x.n, out);
}
