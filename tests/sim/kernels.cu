/* Kernels for the tests of the simulator, in the portable dialect: the same file is compiled by g++ and by nvcc.  The
 * template argument plants one defect; a right kernel has RIGHT there.                                               */
#include "kernels/cuda/gpu.h"

#include "tests/sim/kernels.h"

static __device__ __forceinline__ float warp_sum(float v) {
    GPU_UNROLL for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(GPU_FULL_WARP, v, o);
    return v;
}

static __device__ __forceinline__ float warp_max(float v) {
    GPU_UNROLL for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(GPU_FULL_WARP, v, o));
    return v;
}

/* ---- row sums ---- */

template <int PLANT> __global__ void k_row_sums(const float *x, float *y, int rows, int n) {
    GPU_SHARED(float, part, [128]);
    int tid = threadIdx.x;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        float sum = 0;
        for (int i = tid; i < n; i += 128) sum += x[(size_t)row * n + i];
        part[tid] = sum;
        if (PLANT != NO_BARRIER_AFTER_STORE) __syncthreads();
        for (int step = 64; step > (PLANT == SHORT_REDUCTION ? 1 : 0); step >>= 1) {
            if (tid < step) part[tid] += part[tid + step];
            __syncthreads();
        }
        if (tid == 127) y[row] = part[0];
        if (PLANT != NO_BARRIER_AFTER_LOAD) __syncthreads();
    }
}

/* ---- matrix product ---- */

template <int PLANT>
__global__ void __launch_bounds__(128) k_gemm(const __half *a, const __half *w, float *c, int m, int n, int k) {
    constexpr int TILE = 64, DEPTH = 32, PITCH = DEPTH + 8;
    GPU_SHARED(__half, tile_a, [2][TILE][PITCH]);
    GPU_SHARED(__half, tile_w, [2][TILE][PITCH]);
    int tid = threadIdx.x, lane = tid & 31, row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
    int warp_row = (tid >> 5 & 1) * 32, warp_col = (tid >> 6) * 32;
    float sums[2][4][4] = {};
    auto load = [&](int stage, int k0) {
        GPU_UNROLL for (int i = 0; i < 2; i++) {
            int piece = tid + i * 128, row = piece >> 2, at = (piece & 3) * 8;
            bool in_a = k0 + at < k && row0 + row < m, in_w = k0 + at < k && col0 + row < n;
            cp_async16(&tile_a[stage][row][at], a + (in_a ? (size_t)(row0 + row) * k + k0 + at : 0), in_a);
            cp_async16(&tile_w[stage][row][at], w + (in_w ? (size_t)(col0 + row) * k + k0 + at : 0), in_w);
        }
        cp_async_commit();
    };
    int steps = (k + DEPTH - 1) / DEPTH;
    load(0, 0);
    for (int step = 0; step < steps; step++) {
        int stage = step & 1;
        if (step + 1 < steps) {
            load(stage ^ 1, (step + 1) * DEPTH);
            if (PLANT != NO_WAIT) cp_async_wait<PLANT == WAIT_LESS ? 2 : 1>();
        } else if (PLANT != NO_WAIT) {
            cp_async_wait<0>();
        }
        if (PLANT != NO_BARRIER_AFTER_STORE) __syncthreads();
        GPU_UNROLL for (int k0 = 0; k0 < DEPTH; k0 += 16) {
            unsigned fa[2][4], fw[2][4];
            GPU_UNROLL for (int i = 0; i < 2; i++)
                ldmatrix_x4(fa[i], &tile_a[stage][warp_row + i * 16 + (lane & 15)][k0 + (lane >> 4) * 8]);
            GPU_UNROLL for (int j = 0; j < 2; j++) ldmatrix_x4(
                fw[j], &tile_w[stage][warp_col + j * 16 + (lane >> 4) * 8 + (lane & 7)][k0 + (lane >> 3 & 1) * 8]);
            GPU_UNROLL for (int i = 0; i < 2; i++) GPU_UNROLL for (int j = 0; j < 4; j++)
                mma_m16n8k16_f16(sums[i][j], fa[i], &fw[j >> 1][(j & 1) * 2], sums[i][j]);
        }
        if (PLANT != NO_BARRIER_AFTER_LOAD) __syncthreads();
    }
    GPU_UNROLL for (int i = 0; i < 2; i++) GPU_UNROLL for (int j = 0; j < 4; j++)
        GPU_UNROLL for (int r = 0; r < 4; r++) {
        int row = row0 + warp_row + i * 16 + (lane >> 2) + (r >> 1) * 8;
        int col = col0 + warp_col + j * 8 + (lane & 3) * 2 + (r & 1);
        if (row < m && col < n) c[(size_t)row * n + col] = sums[i][j][r];
    }
}

/* ---- attention: one warp a query, tiles of 32 keys, running softmax ---- */

template <int PLANT>
__global__ void __launch_bounds__(128)
    k_attention(const __half *q, const __half *k, const __half *v, __half *o, int n) {
    constexpr int DIM = 32, PITCH = DIM + 8, WARPS = 4;
    GPU_DYN_SHARED(__half, dynamic);
    __half *tile_k = dynamic, *tile_v = dynamic + 32 * PITCH;
    GPU_SHARED(float, query, [WARPS][DIM]);
    GPU_SHARED(float, weight, [WARPS][32]);
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, i = blockIdx.x * WARPS + warp;
    int keys = i < n ? i + 1 : 0, keys_of_block = min((int)(blockIdx.x + 1) * WARPS, n);
    float top = -INFINITY, total = 0, sum = 0;
    query[warp][lane] = i < n ? __half2float(q[(size_t)i * DIM + lane]) * rsqrtf((float)DIM) : 0.f;
    for (int k0 = 0; k0 < keys_of_block; k0 += 32) {
        if (PLANT != NO_BARRIER_AFTER_LOAD) __syncthreads();
        int row = threadIdx.x >> 2, at = (threadIdx.x & 3) * 8;
        bool valid = k0 + row < keys_of_block;
        size_t from = (size_t)(valid ? k0 + row : 0) * DIM + at;
        cp_async16(tile_k + row * PITCH + at, k + from, valid);
        cp_async16(tile_v + row * PITCH + at, v + from, valid);
        cp_async_commit();
        if (PLANT != NO_WAIT) cp_async_wait<0>();
        if (PLANT != NO_BARRIER_AFTER_STORE) __syncthreads();
        float score = -INFINITY;
        if (k0 + lane < keys) {
            score = 0;
            GPU_UNROLL for (int d = 0; d < DIM; d++) score += query[warp][d] * __half2float(tile_k[lane * PITCH + d]);
        }
        float new_top = fmaxf(top, warp_max(score));
        float p = new_top == -INFINITY ? 0.f : __expf(score - new_top);
        float keep = new_top == -INFINITY ? 1.f : __expf(top - new_top);
        total = total * keep + warp_sum(p);
        sum *= keep;
        top = new_top;
        weight[warp][lane] = p;
        if (PLANT != NO_SYNCWARP) __syncwarp();
        for (int j = 0; j < 32; j++) sum += weight[warp][j] * __half2float(tile_v[j * PITCH + lane]);
        __syncwarp();
    }
    if (i < n) o[(size_t)i * DIM + lane] = __float2half(sum / total);
}

/* ---- single instructions ---- */

__global__ void k_mma_bf16(const uint16_t *a, const uint16_t *b, float *d) {
    int lane = threadIdx.x, g = lane / 4, t = lane % 4 * 2;
    auto pair = [](const uint16_t *p) { return p[0] | (unsigned)p[1] << 16; };
    unsigned fa[4] = { pair(a + g * 16 + t), pair(a + (g + 8) * 16 + t), pair(a + g * 16 + t + 8),
                       pair(a + (g + 8) * 16 + t + 8) };
    unsigned fb[2] = { pair(b + g * 16 + t), pair(b + g * 16 + t + 8) };
    float c[4] = {};
    mma_m16n8k16_bf16(c, fa, fb, c);
    for (int r = 0; r < 4; r++) d[(g + r / 2 * 8) * 8 + t + r % 2] = c[r];
}

__global__ void k_mma_s8(const int8_t *a, const int8_t *b, int *d) {
    int lane = threadIdx.x, g = lane / 4, t = lane % 4 * 4;
    auto four = [](const int8_t *p) { return *(const unsigned *)p; };
    unsigned fa[4] = { four(a + g * 32 + t), four(a + (g + 8) * 32 + t), four(a + g * 32 + t + 16),
                       four(a + (g + 8) * 32 + t + 16) };
    unsigned fb[2] = { four(b + g * 32 + t), four(b + g * 32 + t + 16) };
    int c[4] = {};
    mma_m16n8k32_s8(c, fa, fb, c);
    for (int r = 0; r < 4; r++) d[(g + r / 2 * 8) * 8 + lane % 4 * 2 + r % 2] = c[r];
}

__global__ void k_ldmatrix(const uint16_t *rows, uint32_t *plain, uint32_t *transposed) {
    GPU_SHARED(uint16_t, tile, [32][24]); /* rows of 48 bytes: aligned, without bank conflicts */
    int lane = threadIdx.x;
    unsigned r[4];
    for (int i = 0; i < 8; i++) tile[lane][i] = rows[lane * 8 + i];
    __syncwarp();
    ldmatrix_x4(r, tile[lane]);
    for (int i = 0; i < 4; i++) plain[i * 32 + lane] = r[i];
    ldmatrix_x4_trans(r, tile[lane]);
    for (int i = 0; i < 4; i++) transposed[i * 32 + lane] = r[i];
}

__global__ void k_collectives(int *out) {
    int lane = threadIdx.x;
    out[SHUFFLE * 32 + lane] = __shfl_sync(GPU_FULL_WARP, lane, lane + 5);
    out[SHUFFLE_XOR * 32 + lane] = __shfl_xor_sync(GPU_FULL_WARP, lane, 9);
    out[SHUFFLE_UP * 32 + lane] = __shfl_up_sync(GPU_FULL_WARP, lane, 3);
    out[SHUFFLE_DOWN * 32 + lane] = __shfl_down_sync(GPU_FULL_WARP, lane, 3);
    out[SHUFFLE_NARROW * 32 + lane] = __shfl_down_sync(GPU_FULL_WARP, lane, 3, 8);
    out[BALLOT * 32 + lane] = (int)__ballot_sync(GPU_FULL_WARP, lane % 3 == 0);
    out[ANY * 32 + lane] = __any_sync(GPU_FULL_WARP, lane == 7);
    out[ALL * 32 + lane] = __all_sync(GPU_FULL_WARP, lane != 7);
    out[MATCH * 32 + lane] = (int)__match_any_sync(GPU_FULL_WARP, lane / 10);
    if (lane < 16) /* a part of the warp alone */
        out[HALF_WARP * 32 + lane] = __shfl_xor_sync(0x0000ffffu, lane, 15);
    else
        out[HALF_WARP * 32 + lane] = __shfl_xor_sync(0xffff0000u, -lane, 1);
}

__global__ void k_atomics(int *out) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(&out[0], 1);
    atomicMax(&out[1], i);
    int third = __syncthreads_count(threadIdx.x % 3 == 0);
    int any = __syncthreads_or(threadIdx.x == 5);
    int all = __syncthreads_and(threadIdx.x != 5);
    if (threadIdx.x == 0) atomicExch(&out[2], third + 1000 * any + 10000 * all);
}

__global__ void k_add(const float *in, float *out, int n, float add) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) out[i] = in[i] + add;
}

/* ---- wrong in themselves ---- */

template <int DEFECT> __global__ void k_defect(float *p, int n) {
    GPU_SHARED(float, tile, [32]);
    GPU_SHARED(float, target, [8]);
    int tid = threadIdx.x;
    if (DEFECT == DIVERGENT_BARRIER) {
        if (tid < 32)
            __syncthreads();
        else
            __syncthreads();
    }
    if (DEFECT == DEADLOCK) {
        if (tid & 1)
            __syncthreads();
        else
            p[tid] = __shfl_xor_sync(GPU_FULL_WARP, p[tid], 1);
    }
    if (DEFECT == WRONG_MASK)
        p[tid] = tid & 16 ? __shfl_xor_sync(GPU_FULL_WARP, p[tid], 1) : __shfl_down_sync(GPU_FULL_WARP, p[tid], 1);
    if (DEFECT == FOREIGN_MASK) p[tid] = __shfl_xor_sync(0x0000ffffu, p[tid], 1);
    if (DEFECT == TRAP && tid == 3) __trap();
    if (DEFECT == UNALIGNED_COPY) cp_async16(&target[1], p, true);
    if (DEFECT == GLOBAL_ROW) {
        unsigned r[4];
        ldmatrix_x4(r, p);
        p[tid] = (float)r[0];
    }
    if (DEFECT == READ_UNWRITTEN) p[tid] = tile[tid & 31];
    if (DEFECT == PAST_GLOBAL && tid == 0) p[n] = 1;
    if (DEFECT == PAST_SHARED) {
        tile[tid] = 1; /* 64 threads, 32 elements */
        p[tid] = tile[tid];
    }
    if (DEFECT == FAR_AWAY && tid == 0) p[1] = p[(size_t)n << 34];
    if (DEFECT == CROSS_BLOCK_RACE && tid == 0) p[0] = (float)blockIdx.x;
    volatile float *flag = p; /* fresh memory: NaN */
    while (DEFECT == SPIN && *flag != 1) {
    }
    while (DEFECT == SPIN_TOGETHER && *flag != 1) __syncwarp();
}

__global__ void k_shape(float *p) {
    GPU_DYN_SHARED(float, dynamic);
    dynamic[0] = 1;
    if (threadIdx.x == 0) p[0] = dynamic[0];
}

/* ---- host side ---- */

#define HALVES(p) reinterpret_cast<const __half *>(p)

cudaError_t launch_row_sums(plant p, const float *x, float *y, int rows, int n, cudaStream_t stream) {
    auto kernel = p == NO_BARRIER_AFTER_STORE  ? k_row_sums<NO_BARRIER_AFTER_STORE>
                  : p == NO_BARRIER_AFTER_LOAD ? k_row_sums<NO_BARRIER_AFTER_LOAD>
                  : p == SHORT_REDUCTION       ? k_row_sums<SHORT_REDUCTION>
                                               : k_row_sums<RIGHT>;
    return GPU_LAUNCH(kernel, dim3(2), dim3(128), 0, stream, x, y, rows, n);
}

cudaError_t launch_gemm(plant p, const uint16_t *a, const uint16_t *w, float *c, int m, int n, int k,
                        cudaStream_t stream) {
    auto kernel = p == NO_BARRIER_AFTER_STORE  ? k_gemm<NO_BARRIER_AFTER_STORE>
                  : p == NO_BARRIER_AFTER_LOAD ? k_gemm<NO_BARRIER_AFTER_LOAD>
                  : p == NO_WAIT               ? k_gemm<NO_WAIT>
                  : p == WAIT_LESS             ? k_gemm<WAIT_LESS>
                                               : k_gemm<RIGHT>;
    dim3 grid((unsigned)(n + 63) / 64, (unsigned)(m + 63) / 64);
    return GPU_LAUNCH(kernel, grid, dim3(128), 0, stream, HALVES(a), HALVES(w), c, m, n, k);
}

cudaError_t launch_attention(plant p, const uint16_t *q, const uint16_t *k, const uint16_t *v, uint16_t *o, int n,
                             cudaStream_t stream) {
    auto kernel = p == NO_BARRIER_AFTER_STORE  ? k_attention<NO_BARRIER_AFTER_STORE>
                  : p == NO_BARRIER_AFTER_LOAD ? k_attention<NO_BARRIER_AFTER_LOAD>
                  : p == NO_SYNCWARP           ? k_attention<NO_SYNCWARP>
                  : p == NO_WAIT               ? k_attention<NO_WAIT>
                                               : k_attention<RIGHT>;
    return GPU_LAUNCH(kernel, dim3((unsigned)(n + 3) / 4), dim3(128), 2 * 32 * 40 * sizeof(__half), stream, HALVES(q),
                      HALVES(k), HALVES(v), reinterpret_cast<__half *>(o), n);
}

cudaError_t launch_mma_bf16(const uint16_t *a, const uint16_t *b, float *d, cudaStream_t stream) {
    return GPU_LAUNCH(k_mma_bf16, dim3(1), dim3(32), 0, stream, a, b, d);
}
cudaError_t launch_mma_s8(const int8_t *a, const int8_t *b, int *d, cudaStream_t stream) {
    return GPU_LAUNCH(k_mma_s8, dim3(1), dim3(32), 0, stream, a, b, d);
}
cudaError_t launch_ldmatrix(const uint16_t *rows, uint32_t *plain, uint32_t *transposed, cudaStream_t stream) {
    return GPU_LAUNCH(k_ldmatrix, dim3(1), dim3(32), 0, stream, rows, plain, transposed);
}
cudaError_t launch_collectives(int *out, cudaStream_t stream) {
    return GPU_LAUNCH(k_collectives, dim3(1), dim3(32), 0, stream, out);
}
cudaError_t launch_atomics(int *out, int blocks, cudaStream_t stream) {
    return GPU_LAUNCH(k_atomics, dim3((unsigned)blocks), dim3(96), 0, stream, out);
}
cudaError_t launch_add(const float *in, float *out, int n, float add, cudaStream_t stream) {
    return GPU_LAUNCH(k_add, dim3((unsigned)(n + 63) / 64), dim3(64), 0, stream, in, out, n, add);
}
cudaError_t launch_add_cost(double bytes, double flops, float *p, int n, cudaStream_t stream) {
    return GPU_LAUNCH_COST(bytes, flops, k_add, dim3((unsigned)(n + 63) / 64), dim3(64), 0, stream, p, p, n, 1.0f);
}

cudaError_t launch_defect(defect d, float *p, int n, cudaStream_t stream) {
    static void (*const kernel[DEFECTS])(float *, int) = {
        k_defect<DIVERGENT_BARRIER>, k_defect<DEADLOCK>,       k_defect<WRONG_MASK>,
        k_defect<FOREIGN_MASK>,      k_defect<TRAP>,           k_defect<UNALIGNED_COPY>,
        k_defect<GLOBAL_ROW>,        k_defect<READ_UNWRITTEN>, k_defect<PAST_GLOBAL>,
        k_defect<PAST_SHARED>,       k_defect<FAR_AWAY>,       k_defect<CROSS_BLOCK_RACE>,
        k_defect<SPIN>,              k_defect<SPIN_TOGETHER>,
    };
    return GPU_LAUNCH(kernel[d], dim3(2), dim3(64), 0, stream, p, n);
}
cudaError_t launch_shape(dim3 grid, dim3 block, size_t shared_bytes, float *p, cudaStream_t stream) {
    return GPU_LAUNCH(k_shape, grid, block, shared_bytes, stream, p);
}
cudaError_t allow_shared(int bytes) {
    return cudaFuncSetAttribute(k_shape, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}
