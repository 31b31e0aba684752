/* Weights in GGUF's blocks whose codes are places in a table, 32 with a scale in common: IQ4_NL, MXFP4, and IQ4_XS,
 * which has eight times that in a block.                                                                             */
#ifndef LR_DOT_BLOCK_TABLE_CUH
#define LR_DOT_BLOCK_TABLE_CUH

#include "kernels/cuda/dot_block.cuh"

/* Bytes of the table for 8 codes: those of the low nibbles, those of the high ones.                                  */
GPU_FN void table_bytes(const byte_table &t, unsigned codes, int &low, int &high) {
    unsigned index = codes & 0x77777777u, upper = (codes >> 1 & 0x44444444u) | 0x32103210u, bytes[2];
    GPU_UNROLL for (int i = 0; i < 2; i++) {
        unsigned below = __byte_perm(t.bytes[0], t.bytes[1], index >> 16 * i & 0xffff);
        unsigned above = __byte_perm(t.bytes[2], t.bytes[3], index >> 16 * i & 0xffff);
        bytes[i] = __byte_perm(below, above, upper >> 16 * i & 0xffff);
    }
    low = (int)__byte_perm(bytes[0], bytes[1], 0x6420);
    high = (int)__byte_perm(bytes[0], bytes[1], 0x7531);
}

/* Scale::BYTES and UNITS of a block, where its codes begin, their ALIGN; its table, and the scale of unit i.  Element j
 * of a unit is in the low nibble of byte j, j + 16 in the high one.                                                  */
template <class Scale> struct block_table : Scale {
    enum { PARTS = 1, APART = 16, ZERO = 0, HAS_MIN = 0 };
    struct fixed {
        byte_table table;
        GPU_FN fixed of(unsigned, unsigned zero) { return { in_registers(Scale::table(), zero) }; }
    };
    typedef span<16, Scale::ALIGN> codes;
    struct raw {
        codes q;
        typename Scale::head head;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { codes::at(p + Scale::CODES_AT + 16 * i), Scale::load(p, i) };
    }
    GPU_FN block_weights decode(const raw &r, const fixed &f, int) {
        block_weights w = {};
        unsigned q[4];
        r.q.words(q);
        GPU_UNROLL for (int i = 0; i < 4; i++) table_bytes(f.table, q[i], w.q[0].q[i], w.q[1].q[i]);
        w.d[0] = w.d[1] = Scale::scale(r.head);
        return w;
    }
};

/* -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113.                                                      */
GPU_FN byte_table iq4_nl_table() { return { { 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u } }; }

struct scale_iq4_nl {
    enum { BYTES = 18, UNITS = 1, CODES_AT = 2, ALIGN = 2 };
    typedef unsigned short head;
    GPU_FN byte_table table() { return iq4_nl_table(); }
    GPU_FN head load(const uint8_t *p, unsigned) { return load_header<unsigned short>(p); }
    GPU_FN float scale(head d) { return half_bits_to_float(d); }
};

/* The table is twice E2M1; so the scale 2^(e - 127) is halved.                                                       */
struct scale_mxfp4 {
    enum { BYTES = 17, UNITS = 1, CODES_AT = 1, ALIGN = 1 };
    typedef unsigned head;
    GPU_FN byte_table table() { return { { 0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu } }; }
    GPU_FN head load(const uint8_t *p, unsigned) { return load_header<uint8_t>(p); }
    GPU_FN float scale(head e) {
        unsigned bits = e >= 2 ? (e - 1) << 23 : 0x200000u << e;
        return __int_as_float((int)(e == 255 ? 0x7fc00000u : bits));
    }
};

/* d, then two high bits for each unit's scale of 6, then their low nibbles.                                          */
struct scale_iq4_xs {
    enum { BYTES = 136, UNITS = 8, CODES_AT = 8, ALIGN = 8 };
    struct head {
        unsigned d, bits;
    };
    GPU_FN byte_table table() { return iq4_nl_table(); }
    GPU_FN head load(const uint8_t *p, unsigned i) {
        uint2 v = load_header<uint2>(p);
        return { v.x & 0xffff, (v.x >> (16 + 2 * i) & 3) << 4 | (v.y >> 4 * i & 15) };
    }
    GPU_FN float scale(const head &h) { return half_bits_to_float(h.d) * (float)((int)h.bits - 32); }
};

typedef dot_block<block_table<scale_iq4_nl>> dot_block_iq4_nl;
typedef dot_block<block_table<scale_mxfp4>> dot_block_mxfp4;
typedef dot_block<block_table<scale_iq4_xs>> dot_block_iq4_xs;

#endif
