/* The values of fp4 as integers, exactly, for kernels that dot with int8 activations:
 *     plane[0] << 7 | plane[1]  =  FP4_UNIT * value + (2 << 7)                                                       */
#ifndef LR_KERNELS_CPU_FP4_VALUES_H
#define LR_KERNELS_CPU_FP4_VALUES_H

#include <stdint.h>

#define FP4_UNIT 192.0f
static const uint8_t fp4_planes[2][16] = {
    { 2, 2, 3, 3, 2, 2, 2, 2, 2, 1, 1, 0, 1, 1, 1, 1 },
    { 0, 1, 0, 64, 64, 96, 32, 48, 0, 127, 0, 64, 64, 32, 96, 80 },
};

#endif
