/* q4_k: super-blocks of 256 with f16 d and dmin; 8 sub-blocks of 32 codes with a 6-bit scale S and a 6-bit min M each,
 * x = d * S * q - dmin * M.  The order of nibbles and the packing of S and M are ggml's.  The encoder is in
 * q4_k_lanes.h.                                                                                                       */
#include "quant/blocks.h"
#include "quant/encoders.h"

#include <string.h>

void lr_q4_k_encode(void *quants, void *scales, const float *x, int64_t n) {
    lr_encoders_best()->q4_k(quants, scales, x, n);
}

void lr_q4_k_decode(float *x, const void *quants, const void *scales, int64_t n) {
    const uint8_t *q = quants, *p = scales;
    for (int64_t b = 0; b < n; b += 256, q += 128, p += 16) {
        uint16_t half[2];
        memcpy(half, p, sizeof half);
        float d = lr_f16_to_f32(half[0]), dmin = lr_f16_to_f32(half[1]);
        for (int s = 0; s < 8; s++) {
            int scale, min;
            lr_unpack_six_bits(p + 4, s, &scale, &min);
            float step = d * (float)scale, offset = dmin * (float)min;
            for (int l = 0; l < 32; l++) {
                int byte = q[32 * (s / 2) + l];
                x[b + 32 * s + l] = step * (float)(s & 1 ? byte >> 4 : byte & 15) - offset;
            }
        }
    }
}
