/* The values of nf4 as integers of 16 bits, for kernels that dot with int8 activations:
 *     plane[0] << 8 | plane[1]  =  round(NF4_UNIT * value) + (128 << 8)
 * NF4_UNIT is the one for which the largest relative rounding error is smallest, 2.3e-05: a tenth of what f16 rounds.   */
#ifndef LR_KERNELS_CPU_NF4_VALUES_H
#define LR_KERNELS_CPU_NF4_VALUES_H

#include <stdint.h>

#define NF4_UNIT 32168.569f
static const uint8_t nf4_planes[2][16] = {
    { 2, 40, 62, 78, 92, 104, 116, 128, 138, 148, 158, 170, 183, 198, 218, 253 },
    { 87, 132, 5, 96, 66, 200, 143, 0, 0, 57, 237, 118, 97, 179, 216, 169 },
};

#endif
