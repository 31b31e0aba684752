/* Weights of a matrix product on tensor cores: what every format's header (tile_<format>.cuh) is made of.
 *
 * A kernel walks the columns in steps.  A stage in shared memory holds one step of a tile: activations, quants and
 * scales of each row.  Plain weights (f16, bf16) are fragments as they are, by ldmatrix.  Quantized ones are decoded in
 * registers, straight into fragments, and no decoded tile is ever stored: of the four lanes that share a row, each owns
 * chunks of 8 columns, and gives them to the instruction as its columns 2t, 2t+1, 2t+8, 2t+9, twice.  A sum does not
 * mind the order as long as both factors keep it, and so quants and activations of a lane lie together.
 *
 *   COLUMNS            of a step: 32, or 32 for each chunk of a lane
 *   ROW_BYTES          quants of a row in a step, a power of two
 *   SCALE_BYTES        scales of a row in a step; fetched by fetch_scales
 *   IS_PLAIN, IS_BF16  no chunks, no scales; bf16 instead of f16
 *   chunk              which chunk of the step (columns 8 chunk ..) is the part-th of lane t
 *   column             first column of the step that the i-th 16 bytes of a row's quants are for
 *   note               what decode must know of the address of a row's scales; the same for every other row
 *   decode             w[4 part + i] = columns 2i and 2i + 1 of that chunk
 *
 * Where a row has no more columns, quants and scales are zero bytes, and so must be the weights.  Weights are rounded
 * to f16: what leaves its range overflows.                                                                           */
#ifndef LR_TILE_CUH
#define LR_TILE_CUH

#include "kernels/cuda/gpu.h"

GPU_FN __half2 tile_half2(unsigned bits) {
    __half2 h;
    memcpy(&h, &bits, sizeof h);
    return h;
}
GPU_FN unsigned tile_bits(__half2 h) {
    unsigned bits;
    memcpy(&bits, &h, sizeof bits);
    return bits;
}

/* Where the 16 bytes of activations and of quants of a step are from.  Block formats have walks of their own; most are
 * neither fetched nor decoded into fragments: a thread loads (raw) and decodes 32 columns of a row, and stores them in
 * the stage as f16 (tile_block.cuh).                                                                                 */
template <class T> struct tile_walk {
    static constexpr bool IS_DECODED = false;
    struct raw {};
    GPU_FN int column(int step, int i) { return step * T::COLUMNS + 8 * i; }
    GPU_FN int quants_at(int step) { return step * T::ROW_BYTES; }
};

/* Small integers become f16 without a conversion: 0x6400 | byte is 1024 + byte. */
#define TILE_1024 0x64006400u
#define TILE_1152 0x64806480u
#define TILE_0X64 0x64646464u
/* Two bytes of b that selector names (its nibbles 0 and 2; nibbles 1 and 3 are 4), less what `less` says. */
GPU_FN __half2 tile_bytes(unsigned b, unsigned selector, unsigned less) {
    return __hsub2(tile_half2(__byte_perm(b, TILE_0X64, selector)), tile_half2(less));
}
/* The f16 in the low or the high half of bits, twice.                                                                */
GPU_FN __half2 tile_twice(unsigned bits, bool high) { return tile_half2(__byte_perm(bits, 0, high ? 0x3232 : 0x1010)); }

/* An f32 scale as f16 and what rounding to it left over, twice each: what is left is the rounding of the product.      */
struct tile_factor {
    __half2 d, rest;
};
GPU_FN tile_factor tile_factor_of(float d) {
    __half high = __float2half_rn(d);
    return { __half2half2(high), __half2half2(__float2half_rn(d - __half2float(high))) };
}
GPU_FN unsigned tile_times(__half2 value, const tile_factor &f) {
    return tile_bits(__hfma2(value, f.d, __hmul2(value, f.rest)));
}

/* Bytes of a table of 16 for the 4 codes in the low half of q.                                                       */
GPU_FN unsigned tile_lookup(unsigned t0, unsigned t1, unsigned t2, unsigned t3, unsigned q) {
    unsigned index = q & 0x7777u, upper = (q & 0x8888u) >> 1 | 0x3210u;
    return __byte_perm(__byte_perm(t0, t1, index), __byte_perm(t2, t3, index), upper);
}

/* Scales of 2 bytes lie at any even address, copies start at multiples of 4: the word around a scale is fetched. */
GPU_FN void tile_fetch_scale(uint8_t *shared, const uint8_t *scale, bool valid) {
    cp_async4(shared, scale - ((uintptr_t)scale & 2), valid);
}

#endif
