/* Inside of the matrix product of long passes: what gemm.cu, gemm_fma.cu and cublas.cu share. */
#ifndef LR_CUDA_GEMM_H
#define LR_CUDA_GEMM_H

#include "kernels/cuda/device.h"

/* One product on plain FMAs: f32 weights; f16 and bf16 where tensor cores cannot take them.                          */
cudaError_t gpu_gemm_fma(lr_device *d, const lr_matmul_args *m);

/* Products of the experts: each is one of equal matrices that lie one below the other, times rows of its own.  Tiles of
 * tokens are made by gpu_experts, a list on the device.                                                              */
struct gemm_group_tile {
    int32_t expert, first, n, unused; /* sorted pairs [first, first + n) are of that expert; -1: no more tiles */
};
struct gemm_groups {
    const gemm_group_tile *tiles; /* (n_tiles) */
    const int32_t *from, *to;     /* by sorted pair: row of x, row of y; NULL: its own number */
    int n_tiles;
    double n_pairs, n_read;       /* for the virtual clock: rows of y, experts whose weights are read */
};
static_assert(sizeof(gemm_group_tile) == 4 * sizeof(int32_t), "as lr_gpu_experts_room has it");

/* Tokens of a tile that gpu_gemm_groups takes, with about so many rows an expert.  m: w of the first expert, bias of all. */
int gpu_gemm_group_tokens(const lr_device *d, const lr_matmul_args *m, double rows_of_expert);
/* 1 to 3 products of the same activations and in the same format, with such tiles.                                   */
cudaError_t gpu_gemm_groups(lr_device *d, const lr_matmul_args *m, int count, const gemm_groups *groups,
                            double rows_of_expert);
cudaError_t gpu_gemm_fma_groups(lr_device *d, const lr_matmul_args *m, const gemm_groups *groups);
enum { GEMM_FMA_TOKENS = 64 };

GPU_FN int gemm_group_row(const int32_t *list, int pair) { return list ? list[pair] : pair; }

/* Where a product goes: y[token][row] = (accumulate ? y : 0) + product * factor[row] + bias[row].                    */
struct gemm_output {
    float *y;
    const float *bias;   /* or NULL */
    const float *factor; /* of formats that have one for each row, or NULL */
    int64_t stride;
    bool accumulate, pairs; /* pairs: two values at an even row are aligned */
};
static inline gemm_output gemm_output_of(const lr_matmul_args *m) {
    const float *factor = lr_formats[m->w.format].row_bytes ? (const float *)m->w.scales : NULL;
    return { m->y, m->bias, factor, m->y_stride, m->accumulate, ((uintptr_t)m->y & 7) == 0 && m->y_stride % 2 == 0 };
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
/* The same of the experts.                                                                                           */
static inline double gemm_group_bytes(const lr_matmul_args *m, const gemm_groups *g) {
    double x_bytes = m->x.format == LR_ACT_F32 ? 4 : 2, w_bytes = (double)(m->w.quants_stride + m->w.scales_stride);
    double rows = (double)m->w.rows;
    return g->n_read * rows * w_bytes + g->n_pairs * ((double)m->x.cols * x_bytes + 4 * rows);
}
static inline double gemm_group_flops(const lr_matmul_args *m, const gemm_groups *g) {
    return 2.0 * g->n_pairs * (double)m->w.rows * (double)m->w.cols;
}

#endif
