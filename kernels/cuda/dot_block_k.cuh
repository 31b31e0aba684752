/* Weights in GGUF's blocks of 256 whose codes are integers: Q2_K Q3_K Q4_K Q5_K Q6_K.  A unit is 16 bytes of quants; of
 * Q2_K and Q3_K, where a byte has 4 codes, it is decoded in two parts.                                               */
#ifndef LR_DOT_BLOCK_K_CUH
#define LR_DOT_BLOCK_K_CUH

#include "kernels/cuda/dot_block.cuh"
#include "kernels/cuda/dot_q4_k.cuh"

GPU_FN int8x16 block_codes(const unsigned q[4], int shift, unsigned mask) {
    int8x16 codes;
    GPU_UNROLL for (int i = 0; i < 4; i++) codes.q[i] = (int)(q[i] >> shift & mask);
    return codes;
}
/* Adds bits that lie elsewhere, one a byte of `from`, or two.                                                        */
GPU_FN void block_add_bits(int8x16 &codes, const unsigned from[4], unsigned shift, unsigned mask, int place) {
    GPU_UNROLL for (int i = 0; i < 4; i++) codes.q[i] |= (int)((from[i] >> shift & mask) << place);
}

/* q4_k with the scales in front of the quants.                                                                       */
struct dot_block_q4_k : dot_q4_k {
    enum { BYTES = 144 };
    GPU_FN const uint8_t *block(const dot_row &row, unsigned unit) { return row.quants + unit / 8 * BYTES; }
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        const uint8_t *p = block(row, unit);
        return { load_weights16(p + 16 + unit % 8 * 16), load_header<uint4>(p) };
    }
    GPU_FN tile load_tile(const dot_row &row, unsigned unit, unsigned) {
        raw r = load(row, unit); /* tiles are whole */
        return { r.q, r.s };
    }
    GPU_FN float value(const dot_row &row, int i) {
        const uint8_t *p = block(row, (unsigned)i / 32);
        const dot_row one = { p + 16, p };
        return dot_q4_k::value(one, i % 256);
    }
};

/* The fifth bits of a unit are in 16 of 32 bytes, one bit for each sub-block.                                        */
struct block_q5_k {
    enum { BYTES = 176, UNITS = 8, PARTS = 1, APART = 32, ZERO = 0, HAS_MIN = 1 };
    struct fixed {
        dot_q4_k::fixed six;
        unsigned shift;
        GPU_FN fixed of(unsigned unit, unsigned) { return { dot_q4_k::fixed::of(unit, 0), unit % 8 / 2 * 2 }; }
    };
    struct raw {
        uint4 s, h, q;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { load_header<uint4>(p), load_header<uint4>(p + 16 + i % 2 * 16), load_weights16(p + 48 + 16 * i) };
    }
    GPU_FN block_weights decode(const raw &r, const fixed &f, int) {
        const unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w }, h[4] = { r.h.x, r.h.y, r.h.z, r.h.w };
        unsigned scales = dot_q4_k::scales_of(r.s, f.six);
        unsigned mins = dot_q4_k::scales_of(make_uint4(0, r.s.z, 0, r.s.w >> 4), f.six);
        float d = half_bits_to_float(r.s.x & 0xffff), dmin = half_bits_to_float(r.s.x >> 16);
        block_weights w;
        GPU_UNROLL for (int g = 0; g < 2; g++) {
            w.q[g] = block_codes(q, 4 * g, 0x0f0f0f0fu);
            block_add_bits(w.q[g], h, f.shift + (unsigned)g, 0x01010101u, 4);
            w.d[g] = d * (float)(scales >> 8 * g & 255);
            w.min[g] = dmin * (float)(mins >> 8 * g & 255);
        }
        return w;
    }
};
typedef dot_block<block_q5_k> dot_block_q5_k;

/* Sub-blocks of 16 with a scale of 8 bits each.  Low nibbles in the first 64 of 128 values, high ones in the others. */
struct block_q6_k {
    enum { BYTES = 210, UNITS = 8, PARTS = 1, APART = 64, ZERO = 32, HAS_MIN = 0 };
    struct fixed {
        unsigned shift;
        GPU_FN fixed of(unsigned unit, unsigned) { return { unit % 4 / 2 * 2 }; }
    };
    struct raw {
        span<16, 2> q, h;
        int scale[2];
        unsigned short d;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        const uint8_t *scale = p + 192 + i / 4 * 8 + i % 4;
        return { span<16, 2>::at(p + 16 * i),
                 span<16, 2>::at(p + 128 + i / 4 * 32 + i % 2 * 16),
                 { load_header<int8_t>(scale), load_header<int8_t>(scale + 4) },
                 load_header<unsigned short>(p + 208) };
    }
    GPU_FN block_weights decode(const raw &r, const fixed &f, int) {
        unsigned q[4], h[4];
        r.q.words(q);
        r.h.words(h);
        block_weights w;
        GPU_UNROLL for (int g = 0; g < 2; g++) {
            w.q[g] = block_codes(q, 4 * g, 0x0f0f0f0fu);
            block_add_bits(w.q[g], h, f.shift + 4 * (unsigned)g, 0x03030303u, 4);
            w.d[g] = half_bits_to_float(r.d) * (float)r.scale[g];
            w.min[g] = 0;
        }
        return w;
    }
};
typedef dot_block<block_q6_k> dot_block_q6_k;

/* Of Q2_K and Q3_K, unit i: half h = i / 2 of the block, and of its sub-blocks of 16 every other one from i % 2 on, in
 * the order of the bits.  Two neighbours of these are a part; where their scales lie two bytes apart in a word, one
 * shift brings both of them to the bottom of their halves.                                                           */
struct fixed_of_pairs {
    unsigned half, byte; /* of the block; shift to a byte of a word */
    GPU_FN fixed_of_pairs of(unsigned unit, unsigned) { return { unit % 4 / 2, unit % 2 * 8 }; }
};

/* Scale and min of a sub-block are nibbles of a byte.                                                                */
struct block_q2_k {
    enum { BYTES = 84, UNITS = 4, PARTS = 2, APART = 32, ZERO = 0, HAS_MIN = 1 };
    typedef fixed_of_pairs fixed;
    struct raw {
        span<16, 4> q;
        unsigned scales[2], d;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        const uint8_t *scales = p + i / 2 * 8;
        return { span<16, 4>::at(p + 16 + 16 * i),
                 { load_header<unsigned>(scales), load_header<unsigned>(scales + 4) },
                 load_header<unsigned>(p + 80) };
    }
    GPU_FN block_weights decode(const raw &r, const fixed &f, int part) {
        unsigned q[4], bytes = (part ? r.scales[1] : r.scales[0]) >> f.byte;
        r.q.words(q);
        float d = half_bits_to_float(r.d & 0xffff), dmin = half_bits_to_float(r.d >> 16);
        block_weights w;
        GPU_UNROLL for (int g = 0; g < 2; g++) {
            w.q[g] = block_codes(q, 4 * part + 2 * g, 0x03030303u);
            w.d[g] = d * (float)(bytes >> 16 * g & 15);
            w.min[g] = dmin * (float)(bytes >> (16 * g + 4) & 15);
        }
        return w;
    }
};
typedef dot_block<block_q2_k> dot_block_q2_k;

/* Third bits are apart, 32 bytes with a bit for each pair of sub-blocks.  12 bytes of scales, less 32: low nibbles of
 * the first 8 for half 0, high ones for half 1, two more bits in the last 4.  d comes after them.                    */
struct block_q3_k {
    enum { BYTES = 110, UNITS = 4, PARTS = 2, APART = 32, ZERO = 4, HAS_MIN = 0 };
    typedef fixed_of_pairs fixed;
    struct raw {
        span<16, 2> q, h;
        span<14, 2> scales;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { span<16, 2>::at(p + 32 + 16 * i), span<16, 2>::at(p + i % 2 * 16), span<14, 2>::at(p + 96) };
    }
    GPU_FN block_weights decode(const raw &r, const fixed &f, int part) {
        unsigned q[4], h[4], s[4];
        r.q.words(q);
        r.h.words(h);
        r.scales.words(s);
        unsigned low = (part ? s[1] : s[0]) >> (f.byte + 4 * f.half) & 0x000f000fu;
        unsigned scales = low | (s[2] >> (f.byte + 4 * f.half + 2 * (unsigned)part) & 0x00030003u) << 4;
        block_weights w;
        GPU_UNROLL for (int g = 0; g < 2; g++) {
            w.q[g] = block_codes(q, 4 * part + 2 * g, 0x03030303u);
            block_add_bits(w.q[g], h, 4 * f.half + 2 * (unsigned)part + (unsigned)g, 0x01010101u, 2);
            w.d[g] = half_bits_to_float(s[3] & 0xffff) * (float)((int)(scales >> 16 * g & 63) - 32);
            w.min[g] = 0;
        }
        return w;
    }
};
typedef dot_block<block_q3_k> dot_block_q3_k;

#endif
