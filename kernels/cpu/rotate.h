/* The rotation of a row of a 4-bit cache: the normalized Walsh-Hadamard transform of blocks of a power of two values.
 *
 * It is orthogonal, so q k = (H q) (H k), and symmetric, so H H = 1: queries are rotated as keys are, and a sum of
 * rotated values once more gives the sum of the values.  An outlier of a row is spread over its whole block, and what is
 * left looks like noise, which 4 bits hold best.  A row of 96 is a block of 64 and one of 32: the largest powers of two
 * first.  Only sums and one product in a fixed order: the same bits from every instruction set.
 * Source: QuaRot, Ashkboos et al., arXiv:2404.00456.                                                                 */
#ifndef LR_ROTATE_H
#define LR_ROTATE_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

typedef float lr_sixteen __attribute__((vector_size(64)));

/* v with lane i ^ bit in lane i, for the four lowest bits; v is a variable.                                           */
#define LR_SWAP_1(v) __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#define LR_SWAP_2(v) __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
#define LR_SWAP_4(v) __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
#define LR_SWAP_8(v) __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)

/* A step of the transform within 16 values: the sum in one lane of a pair, first - second in the other.               */
static const lr_sixteen lr_rotate_signs[4] = {
    { 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1 },
    { 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1 },
    { 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1 },
    { 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1 },
};

/* Values of the first block of a row of n, n a multiple of 32.                                                        */
static inline int32_t lr_rotate_size(int32_t n) {
    int32_t size = LR_KV_ROTATED_MOST;
    while (size > n) size /= 2;
    return size;
}

/* One block, in place.                                                                                                */
static inline void lr_rotate_block(float *x, int32_t size) {
    for (int32_t i = 0; i < size; i += 16) {
        lr_sixteen v;
        memcpy(&v, x + i, sizeof v);
        v = v * lr_rotate_signs[0] + LR_SWAP_1(v);
        v = v * lr_rotate_signs[1] + LR_SWAP_2(v);
        v = v * lr_rotate_signs[2] + LR_SWAP_4(v);
        v = v * lr_rotate_signs[3] + LR_SWAP_8(v);
        memcpy(x + i, &v, sizeof v);
    }
    for (int32_t half = 16; half < size; half *= 2)
        for (int32_t pair = 0; pair < size / 2; pair += 16) { /* i, i + half */
            int32_t i = pair % half + pair / half * 2 * half;
            lr_sixteen a, b, sum, difference;
            memcpy(&a, x + i, sizeof a);
            memcpy(&b, x + i + half, sizeof b);
            sum = a + b;
            difference = a - b;
            memcpy(x + i, &sum, sizeof sum);
            memcpy(x + i + half, &difference, sizeof difference);
        }
    float scale = 1 / sqrtf((float)size);
    for (int32_t i = 0; i < size; i++) x[i] *= scale;
}

/* A row of n values, in place.                                                                                        */
static inline void lr_rotate(float *x, int32_t n) {
    for (int32_t size; n > 0; x += size, n -= size) {
        size = lr_rotate_size(n);
        lr_rotate_block(x, size);
    }
}

#endif
