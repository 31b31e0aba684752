/* Weights in GGUF's blocks: a thread decodes a part of a unit, 32 columns of a row, as for few tokens (dot_block.cuh),
 * to f16 in a stage, which then is a tile of f16 like any other.  The columns of a step are those of its units, and not
 * all neighbours.                                                                                                    */
#ifndef LR_TILE_BLOCK_CUH
#define LR_TILE_BLOCK_CUH

#include "kernels/cuda/dot_block_32.cuh"
#include "kernels/cuda/dot_block_k.cuh"
#include "kernels/cuda/dot_block_grid.cuh"
#include "kernels/cuda/dot_nvfp4.cuh"
#include "kernels/cuda/tile_q4_k.cuh"

template <class Dot, int UNITS> struct tile_block {
    enum { COLUMNS = 32 * UNITS, ROW_BYTES = 2 * COLUMNS, SCALE_BYTES = 0 };
    static constexpr bool IS_PLAIN = true, IS_BF16 = false;
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN typename Dot::raw load(const uint8_t *row, unsigned unit) {
        return Dot::load({ row, nullptr }, unit / Dot::PARTS);
    }
    /* Exactly, and then rounded once: q as a float without a conversion, for 0x4b000000 | byte is 2^23 + byte.       */
    GPU_FN unsigned two(const block_weights &w, int g, int i) {
        unsigned bytes = (unsigned)w.q[g].q[i / 4] ^ 0x80808080u; /* + 128 */
        float v[2];
        GPU_UNROLL for (int k = 0; k < 2; k++) {
            float q = __int_as_float((int)__byte_perm(bytes, 0x4b000000u, 0x7650 | (unsigned)(i % 4 + k)));
            q -= 8388608.0f + 128.0f + (float)Dot::ZERO;
            v[k] = Dot::HAS_MIN ? q * w.d[g] - w.min[g] : q * w.d[g];
        }
        return tile_bits(__floats2half2_rn(v[0], v[1]));
    }
    GPU_FN void decode(uint4 halves[4], const typename Dot::raw &r, unsigned unit) {
        block_weights w = Dot::decode(r, Dot::fixed::of(unit / Dot::PARTS, 0), (int)(unit % Dot::PARTS));
        GPU_UNROLL for (int j = 0; j < 4; j++) {
            int g = j / 2, i = j % 2 * 8;
            halves[j] = make_uint4(two(w, g, i), two(w, g, i + 2), two(w, g, i + 4), two(w, g, i + 6));
        }
    }
};
template <class Dot, int UNITS> struct tile_walk<tile_block<Dot, UNITS>> {
    static constexpr bool IS_DECODED = true;
    typedef typename Dot::raw raw;
    GPU_FN int column(int step, int i) {
        int unit = step * UNITS + i / 4;
        return (int)Dot::columns::column((unsigned)(unit / Dot::PARTS), unit % Dot::PARTS) + i % 4 / 2 * Dot::APART +
               i % 2 * 8;
    }
};

/* q4_k with the scales in front of the quants: rows and blocks start at multiples of 16.                             */
struct tile_block_q4_k : tile_q4_k {
    enum { BYTES = dot_block_q4_k::BYTES };
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int, bool valid) {
        cp_async16(shared, row + column / 256 * BYTES, valid);
    }
};
template <> struct tile_walk<tile_block_q4_k> : tile_walk<tile_q4_k> {
    GPU_FN int quants_at(int step) { return step / 4 * tile_block_q4_k::BYTES + 16 + step % 4 * 32; }
};

#endif
