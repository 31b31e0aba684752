/* Weights of 4 bits that are codes into a table, in blocks of 64 with an f32 scale: nf4 and fp4.  A unit is half a block:
 * its low nibbles lie in the first 32 values, its high ones in the others.  A table's values are integers of some planes
 * of bytes, Table::plane, of which plane p counts Table::weight(p) times, and of Table::unit.  The bytes are such that
 * the two addends of lookup_bytes make up the integer: it lacks 1 where the entry in the other half is negative.      */
#ifndef LR_DOT_TABLE_CUH
#define LR_DOT_TABLE_CUH

#include "kernels/cuda/dot.cuh"

template <class Table> struct dot_table {
    enum { VALUES = 32, PARTS = 1, TILE_FROM = 3, TILE_BLOCKS = 4, TILE_HAS_MIN = 0, TILE_ALIGNED = 2 };
    enum { PLANES = Table::PLANES };
    struct fixed {
        byte_table plane[PLANES];
        GPU_FN fixed of(unsigned, unsigned zero) {
            fixed f;
            GPU_UNROLL for (int p = 0; p < PLANES; p++) f.plane[p] = in_registers(Table::plane(p), zero);
            return f;
        }
    };
    struct raw {
        uint4 q;
        float absmax;
    };
    struct weights {
        unsigned low[2], high[2]; /* codes of two words in turn: nibble 2i of the first, 2i + 1 of the second */
        float d;
        fixed f;
    };
    struct input {
        int8x16 low, high;
        float d_low, d_high;
    };
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<float>(row.scales, unit / 2) };
    }
    GPU_FN unsigned low_nibbles(unsigned a, unsigned b) { return (a & 0x0f0f0f0fu) | (b << 4 & 0xf0f0f0f0u); }
    GPU_FN unsigned high_nibbles(unsigned a, unsigned b) { return (a >> 4 & 0x0f0f0f0fu) | (b & 0xf0f0f0f0u); }
    GPU_FN weights decode(const raw &r, const fixed &f, int) {
        return { { low_nibbles(r.q.x, r.q.y), low_nibbles(r.q.z, r.q.w) },
                 { high_nibbles(r.q.x, r.q.y), high_nibbles(r.q.z, r.q.w) },
                 r.absmax * Table::unit(),
                 f };
    }
    GPU_FN input load_input(const dot_input &x, unsigned unit, int) {
        unsigned at = 32 * (unit & ~1u) + 16 * (unit & 1);
        float2 d = load_d<float2>(x, unit & ~1u);
        input in = { load_int8x16(x, at), load_int8x16(x, at + 32), d.x, d.y };
        GPU_UNROLL for (int i = 0; i < 4; i += 2) {
            interleave(in.low.q[i], in.low.q[i + 1]);
            interleave(in.high.q[i], in.high.q[i + 1]);
        }
        return in;
    }
    GPU_FN float dot_plane(const byte_table &t, const unsigned codes[2], const int8x16 &x) {
        int8x16_split w;
        lookup_bytes(t, codes[0], w, 0);
        lookup_bytes(t, codes[1], w, 2);
        return dot_end(dot_int8x16(w, x, dot_begin()));
    }
    GPU_FN float dot_planes(const fixed &f, const unsigned codes[2], const int8x16 &x) {
        float sum = Table::weight(0) * dot_plane(f.plane[0], codes, x);
        GPU_UNROLL for (int p = 1; p < PLANES; p++) sum += Table::weight(p) * dot_plane(f.plane[p], codes, x);
        return sum;
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d * (x.d_low * dot_planes(w.f, w.low, x.low) + x.d_high * dot_planes(w.f, w.high, x.high));
    }

    struct tile {
        uint4 q;
        float d[2];
    };
    GPU_FN tile load_tile(const dot_row &row, unsigned unit, unsigned units) {
        unsigned block = unit / 4 * 2;
        tile r = { load_tile16(row, unit, units), {} };
        GPU_UNROLL for (unsigned b = 0; b < 2; b++) if (block + b < units / 2) r.d[b] =
            load_scale<float>(row.scales, block + b) * Table::unit();
        return r;
    }
    GPU_FN void spread(tile &r, unsigned) { spread_halves(r.q); }
    GPU_FN uint2 tile_input(const dot_input &x, unsigned block) {
        uint2 in = load_tile_input(x, block);
        interleave(in);
        return in;
    }
    GPU_FN unsigned codes_of(const tile &r, int b) {
        unsigned first = b / 2 ? r.q.z : r.q.x, second = b / 2 ? r.q.w : r.q.y;
        return b % 2 ? high_nibbles(first, second) : low_nibbles(first, second);
    }
    GPU_FN void multiply(float products[4], const tile &r, const tile &r8, const fixed &f, int b, const uint2 &x) {
        unsigned codes = codes_of(r, b), codes8 = codes_of(r8, b);
        multiply_codes(products, f.plane[0], codes, codes8, x);
        GPU_UNROLL for (int i = 0; i < 4; i++) products[i] *= Table::weight(0);
        GPU_UNROLL for (int p = 1; p < PLANES; p++) {
            float more[4];
            multiply_codes(more, f.plane[p], codes, codes8, x);
            GPU_UNROLL for (int i = 0; i < 4; i++) products[i] += Table::weight(p) * more[i];
        }
    }
    GPU_FN tile_scales scales(const tile &r, int b) { return { r.d[b / 2], 0 }; }

    GPU_FN float value(const dot_row &row, int i) {
        int byte = row.quants[i / 64 * 32 + i % 32];
        return ((const float *)row.scales)[i / 64] * Table::value(i % 64 < 32 ? byte & 15 : byte >> 4);
    }
};

#endif
