/* Matrix products on plain FMAs: f32 weights, which keep their precision, and f16 and bf16 weights that tensor cores
 * cannot take: rows whose 16-byte pieces are not aligned, bf16 on sm_75.  Elements are loaded one by one, so that any
 * number of columns and any stride will do.                                                                          */
#include "kernels/cuda/gemm.h"

enum { FMA_TOKENS = GEMM_FMA_TOKENS, FMA_ROWS = 64, FMA_COLUMNS = 16, FMA_THREADS = 128, FMA_PITCH = 64 + 4 };

GPU_FN float to_float(float v) { return v; }
GPU_FN float to_float(__half v) { return __half2float(v); }
GPU_FN float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

/* A thread sums 8 tokens x 4 rows.  The next step's elements are on their way while this one is computed.            */
template <class E, bool GROUPS>
__global__ void __launch_bounds__(FMA_THREADS, 4)
    k_gemm_fma(const E *x, const float *d, const E *w, int64_t w_stride, gemm_output out, int n, int rows, int cols,
               gemm_groups groups) {
    constexpr int PIECES = 64 * FMA_COLUMNS / FMA_THREADS, ROWS_APART = FMA_THREADS / FMA_COLUMNS;
    GPU_SHARED(float, tile_x, [2][FMA_COLUMNS][FMA_PITCH]);
    GPU_SHARED(float, tile_w, [2][FMA_COLUMNS][FMA_PITCH]);
    int tid = (int)threadIdx.x, column = tid % FMA_COLUMNS, row = tid / FMA_COLUMNS;
    int token0 = (int)blockIdx.x * FMA_TOKENS, row0 = (int)blockIdx.y * FMA_ROWS;
    int my_token = tid / 16 * 8, my_row = tid % 16 * 4;
    float next_x[PIECES], next_w[PIECES], sum[8][4] = {};
    int x_from[GROUPS ? PIECES : 1]; /* rows of x */
    if constexpr (GROUPS) {
        const gemm_group_tile group = groups.tiles[blockIdx.x];
        if (group.expert < 0) return;
        token0 = group.first;
        n = token0 + group.n;
        w += (int64_t)group.expert * rows * w_stride;
        if (out.bias) out.bias += (int64_t)group.expert * rows;
        GPU_UNROLL for (int i = 0; i < PIECES; i++)
            x_from[i] = gemm_group_row(groups.from, min(token0 + row + i * ROWS_APART, n - 1));
    } else {
        x += (int64_t)token0 * cols;
    }
    w += row0 * w_stride;

    auto load = [&](int column0) {
        bool in_row = column0 + column < cols;
        GPU_UNROLL for (int i = 0; i < PIECES; i++) {
            int r = row + i * ROWS_APART;
            int64_t x_row = GROUPS ? x_from[GROUPS ? i : 0] : r;
            next_x[i] = in_row && token0 + r < n ? to_float(x[x_row * cols + column0 + column]) : 0.0f;
            next_w[i] = in_row && row0 + r < rows ? to_float(w[r * w_stride + column0 + column]) : 0.0f;
        }
    };
    load(0);
    for (int column0 = 0, stage = 0; column0 < cols; column0 += FMA_COLUMNS, stage ^= 1) {
        GPU_UNROLL for (int i = 0; i < PIECES; i++) {
            tile_x[stage][column][row + i * ROWS_APART] = next_x[i];
            tile_w[stage][column][row + i * ROWS_APART] = next_w[i];
        }
        __syncthreads(); /* the other stage is free again when all have come here */
        if (column0 + FMA_COLUMNS < cols) load(column0 + FMA_COLUMNS);
        GPU_UNROLL for (int c = 0; c < FMA_COLUMNS; c++) {
            float4 a = *(const float4 *)&tile_x[stage][c][my_token],
                   b = *(const float4 *)&tile_x[stage][c][my_token + 4];
            float4 v = *(const float4 *)&tile_w[stage][c][my_row];
            const float tokens[8] = { a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w };
            GPU_UNROLL for (int i = 0; i < 8; i++) {
                sum[i][0] = fmaf(tokens[i], v.x, sum[i][0]);
                sum[i][1] = fmaf(tokens[i], v.y, sum[i][1]);
                sum[i][2] = fmaf(tokens[i], v.z, sum[i][2]);
                sum[i][3] = fmaf(tokens[i], v.w, sum[i][3]);
            }
        }
    }
    float bias[4];
    gemm_load_bias<4>(bias, out, row0 + my_row, rows);
    GPU_UNROLL for (int i = 0; i < 8; i++) {
        int token = token0 + my_token + i;
        if (token >= n) continue;
        float scale = d ? d[GROUPS ? gemm_group_row(groups.from, token) : token] : 1.0f;
        if (GROUPS) token = gemm_group_row(groups.to, token);
        GPU_UNROLL for (int k = 0; k < 4; k++) sum[i][k] = sum[i][k] * scale + bias[k];
        gemm_store<4>(out, token, row0 + my_row, rows, sum[i]);
    }
}

template <class E, bool GROUPS>
static cudaError_t run(lr_device *d, const lr_matmul_args *m, const gemm_groups &groups, int tiles, double bytes,
                       double flops) {
    dim3 grid((unsigned)tiles, (unsigned)((m->w.rows + FMA_ROWS - 1) / FMA_ROWS));
    return GPU_LAUNCH_COST(bytes, flops, k_gemm_fma<E, GROUPS>, grid, dim3(FMA_THREADS), 0, d->queue[LR_QUEUE_COMPUTE],
                           (const E *)m->x.values, m->x.format == LR_ACT_F16 ? m->x.d : NULL, (const E *)m->w.quants,
                           (int64_t)(m->w.quants_stride / sizeof(E)), gemm_output_of(m), (int)m->x.n, (int)m->w.rows,
                           (int)m->w.cols, groups);
}

template <bool GROUPS>
static cudaError_t run_format(lr_device *d, const lr_matmul_args *m, const gemm_groups &groups, int tiles, double bytes,
                              double flops) {
    switch (m->w.format) {
        case LR_F32: return run<float, GROUPS>(d, m, groups, tiles, bytes, flops);
        case LR_F16: return run<__half, GROUPS>(d, m, groups, tiles, bytes, flops);
        case LR_BF16: return run<__nv_bfloat16, GROUPS>(d, m, groups, tiles, bytes, flops);
        default: return cudaErrorInvalidValue;
    }
}

cudaError_t gpu_gemm_fma(lr_device *d, const lr_matmul_args *m) {
    int tiles = (int)((m->x.n + FMA_TOKENS - 1) / FMA_TOKENS);
    return run_format<false>(d, m, {}, tiles, gemm_bytes(m), gemm_flops(m));
}

cudaError_t gpu_gemm_fma_groups(lr_device *d, const lr_matmul_args *m, const gemm_groups *groups) {
    return run_format<true>(d, m, *groups, groups->n_tiles, gemm_group_bytes(m, groups), gemm_group_flops(m, groups));
}
