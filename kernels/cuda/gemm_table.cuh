/* The tiles of matrix products on tensor cores: for each format three, largest first; with GROUPS those of experts.  And
 * what launching one takes.                                                                                          */
#ifndef LR_GEMM_TABLE_CUH
#define LR_GEMM_TABLE_CUH

#include "kernels/cuda/gemm.cuh"

#include "kernels/cuda/tile_block.cuh"
#include "kernels/cuda/tile_bytes.cuh"
#include "kernels/cuda/tile_f16.cuh"
#include "kernels/cuda/tile_iq4_nl.cuh"
#include "kernels/cuda/tile_q4_k.cuh"
#include "kernels/cuda/tile_q8_0.cuh"
#include "kernels/cuda/tile_table.cuh"
#include "kernels/cuda/tile_u4.cuh"

struct gemm_kernel {
    void (*run)(const gemm_args);
    int tokens, rows, threads, shared_bytes;
};
enum { GEMM_TILES = 3 };

template <bool GROUPS, class T, int TOKENS, int ROWS, int WARPS_OF_TOKENS, int WARPS_OF_ROWS, int STAGES, int BLOCKS>
static gemm_kernel gemm_kernel_of() {
    typedef gemm_shape<T, TOKENS, ROWS, WARPS_OF_TOKENS, WARPS_OF_ROWS, STAGES> S;
    return { k_gemm<T, TOKENS, ROWS, WARPS_OF_TOKENS, WARPS_OF_ROWS, STAGES, BLOCKS, GROUPS>, TOKENS, ROWS, S::THREADS,
             S::SHARED_BYTES };
}

/* Dense: square tiles of a warp read the least shared memory.  Quantized: each warp has rows of its own where there are
 * enough, so that no weight is decoded twice in a block.  Blocks: in the smaller tiles the threads of a row share a
 * longer step.                                                                                                       */
template <bool GROUPS, class T> static gemm_kernel gemm_dense(int tile) {
    return tile == 0   ? gemm_kernel_of<GROUPS, T, 128, 128, 2, 2, 3, 2>()
           : tile == 1 ? gemm_kernel_of<GROUPS, T, 64, 64, 2, 2, 4, 3>()
                       : gemm_kernel_of<GROUPS, T, 32, 32, 2, 2, 6, 4>();
}
template <bool GROUPS, class T> static gemm_kernel gemm_quantized(int tile) {
    return tile == 0   ? gemm_kernel_of<GROUPS, T, 128, 128, 1, 4, 3, 2>()
           : tile == 1 ? gemm_kernel_of<GROUPS, T, 64, 64, 1, 4, 4, 3>()
                       : gemm_kernel_of<GROUPS, T, 32, 32, 2, 2, 6, 4>();
}
template <bool GROUPS, class Dot> static gemm_kernel gemm_blocks(int tile) {
    return tile == 0   ? gemm_kernel_of<GROUPS, tile_block<Dot, 1>, 128, 128, 2, 2, 3, 2>()
           : tile == 1 ? gemm_kernel_of<GROUPS, tile_block<Dot, 2>, 64, 64, 2, 2, 3, 3>()
                       : gemm_kernel_of<GROUPS, tile_block<Dot, 4>, 32, 32, 2, 2, 3, 4>();
}

struct gemm_format {
    lr_format format;
    gemm_kernel (*kernel)(int tile);
    int least_arch;
};

/* Copies are of 16 bytes; of weights in blocks, only where those are.                                               */
static inline bool gemm_is_aligned(const lr_matmul_args *m) {
    uintptr_t x = (uintptr_t)m->x.values | (uintptr_t)(2 * m->w.cols), w = (uintptr_t)m->w.quants | m->w.quants_stride;
    return x % 16 == 0 && w % gpu_weights_align(m->w.format) == 0;
}

/* NULL: plain FMAs compute it.                                                                                       */
template <bool GROUPS> static const gemm_format *gemm_format_of(const lr_device *d, const lr_matmul_args *m) {
    static const gemm_format formats[] = {
        { LR_F16, gemm_dense<GROUPS, tile_f16>, 750 },
        { LR_BF16, gemm_dense<GROUPS, tile_bf16>, 800 },
        { LR_Q8_0, gemm_quantized<GROUPS, tile_q8_0>, 750 },
        { LR_Q4_K, gemm_quantized<GROUPS, tile_q4_k>, 750 },
        { LR_IQ4_NL, gemm_quantized<GROUPS, tile_iq4_nl>, 750 },
        { LR_NF4, gemm_quantized<GROUPS, tile_nf4>, 750 },
        { LR_FP4, gemm_quantized<GROUPS, tile_fp4>, 750 },
        { LR_U4, gemm_quantized<GROUPS, tile_u4>, 750 },
        { LR_U4_32, gemm_quantized<GROUPS, tile_u4_32>, 750 },
        { LR_I8, gemm_quantized<GROUPS, tile_i8>, 750 },
        { LR_FP8, gemm_quantized<GROUPS, tile_fp8>, 750 },
        { LR_BLOCK_Q4_0, gemm_blocks<GROUPS, dot_block_q4_0>, 750 },
        { LR_BLOCK_Q4_1, gemm_blocks<GROUPS, dot_block_q4_1>, 750 },
        { LR_BLOCK_Q5_0, gemm_blocks<GROUPS, dot_block_q5_0>, 750 },
        { LR_BLOCK_Q5_1, gemm_blocks<GROUPS, dot_block_q5_1>, 750 },
        { LR_BLOCK_Q8_0, gemm_blocks<GROUPS, dot_block_q8_0>, 750 },
        { LR_BLOCK_IQ4_NL, gemm_blocks<GROUPS, dot_block_iq4_nl>, 750 },
        { LR_BLOCK_MXFP4, gemm_blocks<GROUPS, dot_block_mxfp4>, 750 },
        { LR_BLOCK_NVFP4, gemm_blocks<GROUPS, dot_nvfp4>, 750 },
        { LR_NVFP4, gemm_blocks<GROUPS, dot_nvfp4>, 750 },
        { LR_BLOCK_Q2_K, gemm_blocks<GROUPS, dot_block_q2_k>, 750 },
        { LR_BLOCK_Q3_K, gemm_blocks<GROUPS, dot_block_q3_k>, 750 },
        { LR_BLOCK_Q4_K, gemm_quantized<GROUPS, tile_block_q4_k>, 750 },
        { LR_BLOCK_Q5_K, gemm_blocks<GROUPS, dot_block_q5_k>, 750 },
        { LR_BLOCK_Q6_K, gemm_blocks<GROUPS, dot_block_q6_k>, 750 },
        { LR_BLOCK_IQ4_XS, gemm_blocks<GROUPS, dot_block_iq4_xs>, 750 },
        { LR_BLOCK_IQ2_XXS, gemm_blocks<GROUPS, dot_block_iq2_xxs>, 750 },
        { LR_BLOCK_IQ2_XS, gemm_blocks<GROUPS, dot_block_iq2_xs>, 750 },
        { LR_BLOCK_IQ2_S, gemm_blocks<GROUPS, dot_block_iq2_s>, 750 },
        { LR_BLOCK_IQ3_XXS, gemm_blocks<GROUPS, dot_block_iq3_xxs>, 750 },
        { LR_BLOCK_IQ3_S, gemm_blocks<GROUPS, dot_block_iq3_s>, 750 },
        { LR_BLOCK_IQ1_S, gemm_blocks<GROUPS, dot_block_iq1_s>, 750 },
        { LR_BLOCK_IQ1_M, gemm_blocks<GROUPS, dot_block_iq1_m>, 750 },
    };
    for (const gemm_format &f : formats)
        if (f.format == m->w.format && d->arch >= f.least_arch && gemm_is_aligned(m)) return &f;
    return NULL;
}

/* Shared memory that a block may ask for; what every device has where the question fails.                            */
static inline int gemm_most_shared(const lr_device *d) {
    int bytes = 0;
    cudaError_t e = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, d->index);
    return e == cudaSuccess ? bytes : 48 << 10;
}

static inline int gemm_tiles_of(int64_t n, int size) { return (int)((n + size - 1) / size); }

/* All but tiles of tokens and groups.                                                                                */
static inline gemm_args gemm_args_of(const gemm_kernel &k, const lr_matmul_args *m, int count) {
    gemm_args a = {};
    a.count = count;
    a.x = (const uint8_t *)m->x.values;
    a.d = m->x.format == LR_ACT_F16 ? m->x.d : NULL;
    a.n = (int)m->x.n;
    a.cols = (int)m->x.cols;
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
        a.row_tiles += gemm_tiles_of(w->rows, k.rows);
    }
    return a;
}

static inline cudaError_t gemm_launch(lr_device *d, const gemm_kernel &k, const gemm_args &a, int token_tiles,
                                      double bytes, double flops) {
    if (k.shared_bytes > 48 << 10) {
        cudaError_t e = cudaFuncSetAttribute(k.run, cudaFuncAttributeMaxDynamicSharedMemorySize, k.shared_bytes);
        if (e != cudaSuccess) return e;
    }
    dim3 grid((unsigned)token_tiles * (unsigned)a.row_tiles);
    return GPU_LAUNCH_COST(bytes, flops, k.run, grid, dim3((unsigned)k.threads), (size_t)k.shared_bytes,
                           d->queue[LR_QUEUE_COMPUTE], a);
}

#endif
