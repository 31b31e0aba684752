/* MXFP4 of gpt-oss to GGUF's order: byte j of a block's 16 then holds values j (low) and j + 16 (high).               */
#include "loaders/packed.h"

void lr_packed_mxfp4(uint8_t *out, const uint8_t *blocks, const uint8_t *exponents, int64_t n) {
    for (int64_t b = 0; b < n; b++, out += 17, blocks += 16) {
        out[0] = exponents[b];
        for (int j = 0; j < 16; j++) {
            int low = blocks[j / 2] >> (j % 2 * 4) & 15, high = blocks[8 + j / 2] >> (j % 2 * 4) & 15;
            out[1 + j] = (uint8_t)(low | high << 4);
        }
    }
}
