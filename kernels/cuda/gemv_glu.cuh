/* Gate and up projections, act(gate) * up, and the result packed: what a block of the kernels for few tokens does, of a
 * feed-forward (gemv_glu.cu) and of an expert's (experts_few.cu).  A block makes 32 outputs, which are one block of int8
 * activations: lane o of warp t ends up with output o of token t.  See gemv.cuh.                                     */
#ifndef LR_GEMV_GLU_CUH
#define LR_GEMV_GLU_CUH

#include "kernels/cuda/gemv_tile.cuh"
#include "kernels/cuda/glu.cuh"

enum { GLU_OUTPUTS = 32, GLU_WARPS = 8, GLU_PAIR = GEMV_ROWS / 2 }; /* a warp makes a pair of outputs at a time */

struct projection {
    const uint8_t *quants, *scales;
    size_t quants_stride, scales_stride;
    const float *bias;
};

static inline projection projection_of(const lr_matrix *w, const float *bias) {
    return { (const uint8_t *)w->quants, (const uint8_t *)w->scales, w->quants_stride, w->scales_stride, bias };
}

/* Called by one warp: lane o has the sums of output output0 + o, for row t of out.                                   */
GPU_FN void glu_finish(const projection &gate, const projection &up, lr_glu_act act, const lr_act &out, int rows,
                       int output0, int t, float g, float u) {
    int i = output0 + (int)threadIdx.x % 32;
    bool inside = i < rows;
    if (inside && gate.bias) g += gate.bias[i];
    if (inside && up.bias) u += up.bias[i];
    if (out.format == LR_ACT_Q8)
        put<LR_ACT_Q8>(out, t, i, glu(act, g, u), inside, 1.0f);
    else
        put<LR_ACT_F32>(out, t, i, glu(act, g, u), inside, 1.0f);
}

/* The rows of a pair of outputs: of gate, then of up.                                                                */
GPU_FN void glu_rows(dot_row row[GEMV_ROWS], const projection &gate, const projection &up, int output, int rows) {
    GPU_UNROLL for (int r = 0; r < GLU_PAIR; r++) {
        size_t i = (size_t)min(output + r, rows - 1);
        row[r] = { gate.quants + i * gate.quants_stride, gate.scales + i * gate.scales_stride };
        row[GLU_PAIR + r] = { up.quants + i * up.quants_stride, up.scales + i * up.scales_stride };
    }
}

/* Outputs output0 .. of N tokens at most, into rows row0 .. of out.                                                  */
template <class Dot, int N>
GPU_FN void glu_outputs(const projection &gate, const projection &up, lr_glu_act act, const gemv_input &x, int units,
                        int rows, int output0, const lr_act &out, int row0) {
    GPU_SHARED(float, parts, [GLU_OUTPUTS / GLU_PAIR][GEMV_ROWS * N]);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

    for (int pair = warp; pair < GLU_OUTPUTS / GLU_PAIR; pair += GLU_WARPS) {
        dot_row row[GEMV_ROWS];
        glu_rows(row, gate, up, output0 + pair * GLU_PAIR, rows);
        float sums[GEMV_ROWS * N] = {};
        gemv_dot<Dot, N>(sums, row, x, lane, units, 32);
        warp_sums_to<GEMV_ROWS * N>(parts[pair], sums);
    }
    __syncthreads();

    const float *mine = parts[lane / GLU_PAIR];
    int t = warp, r = lane % GLU_PAIR;
    if (t < N && t < x.n)
        glu_finish(gate, up, act, out, rows, output0, row0 + t, mine[r * N + t], mine[(GLU_PAIR + r) * N + t]);
}

#endif
