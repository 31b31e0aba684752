/* The test kernels of kernels.cu: right, and each with one synchronization planted wrong.  All pointers are of the
 * current device; all calls are asynchronous and return what the launch returned.                                    */
#ifndef TESTS_SIM_KERNELS_H
#define TESTS_SIM_KERNELS_H

#include <cuda_runtime.h>
#include <stdint.h>

/* What is wrong with a kernel.  A kernel that does not have the place in question ignores the value.                 */
enum plant {
    RIGHT,
    NO_BARRIER_AFTER_STORE, /* other threads read before the data is there */
    NO_BARRIER_AFTER_LOAD,  /* the next tile overwrites data that others still read */
    NO_SYNCWARP,
    NO_WAIT,   /* of cp.async */
    WAIT_LESS, /* waits for one group too few */
    SHORT_REDUCTION,
    PLANTS
};

/* y[row] = sum of x[row][0..n), 128 threads a row.  Every plant but NO_SYNCWARP, NO_WAIT and WAIT_LESS.              */
cudaError_t launch_row_sums(plant p, const float *x, float *y, int rows, int n, cudaStream_t stream);

/* c[m][n] = a[m][k] * w[n][k]^T in f16 with f32 sums; k a multiple of 8.  64 x 64 x 32 tiles, two stages of cp.async.
 * Plants: the barriers, NO_WAIT, WAIT_LESS.                                                                          */
cudaError_t launch_gemm(plant p, const uint16_t *a, const uint16_t *w, float *c, int m, int n, int k,
                        cudaStream_t stream);

/* Causal attention of one head, dimension 32: q, o [n][32], k, v [n][32], all f16; query i sees keys 0..i.
 * Plants: the barriers, NO_SYNCWARP, NO_WAIT.                                                                        */
cudaError_t launch_attention(plant p, const uint16_t *q, const uint16_t *k, const uint16_t *v, uint16_t *o, int n,
                             cudaStream_t stream);

/* One warp: d = a * b^T.  a [16][k], b [8][k], d [16][8]; k = 16 (bf16) or 32 (s8).  ldmatrix: 32 rows of 8. */
cudaError_t launch_mma_bf16(const uint16_t *a, const uint16_t *b, float *d, cudaStream_t stream);
cudaError_t launch_mma_s8(const int8_t *a, const int8_t *b, int *d, cudaStream_t stream);
cudaError_t launch_ldmatrix(const uint16_t *rows, uint32_t *plain, uint32_t *transposed, cudaStream_t stream);

/* Warp collectives of one warp; out [COLLECTIVES][32].                                                               */
enum { SHUFFLE, SHUFFLE_XOR, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_NARROW,
       BALLOT, ANY, ALL, MATCH, HALF_WARP, COLLECTIVES };
cudaError_t launch_collectives(int *out, cudaStream_t stream);
/* out[0] += number of threads, out[1] = maximum of their indices, out[2] = block votes                               */
cudaError_t launch_atomics(int *out, int blocks, cudaStream_t stream);

/* out[i] = in[i] + add                                                                                               */
cudaError_t launch_add(const float *in, float *out, int n, float add, cudaStream_t stream);
/* The same on the virtual clock: costs these bytes and flops.                                                        */
cudaError_t launch_add_cost(double bytes, double flops, float *p, int n, cudaStream_t stream);

/* Kernels that are wrong in themselves.                                                                              */
enum defect {
    DIVERGENT_BARRIER, /* two halves of the block wait on different lines */
    DEADLOCK,          /* odd lanes at a block barrier, even lanes in a shuffle */
    WRONG_MASK,        /* two halves of a warp in different shuffles, each for all */
    FOREIGN_MASK,      /* a lane that its own mask does not name */
    TRAP,
    UNALIGNED_COPY, /* cp.async */
    GLOBAL_ROW,     /* ldmatrix from global memory */
    READ_UNWRITTEN, /* shared memory: NaN */
    PAST_GLOBAL,    /* one element past the end of n floats */
    PAST_SHARED,
    FAR_AWAY,         /* an address that nothing has */
    CROSS_BLOCK_RACE, /* two blocks write one word */
    SPIN,             /* a thread waits for a value that never comes */
    SPIN_TOGETHER,    /* a warp does, in a loop of collectives */
    DEFECTS
};
cudaError_t launch_defect(defect d, float *p, int n, cudaStream_t stream);
cudaError_t launch_shape(dim3 grid, dim3 block, size_t shared_bytes, float *p, cudaStream_t stream);
cudaError_t allow_shared(int bytes); /* for launch_shape */

#endif
