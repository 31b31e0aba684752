/* The values of nf4 as integers of 22 bits, for kernels that dot with int8 activations:
 *     plane[0] << 14 | plane[1] << 7 | plane[2]  =  round(NF4_UNIT * value) + (128 << 14)
 * NF4_UNIT is the one for which the largest relative rounding error is smallest, 2.3e-07.  Bytes of 7 bits suit
 * vpmaddubsw, whose pairs must stay within int16.                                                                     */
#ifndef LR_KERNELS_CPU_NF4_VALUES_H
#define LR_KERNELS_CPU_NF4_VALUES_H

#include <stdint.h>

#define NF4_UNIT 2089147.8750f
static const uint8_t nf4_planes[3][16] = {
    { 0, 39, 61, 77, 91, 104, 116, 128, 138, 148, 159, 171, 184, 199, 220, 255 },
    { 62, 29, 6, 82, 93, 56, 49, 0, 18, 66, 48, 11, 25, 94, 23, 65 },
    { 68, 14, 5, 47, 64, 29, 119, 0, 111, 79, 117, 35, 4, 94, 92, 60 },
};

#endif
