/* Weights in the blocks of GGUF files (quant/blocks.c, blocks_k.c), in the file's own bytes: what all of their headers
 * (dot_block_*.cuh) are made of.
 *
 * Rows are not aligned to 16 bytes, most blocks not even to 4.  A lane reads the words of 8 bytes around what it wants
 * and shifts them into place; neighbouring lanes want neighbouring bytes, so that each sector comes from memory once.
 * All that is read lies in words of 8 with bytes of the block in them: a plane that starts and ends at a multiple of 8,
 * as they all do, is never left.
 *
 * A part of a unit is two groups of 16 neighbouring columns, APART columns from the first to the second.             */
#ifndef LR_DOT_BLOCK_CUH
#define LR_DOT_BLOCK_CUH

#include "kernels/cuda/dot.cuh"

/* BYTES bytes at a multiple of ALIGN.  They are put into place when they are asked for, so that no load waits for one
 * before it.                                                                                                         */
template <int BYTES, int ALIGN> struct span {
    enum { WORDS = (BYTES + 3) / 4, EIGHTS = ALIGN >= 8 ? BYTES / 8 : (BYTES + 15 - ALIGN) / 8 };
    uint2 eight[EIGHTS];
    unsigned offset;

    GPU_FN span at(const uint8_t *p) {
        span s;
        if constexpr (ALIGN >= 16) {
            GPU_UNROLL for (int i = 0; i < EIGHTS; i += 2) {
                uint4 v = load_weights16(p + 8 * i);
                s.eight[i] = make_uint2(v.x, v.y);
                s.eight[i + 1] = make_uint2(v.z, v.w);
            }
        } else {
            const uint8_t *first = p - ((uintptr_t)p & 7), *end = p + BYTES - 1, *last = end - ((uintptr_t)end & 7);
            GPU_UNROLL for (int i = 0; i < EIGHTS; i++)
                s.eight[i] = __ldcs((const uint2 *)(i < EIGHTS - 1 ? first + 8 * i : last));
        }
        s.offset = (unsigned)(uintptr_t)p & 7;
        return s;
    }
    __device__ __forceinline__ void words(unsigned w[WORDS]) const {
        unsigned v[2 * EIGHTS];
        GPU_UNROLL for (int i = 0; i < EIGHTS; i++) v[2 * i] = eight[i].x, v[2 * i + 1] = eight[i].y;
        if (ALIGN < 8)
            GPU_UNROLL for (int i = 0; i + 1 < 2 * EIGHTS; i++) v[i] = offset & 4 ? v[i + 1] : v[i];
        const unsigned selector = 0x3210 + 0x1111 * (offset & 3);
        GPU_UNROLL for (int i = 0; i < WORDS; i++)
            w[i] = ALIGN < 4 ? __byte_perm(v[i], v[i + 1 < 2 * EIGHTS ? i + 1 : i], selector) : v[i];
    }
};
template <class T> GPU_FN T load_header(const uint8_t *p) { return __ldg((const T *)p); }

/* A part of a unit: weight = d * (q - ZERO) - min.                                                                   */
struct block_weights {
    int8x16 q[2];
    float d[2], min[2];
};

/* weight i of a group's 16.                                                                                          */
GPU_FN int block_code(const int8x16 &q, int i) {
    int word = 0;
    GPU_UNROLL for (int j = 0; j < 4; j++) if (j == i / 4) word = q.q[j];
    return (int8_t)(word >> i % 4 * 8);
}

/* Where the groups of a row lie that is made of such parts; a unit has one part or two.                              */
template <int PARTS, int APART> struct block_columns {
    static_assert(PARTS <= 2 && (PARTS == 1 || APART == 32), "parts of a unit are 2 * APART columns apart");
    GPU_FN unsigned column(unsigned unit, int part) {
        unsigned group = PARTS == 1 ? unit : unit / 2 * 4 + (unsigned)part * 2 + unit % 2;
        return 16 * group / APART * (2 * APART) + 16 * group % APART;
    }
    /* The other way round.                                                                                           */
    GPU_FN void find(int column, unsigned &unit, int &part, int &second) {
        unsigned group = (unsigned)(column / (2 * APART) * (APART / 16) + column % APART / 16);
        second = column / APART % 2;
        part = PARTS == 1 ? 0 : (int)(group / 2 % 2);
        unit = PARTS == 1 ? group : group / 4 * 2 + group % 2;
    }
};

/* The weight in column i of a row, from the unit it is in.                                                           */
template <class Dot> GPU_FN float block_value(const dot_row &row, int i) {
    unsigned unit;
    int part, second;
    Dot::columns::find(i, unit, part, second);
    block_weights w = Dot::in_order(Dot::load(row, unit), Dot::fixed::of(unit, 0), part);
    float v = (second ? w.d[1] : w.d[0]) * (float)(block_code(second ? w.q[1] : w.q[0], i % 16) - Dot::ZERO);
    return Dot::HAS_MIN ? v - (second ? w.min[1] : w.min[0]) : v;
}

/* The dot product with a block that says
 *   BYTES, UNITS          of a block; units in it
 *   PARTS, APART          see above; 16 apart: both groups have the same scale and min
 *   ZERO, HAS_MIN         see block_weights
 *   raw, read             what a lane reads of a unit: of block p, unit i
 *   fixed, decode         as everywhere                                                                              */
template <class B> struct dot_block : B {
    enum { VALUES = 32 * B::PARTS, TILE_FROM = LR_GPU_FEW + 1 };
    static constexpr bool HAS_MIN = B::HAS_MIN != 0, WHOLE = B::APART == 16, SUMS = B::ZERO != 0 || (HAS_MIN && !WHOLE);
    typedef block_columns<B::PARTS, B::APART> columns;
    typedef block_weights weights;
    struct input {
        int8x16 x[2];
        float d[2], s[2];
        int zero[2]; /* what ZERO takes off */
    };
    GPU_FN typename B::raw load(const dot_row &row, unsigned unit) {
        return B::read(row.quants + unit / B::UNITS * B::BYTES, unit % B::UNITS);
    }
    GPU_FN block_weights in_order(const typename B::raw &r, const typename B::fixed &f, int part) {
        return B::decode(r, f, part);
    }
    GPU_FN input load_input(const dot_input &x, unsigned unit, int part) {
        const int8x16 ones = { { 0x01010101, 0x01010101, 0x01010101, 0x01010101 } };
        unsigned column = columns::column(unit, part);
        input in;
        GPU_UNROLL for (unsigned g = 0; g < 2; g++) {
            unsigned at = column + g * B::APART;
            in.x[g] = load_int8x16(x, at);
            in.d[g] = load_d(x, at / 32);
            int sum = SUMS ? dot_int8x16(ones, in.x[g], 0) : 0;
            in.zero[g] = -B::ZERO * sum;
            in.s[g] = HAS_MIN && WHOLE ? load_s(x, at / 32) : in.d[g] * dot_end(dot_begin() + sum);
        }
        return in;
    }
    GPU_FN void dot_groups(float &sum, const block_weights &w, const input &x) {
        GPU_UNROLL for (int g = 0; g < 2; g++) {
            sum += w.d[g] * x.d[g] * dot_end(dot_int8x16(w.q[g], x.x[g], dot_begin() + x.zero[g]));
            if (HAS_MIN) sum -= w.min[g] * x.s[g];
        }
    }
    GPU_FN void dot(float &sum, const block_weights &w, const input &x) {
        if (!WHOLE) return dot_groups(sum, w, x);
        int both = dot_int8x16(w.q[0], x.x[0], dot_begin() + x.zero[0] + x.zero[1]);
        sum += w.d[0] * x.d[0] * dot_end(dot_int8x16(w.q[1], x.x[1], both));
        if (HAS_MIN) sum -= w.min[0] * x.s[0];
    }
    GPU_FN float value(const dot_row &row, int i) { return block_value<dot_block>(row, i); }
};

#endif
