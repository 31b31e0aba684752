/* iq4_nl weights: a unit is a block of 32, element j in the low nibble of byte j, element j + 16 in the high one.  The
 * lookup leaves them in turn, so the activations are put into that order.                                            */
#ifndef LR_DOT_IQ4_NL_CUH
#define LR_DOT_IQ4_NL_CUH

#include "kernels/cuda/dot.cuh"

struct dot_iq4_nl {
    enum { VALUES = 32, PARTS = 1, TILE_FROM = 5, TILE_BLOCKS = 4, TILE_HAS_MIN = 0, TILE_ALIGNED = 1 };
    struct fixed {
        byte_table table;
        GPU_FN fixed of(unsigned, unsigned zero) { return { in_registers(values(), zero) }; }
    };
    struct raw {
        uint4 q;
        unsigned short d;
    };
    struct weights {
        int8x16_split a, b; /* first and last 8 bytes' codes */
        float d;
    };
    struct input {
        int8x16 a, b;
        float d;
    };
    /* -127 -104 -83 -65, -49 -35 -22 -10; then 1 13 25 38, 53 69 89 113 plus the 1 that the other addend lacks.      */
    GPU_FN byte_table values() { return { { 0xbfad9881u, 0xf6eaddcfu, 0x271a0e02u, 0x725a4636u } }; }
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<unsigned short>(row.scales, unit) };
    }
    GPU_FN weights decode(const raw &r, const fixed &f, int) {
        weights w;
        unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w };
        GPU_UNROLL for (int j = 0; j < 2; j++) {
            lookup_bytes(f.table, q[j], w.a, 2 * j);
            lookup_bytes(f.table, q[j + 2], w.b, 2 * j);
        }
        w.d = half_bits_to_float(r.d);
        return w;
    }
    GPU_FN input load_input(const dot_input &x, unsigned unit, int) {
        int8x16 low = load_int8x16(x, 32 * unit), high = load_int8x16(x, 32 * unit + 16);
        GPU_UNROLL for (int j = 0; j < 4; j++) interleave(low.q[j], high.q[j]);
        return { { { low.q[0], high.q[0], low.q[1], high.q[1] } },
                 { { low.q[2], high.q[2], low.q[3], high.q[3] } },
                 load_d(x, unit) };
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d * x.d * dot_end(dot_int8x16(w.b, x.b, dot_int8x16(w.a, x.a, dot_begin())));
    }

    struct tile {
        uint4 q;
        float d; /* of this lane's block, before and after */
    };
    GPU_FN tile load_tile(const dot_row &row, unsigned unit, unsigned units) {
        float d = unit < units ? half_bits_to_float(load_scale<unsigned short>(row.scales, unit)) : 0.0f;
        return { load_tile16(row, unit, units), d };
    }
    GPU_FN void spread(tile &r, unsigned) { spread_words(r.q); }
    GPU_FN uint2 tile_input(const dot_input &x, unsigned block) {
        unsigned at = 32 * block + threadIdx.x % 4 * 4;
        uint2 in = make_uint2(load_values<unsigned>(x, at), load_values<unsigned>(x, at + 16));
        interleave(in);
        return in;
    }
    GPU_FN void multiply(float products[4], const tile &r, const tile &r8, const fixed &f, int b, const uint2 &x) {
        const unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w }, q8[4] = { r8.q.x, r8.q.y, r8.q.z, r8.q.w };
        multiply_codes(products, f.table, q[b], q8[b], x);
    }
    GPU_FN tile_scales scales(const tile &r, int b) {
        return { __shfl_sync(GPU_FULL_WARP, r.d, (int)(threadIdx.x & ~3u) + b), 0 };
    }

    GPU_FN float value(const dot_row &row, int i) {
        int byte = row.quants[i / 32 * 16 + i % 16];
        int8x16_split w;
        lookup_bytes(values(), (unsigned)(i % 32 < 16 ? byte & 15 : byte >> 4), w, 0);
        float q = (float)((int8_t)w.below.q[0] + (int8_t)w.above.q[0]);
        return half_bits_to_float(((const unsigned short *)row.scales)[i / 32]) * q;
    }
};

#endif
