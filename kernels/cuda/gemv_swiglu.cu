/* Gate and up projections of a few tokens, silu(gate) * up, and the result packed, in one launch.  A block makes 32
 * outputs, which are one block of int8 activations: lane o of warp t ends up with output o of token t.  See gemv.cuh. */
#include "kernels/cuda/gemv.cuh"
#include "kernels/cuda/swiglu.cuh"

enum { OUTPUTS = 32, WARPS = 8, PAIR = GEMV_ROWS / 2 }; /* a warp makes a pair of outputs at a time */

struct projection {
    const uint8_t *quants, *scales;
    size_t quants_stride, scales_stride;
    const float *bias;
};

template <class Dot, int N>
__global__ void __launch_bounds__(WARPS * 32, N <= 2 ? 3 : 2)
    k_gemv_swiglu(projection gate, projection up, gemv_input x, int units, int rows, lr_act out) {
    GPU_SHARED(float, parts, [OUTPUTS / PAIR][GEMV_ROWS * N]);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, output0 = blockIdx.x * OUTPUTS;

    for (int pair = warp; pair < OUTPUTS / PAIR; pair += WARPS) {
        dot_row row[GEMV_ROWS]; /* of gate, then of up */
        GPU_UNROLL for (int r = 0; r < PAIR; r++) {
            size_t i = (size_t)min(output0 + pair * PAIR + r, rows - 1);
            row[r] = { gate.quants + i * gate.quants_stride, gate.scales + i * gate.scales_stride };
            row[PAIR + r] = { up.quants + i * up.quants_stride, up.scales + i * up.scales_stride };
        }
        float sums[GEMV_ROWS * N] = {};
        gemv_dot<Dot, N>(sums, row, x, lane, units, 32);
        warp_sums_to<GEMV_ROWS * N>(parts[pair], sums);
    }
    __syncthreads();

    if (warp >= x.n) return;
    int t = warp, i = output0 + lane, r = lane % PAIR;
    bool inside = i < rows;
    float g = parts[lane / PAIR][r * N + t], u = parts[lane / PAIR][(PAIR + r) * N + t];
    if (inside && gate.bias) g += gate.bias[i];
    if (inside && up.bias) u += up.bias[i];
    if (out.format == LR_ACT_Q8)
        put<LR_ACT_Q8>(out, t, i, swiglu(g, u), inside, 1.0f);
    else
        put<LR_ACT_F32>(out, t, i, swiglu(g, u), inside, 1.0f);
}

static projection projection_of(const lr_matmul_args *m) {
    const lr_matrix *w = &m->w;
    return { (const uint8_t *)w->quants, (const uint8_t *)w->scales, w->quants_stride, w->scales_stride, m->bias };
}

template <class Dot> static cudaError_t launch(lr_device *d, const lr_matmul_args m[2], const lr_act *out) {
    const lr_act *x = &m[0].x;
    int rows = (int)m[0].w.rows, n = (int)x->n;
    double bytes = gemv_weight_bytes(&m[0].w) + gemv_weight_bytes(&m[1].w) +
                   (double)n * (act_row_bytes(x->format, x->cols) + act_row_bytes(out->format, out->cols)) +
                   4.0 * (double)rows * ((m[0].bias != nullptr) + (m[1].bias != nullptr));
    return GPU_LAUNCH_COST(bytes, 4.0 * n * (double)rows * (double)x->cols, GEMV_OF_TOKENS(k_gemv_swiglu, Dot, n),
                           dim3((unsigned)((rows + OUTPUTS - 1) / OUTPUTS)), dim3(WARPS * 32), 0,
                           d->queue[LR_QUEUE_COMPUTE], projection_of(&m[0]), projection_of(&m[1]), gemv_input_of(x),
                           (int)(x->cols / Dot::VALUES), rows, *out);
}

/* In one launch where the formats allow it: f16 has a scale that depends on the whole row.                            */
cudaError_t gpu_gemv_swiglu(lr_device *d, const lr_matmul_args m[2], const lr_act *out) {
    if (!gemv_takes(&m[0]) || !gemv_takes(&m[1])) return cudaErrorInvalidValue;
    if (gemv_is_alike(&m[0], &m[1]) && (out->format == LR_ACT_Q8 || out->format == LR_ACT_F32))
        return gemv_by_format(&m[0], [&](auto dot) { return launch<decltype(dot)>(d, m, out); });
    cudaError_t error = gpu_gemv(d, m, 2);
    if (error) return error;
    lr_swiglu_args joined = { nullptr, m[0].y, m[1].y, m[0].w.rows, 0, m[0].y_stride };
    return gpu_swiglu(d, &joined, m[0].x.n, out);
}
