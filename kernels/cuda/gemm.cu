/* Matrix products of passes of more than LR_GPU_FEW tokens: which kernel takes which.  Dense weights go to cuBLAS where
 * it was found; all that tensor cores can take to gemm.cuh, in the largest tile that keeps the device busy; the rest to
 * plain FMAs.                                                                                                        */
#include "kernels/cuda/gemm.cuh"

#include "kernels/cuda/cublas.h"
#include "kernels/cuda/tile_block.cuh"
#include "kernels/cuda/tile_bytes.cuh"
#include "kernels/cuda/tile_f16.cuh"
#include "kernels/cuda/tile_iq4_nl.cuh"
#include "kernels/cuda/tile_q4_k.cuh"
#include "kernels/cuda/tile_q8_0.cuh"
#include "kernels/cuda/tile_table.cuh"
#include "kernels/cuda/tile_u4.cuh"

/* ---- the table: for each format three tiles, largest first ---- */

struct gemm_kernel {
    void (*run)(const gemm_args);
    int tokens, rows, threads, shared_bytes;
};
enum { TILES = 3 };

template <class T, int TOKENS, int ROWS, int WARPS_OF_TOKENS, int WARPS_OF_ROWS, int STAGES, int BLOCKS>
static gemm_kernel kernel_of() {
    typedef gemm_shape<T, TOKENS, ROWS, WARPS_OF_TOKENS, WARPS_OF_ROWS, STAGES> S;
    return { k_gemm<T, TOKENS, ROWS, WARPS_OF_TOKENS, WARPS_OF_ROWS, STAGES, BLOCKS>, TOKENS, ROWS, S::THREADS,
             S::SHARED_BYTES };
}

/* Dense: square tiles of a warp read the least shared memory.  Quantized: each warp has rows of its own where there are
 * enough, so that no weight is decoded twice in a block.  Blocks: in the smaller tiles the threads of a row share a
 * longer step.                                                                                                       */
template <class T> static gemm_kernel dense(int tile) {
    return tile == 0   ? kernel_of<T, 128, 128, 2, 2, 3, 2>()
           : tile == 1 ? kernel_of<T, 64, 64, 2, 2, 4, 3>()
                       : kernel_of<T, 32, 32, 2, 2, 6, 4>();
}
template <class T> static gemm_kernel quantized(int tile) {
    return tile == 0   ? kernel_of<T, 128, 128, 1, 4, 3, 2>()
           : tile == 1 ? kernel_of<T, 64, 64, 1, 4, 4, 3>()
                       : kernel_of<T, 32, 32, 2, 2, 6, 4>();
}
template <class Dot> static gemm_kernel blocks(int tile) {
    return tile == 0   ? kernel_of<tile_block<Dot, 1>, 128, 128, 2, 2, 3, 2>()
           : tile == 1 ? kernel_of<tile_block<Dot, 2>, 64, 64, 2, 2, 3, 3>()
                       : kernel_of<tile_block<Dot, 4>, 32, 32, 2, 2, 3, 4>();
}

static const struct gemm_format {
    lr_format format;
    gemm_kernel (*kernel)(int tile);
    int least_arch;
} formats[] = {
    { LR_F16, dense<tile_f16>, 750 },           { LR_BF16, dense<tile_bf16>, 800 },
    { LR_Q8_0, quantized<tile_q8_0>, 750 },     { LR_Q4_K, quantized<tile_q4_k>, 750 },
    { LR_IQ4_NL, quantized<tile_iq4_nl>, 750 }, { LR_NF4, quantized<tile_nf4>, 750 },
    { LR_FP4, quantized<tile_fp4>, 750 },       { LR_U4, quantized<tile_u4>, 750 },
    { LR_U4_32, quantized<tile_u4_32>, 750 },   { LR_I8, quantized<tile_i8>, 750 },
    { LR_FP8, quantized<tile_fp8>, 750 },
    { LR_BLOCK_Q4_0, blocks<dot_block_q4_0>, 750 },
    { LR_BLOCK_Q4_1, blocks<dot_block_q4_1>, 750 },
    { LR_BLOCK_Q5_0, blocks<dot_block_q5_0>, 750 },
    { LR_BLOCK_Q5_1, blocks<dot_block_q5_1>, 750 },
    { LR_BLOCK_Q8_0, blocks<dot_block_q8_0>, 750 },
    { LR_BLOCK_IQ4_NL, blocks<dot_block_iq4_nl>, 750 },
    { LR_BLOCK_MXFP4, blocks<dot_block_mxfp4>, 750 },
    { LR_BLOCK_Q2_K, blocks<dot_block_q2_k>, 750 },
    { LR_BLOCK_Q3_K, blocks<dot_block_q3_k>, 750 },
    { LR_BLOCK_Q4_K, quantized<tile_block_q4_k>, 750 },
    { LR_BLOCK_Q5_K, blocks<dot_block_q5_k>, 750 },
    { LR_BLOCK_Q6_K, blocks<dot_block_q6_k>, 750 },
    { LR_BLOCK_IQ4_XS, blocks<dot_block_iq4_xs>, 750 },
};

/* ---- the choice ---- */

/* Shared memory that a block may ask for; what every device has where the question fails.                            */
static int most_shared(const lr_device *d) {
    int bytes = 0;
    cudaError_t e = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, d->index);
    return e == cudaSuccess ? bytes : 48 << 10;
}

static int tiles_of(int64_t n, int size) { return (int)((n + size - 1) / size); }

/* The largest tile that fits, that most of its tokens use, and that there are enough of.                             */
static gemm_kernel choose(const lr_device *d, const gemm_format *f, const lr_matmul_args *m, int count) {
    for (int i = 0; i < TILES - 1; i++) {
        gemm_kernel k = f->kernel(i);
        int64_t row_tiles = 0;
        for (int j = 0; j < count; j++) row_tiles += tiles_of(m[j].w.rows, k.rows);
        bool is_busy = 4 * row_tiles * tiles_of(m->x.n, k.tokens) >= 3 * (int64_t)d->n_sms;
        if (is_busy && m->x.n > k.tokens / 2 && k.shared_bytes <= most_shared(d)) return k;
    }
    return f->kernel(TILES - 1);
}

/* Copies are of 16 bytes; of weights in blocks, only where those are.                                               */
static bool is_aligned(const lr_matmul_args *m) {
    uintptr_t x = (uintptr_t)m->x.values | (uintptr_t)(2 * m->w.cols), w = (uintptr_t)m->w.quants | m->w.quants_stride;
    return x % 16 == 0 && w % gpu_weights_align(m->w.format) == 0;
}

static const gemm_format *tensor_core_format(const lr_device *d, const lr_matmul_args *m) {
    for (const gemm_format &f : formats)
        if (f.format == m->w.format && d->arch >= f.least_arch && is_aligned(m)) return &f;
    return NULL;
}

static cudaError_t run_tiles(lr_device *d, const gemm_format *f, const lr_matmul_args *m, int count) {
    gemm_kernel k = choose(d, f, m, count);
    gemm_args a = {};
    double bytes = 0, flops = 0;
    a.count = count;
    a.x = (const uint8_t *)m->x.values;
    a.d = m->x.format == LR_ACT_F16 ? m->x.d : NULL;
    a.n = (int)m->x.n;
    a.cols = (int)m->x.cols;
    a.token_tiles = tiles_of(m->x.n, k.tokens);
    for (int i = 0; i < count; i++) {
        const lr_matrix *w = &m[i].w;
        bool in_blocks = lr_format_is_blocks(w->format); /* and so are their scales */
        a.matrix[i] = { (const uint8_t *)w->quants,
                        (const uint8_t *)(in_blocks ? w->quants : w->scales),
                        (int)w->quants_stride,
                        (int)(in_blocks ? w->quants_stride : w->scales_stride),
                        gemm_output_of(&m[i]),
                        (int)w->rows,
                        a.row_tiles };
        a.row_tiles += tiles_of(w->rows, k.rows);
        bytes += gemm_bytes(&m[i]);
        flops += gemm_flops(&m[i]);
    }
    if (k.shared_bytes > 48 << 10) {
        cudaError_t e = cudaFuncSetAttribute(k.run, cudaFuncAttributeMaxDynamicSharedMemorySize, k.shared_bytes);
        if (e != cudaSuccess) return e;
    }
    dim3 grid((unsigned)a.token_tiles * (unsigned)a.row_tiles);
    return GPU_LAUNCH_COST(bytes, flops, k.run, grid, dim3((unsigned)k.threads), (size_t)k.shared_bytes,
                           d->queue[LR_QUEUE_COMPUTE], a);
}

cudaError_t gpu_gemm(lr_device *d, const lr_matmul_args *m, int count) {
    cudaError_t e = cudaSuccess;
    for (int i = 0, next; i < count && e == cudaSuccess; i = next) {
        const gemm_format *f = tensor_core_format(d, &m[i]);
        next = i + 1;
        if (gpu_cublas_takes(d, &m[i])) {
            e = gpu_cublas_gemm(d, &m[i]);
        } else if (!f) {
            e = gpu_gemm_fma(d, &m[i]);
        } else { /* with those that follow in the same format */
            while (next < count && tensor_core_format(d, &m[next]) == f && !gpu_cublas_takes(d, &m[next])) next++;
            e = run_tiles(d, f, m + i, next - i);
        }
    }
    return e;
}
