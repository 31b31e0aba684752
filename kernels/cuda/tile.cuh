/* Weights of a matrix product on tensor cores: what every format's header (tile_<format>.cuh) is made of.
 *
 * A kernel walks the columns in steps.  A stage in shared memory holds one step of a tile: activations, quants and
 * scales of each row.  In a step, of the four lanes that share a row of a fragment, each owns chunks of 8 columns, and
 * gives them to the instruction as its columns 2t, 2t+1, 2t+8, 2t+9, twice: a sum does not mind the order as long as
 * both factors keep it.  So a lane reads its activations with one 16-byte load, as ldmatrix would, and its weights
 * lie together too: a format decodes them in registers, once, and no decoded tile is ever stored.
 *
 *   COLUMNS            of a step: 32 for each chunk of a lane
 *   ROW_BYTES          quants of a row in a step, a power of two
 *   SCALE_BYTES        scales of a row in a step; fetched by fetch_scales
 *   chunk              which chunk of the step (columns 8 chunk ..) is the part-th of lane t
 *   column             first column of the step that the i-th 16 bytes of a row's quants are for
 *   place              where the i-th 16 bytes of a row lie among them in shared memory: no bank conflicts for decode
 *   note               what a lane remembers of the address of its row's scales
 *   decode             w[4 part + i] = columns 2i and 2i + 1 of that chunk, in f16 (bf16 where IS_BF16)
 *
 * Where a row has no more columns, quants and scales are zero bytes, and so must be the weights.  Weights are rounded
 * to f16: scales that leave its range overflow.                                                                      */
#ifndef LR_TILE_CUH
#define LR_TILE_CUH

#include "kernels/cuda/gpu.h"

enum { TILE_CHUNK = 8 };

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

/* Small integers become f16 without a conversion: 0x6400 | byte is 1024 + byte.                                       */
#define TILE_1024 0x64006400u
#define TILE_1152 0x64806480u
#define TILE_0X64 0x64646464u
/* Two bytes of b that selector names (its nibbles 0 and 2; nibbles 1 and 3 are 4), less what `less` says.             */
GPU_FN __half2 tile_bytes(unsigned b, unsigned selector, unsigned less) {
    return __hsub2(tile_half2(__byte_perm(b, TILE_0X64, selector)), tile_half2(less));
}
/* The f16 in the low or the high half of bits, twice.                                                                */
GPU_FN __half2 tile_twice(unsigned bits, bool high) { return tile_half2(__byte_perm(bits, 0, high ? 0x3232 : 0x1010)); }

/* Bytes of a table of 16 for the 4 codes in the low half of q.                                                       */
GPU_FN unsigned tile_lookup(unsigned t0, unsigned t1, unsigned t2, unsigned t3, unsigned q) {
    unsigned index = q & 0x7777u, upper = (q & 0x8888u) >> 1 | 0x3210u;
    return __byte_perm(__byte_perm(t0, t1, index), __byte_perm(t2, t3, index), upper);
}

/* ---- scales of 2 bytes for blocks of 32 ----
 * A row's scales start at any even address, copies at multiples of 4: the words around the two scales of a step are
 * fetched, and the lane notes in which half of the first its scale is.                                               */
struct tile_scales_of_32 {
    enum { SCALE_BYTES = 8 };
    GPU_FN unsigned note(const uint8_t *row) { return (unsigned)(uintptr_t)row & 2; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int64_t column, int64_t cols, bool valid) {
        GPU_UNROLL for (int i = 0; i < 2; i++) {
            const uint8_t *scale = row + (column / 32 + i) * 2;
            cp_async4(shared + 4 * i, scale - ((uintptr_t)scale & 2), valid && column + 32 * i < cols);
        }
    }
    /* Of the first or second block in the step, twice.                                                               */
    GPU_FN __half2 scale(unsigned word, int block, unsigned noted) { return tile_twice(word, (noted != 0) != (block != 0)); }
};

#endif
