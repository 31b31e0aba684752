/* Inside of the matrix product of long passes: what gemm.cu, gemm_fma.cu and cublas.cu share. */
#ifndef LR_CUDA_GEMM_H
#define LR_CUDA_GEMM_H

#include "kernels/cuda/device.h"

/* One product on plain FMAs: f32 weights; f16 and bf16 where tensor cores cannot take them.                          */
cudaError_t gpu_gemm_fma(lr_device *d, const lr_matmul_args *m);

/* Where a product goes: y[token][row] = (accumulate ? y : 0) + product + bias[row].                                  */
struct gemm_output {
    float *y;
    const float *bias; /* or NULL */
    int64_t stride;
    bool accumulate, pairs; /* pairs: two values at an even row are aligned */
};
static inline gemm_output gemm_output_of(const lr_matmul_args *m) {
    return { m->y, m->bias, m->y_stride, m->accumulate, ((uintptr_t)m->y & 7) == 0 && m->y_stride % 2 == 0 };
}

/* Of N rows; zero where there is none.                                                                               */
template <int N> GPU_FN void gemm_load_bias(float bias[N], const gemm_output &o, int row, int rows) {
    GPU_UNROLL for (int i = 0; i < N; i++) bias[i] = o.bias && row + i < rows ? o.bias[row + i] : 0.0f;
}

/* Stores N values of a token, N even, from an even row on; rows ends them.                                           */
template <int N> GPU_FN void gemm_store(const gemm_output &o, int token, int row, int rows, const float v[N]) {
    float *y = o.y + token * o.stride + row;
    GPU_UNROLL for (int i = 0; i < N; i += 2) {
        if (o.pairs && row + i + 1 < rows) {
            float2 before = o.accumulate ? *(const float2 *)(y + i) : make_float2(0, 0);
            *(float2 *)(y + i) = make_float2(before.x + v[i], before.y + v[i + 1]);
        } else {
            if (row + i < rows) y[i] = (o.accumulate ? y[i] : 0.0f) + v[i];
            if (row + i + 1 < rows) y[i + 1] = (o.accumulate ? y[i + 1] : 0.0f) + v[i + 1];
        }
    }
}

/* What a product moves and computes, for the virtual clock.                                                          */
static inline double gemm_bytes(const lr_matmul_args *m) {
    double x_bytes = m->x.format == LR_ACT_F32 ? 4 : 2, y_bytes = m->accumulate ? 8 : 4, n = (double)m->x.n;
    return (double)m->w.rows * (double)(m->w.quants_stride + m->w.scales_stride) + n * (double)m->x.cols * x_bytes +
           n * (double)m->w.rows * y_bytes;
}
static inline double gemm_flops(const lr_matmul_args *m) {
    return 2.0 * (double)m->x.n * (double)m->w.rows * (double)m->w.cols;
}

#endif
