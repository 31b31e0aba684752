/* Weights in GGUF's blocks whose codes are rows of codebooks (quant/grids.h): IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S
 * IQ1_M.  A unit is a sub-block of 32 values, four groups of 8.
 *
 * Rows are read through the cache of a multiprocessor, a load for 8 values or 4: lanes want different rows, which
 * constant memory would hand out one at a time, and up to 16 KiB of shared memory would have to be filled by every block
 * of threads before its first product.                                                                               */
#ifndef LR_DOT_BLOCK_GRID_CUH
#define LR_DOT_BLOCK_GRID_CUH

#include "kernels/cuda/dot_block.cuh"
#include "quant/grids.h"

#define GPU_GRID(name, type, n, rows, values) static __device__ const type gpu_grid_##name[n] = { rows(values) };
LR_GRIDS(GPU_GRID)
#undef GPU_GRID

/* Values by one bit of a nibble each: negative where it is set.  No value is 0, so that nothing is carried.         */
GPU_FN unsigned grid_negate(unsigned values, unsigned nibble) {
    unsigned ones = (nibble & 15) * 0x204081u & 0x01010101u;
    return (values ^ ones * 255) + ones;
}
/* Group g of a unit, in place g / 2 of its weights.                                                                 */
GPU_FN void grid_put(block_weights &w, int g, unsigned low, unsigned high) {
    w.q[g / 2].q[g % 2 * 2] = (int)low;
    w.q[g / 2].q[g % 2 * 2 + 1] = (int)high;
}
GPU_FN void grid_put_signed(block_weights &w, int g, unsigned low, unsigned high, unsigned signs) {
    grid_put(w, g, grid_negate(low, signs >> 8 * g), grid_negate(high, signs >> (8 * g + 4)));
}
GPU_FN void grid_put_signed(block_weights &w, int g, uint64_t row, unsigned signs) {
    grid_put_signed(w, g, (unsigned)row, (unsigned)(row >> 32), signs);
}

/* A word at an even address; d * (2 s + 1), d as bits.                                                              */
GPU_FN unsigned load_even_word(const uint8_t *p) {
    return load_header<unsigned short>(p) | (unsigned)load_header<unsigned short>(p + 2) << 16;
}
GPU_FN float grid_step(unsigned d, unsigned s) { return half_bits_to_float(d) * (float)(2 * s + 1); }

/* Of all: a unit's two groups of 16 columns are neighbours.                                                         */
template <int SIZE> struct block_grid {
    enum { BYTES = SIZE, UNITS = 8, PARTS = 1, APART = 16, ZERO = 0, HAS_MIN = 0 };
    typedef nothing_fixed fixed;
};

/* A scale for each of the two groups.                                                                               */
template <class B> struct dot_block_halves : dot_block<B> {
    GPU_FN void dot(float &sum, const block_weights &w, const typename dot_block<B>::input &x) {
        dot_block<B>::dot_groups(sum, w, x);
    }
};

struct block_iq2_xxs : block_grid<66> {
    struct raw {
        span<8, 2> q;
        unsigned short d;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { span<8, 2>::at(p + 2 + 8 * i), load_header<unsigned short>(p) };
    }
    GPU_FN block_weights decode(const raw &r, fixed, int) {
        block_weights w = {};
        unsigned q[2];
        r.q.words(q);
        unsigned signs = lr_even_signs(q[1]);
        GPU_UNROLL for (int g = 0; g < 4; g++)
            grid_put_signed(w, g, __ldg(gpu_grid_iq2_xxs + (q[0] >> 8 * g & 255)), signs);
        w.d[0] = w.d[1] = grid_step(r.d, q[1] >> 28) * 0.125f;
        return w;
    }
};
typedef dot_block<block_iq2_xxs> dot_block_iq2_xxs;

struct block_iq2_xs : block_grid<74> {
    struct raw {
        span<8, 2> q;
        unsigned short d;
        unsigned char s;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { span<8, 2>::at(p + 2 + 8 * i), load_header<unsigned short>(p), load_header<uint8_t>(p + 66 + i) };
    }
    GPU_FN block_weights decode(const raw &r, fixed, int) {
        block_weights w = {};
        unsigned q[2];
        r.q.words(q);
        unsigned signs = lr_even_signs((q[0] >> 9 & 0x7f) | (q[0] >> 18 & 0x3f80) | (q[1] << 5 & 0x1fc000) |
                                       (q[1] >> 4 & 0xfe00000));
        GPU_UNROLL for (int g = 0; g < 4; g++)
            grid_put_signed(w, g, __ldg(gpu_grid_iq2_xs + (q[g / 2] >> 16 * (g % 2) & 511)), signs);
        GPU_UNROLL for (int g = 0; g < 2; g++) w.d[g] = grid_step(r.d, r.s >> 4 * g & 15u) * 0.125f;
        return w;
    }
};
typedef dot_block_halves<block_iq2_xs> dot_block_iq2_xs;

struct block_iq2_s : block_grid<82> {
    struct raw {
        unsigned q, signs;
        unsigned short d;
        unsigned char high, s;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { load_even_word(p + 2 + 4 * i), load_even_word(p + 34 + 4 * i), load_header<unsigned short>(p),
                 load_header<uint8_t>(p + 66 + i), load_header<uint8_t>(p + 74 + i) };
    }
    GPU_FN block_weights decode(const raw &r, fixed, int) {
        block_weights w = {};
        GPU_UNROLL for (int g = 0; g < 4; g++) {
            unsigned row = (r.q >> 8 * g & 255) | ((unsigned)r.high << (8 - 2 * g) & 768);
            grid_put_signed(w, g, __ldg(gpu_grid_iq2_s + row), r.signs);
        }
        GPU_UNROLL for (int g = 0; g < 2; g++) w.d[g] = grid_step(r.d, r.s >> 4 * g & 15u) * 0.125f;
        return w;
    }
};
typedef dot_block_halves<block_iq2_s> dot_block_iq2_s;

struct block_iq3_xxs : block_grid<98> {
    struct raw {
        span<8, 2> q;
        unsigned word;
        unsigned short d;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { span<8, 2>::at(p + 2 + 8 * i), load_even_word(p + 66 + 4 * i), load_header<unsigned short>(p) };
    }
    GPU_FN block_weights decode(const raw &r, fixed, int) {
        block_weights w = {};
        unsigned q[2], signs = lr_even_signs(r.word);
        r.q.words(q);
        GPU_UNROLL for (int g = 0; g < 4; g++) {
            unsigned rows = q[g / 2] >> 16 * (g % 2);
            grid_put_signed(w, g, __ldg(gpu_grid_iq3_xxs + (rows & 255)),
                            __ldg(gpu_grid_iq3_xxs + (rows >> 8 & 255)), signs);
        }
        w.d[0] = w.d[1] = grid_step(r.d, r.word >> 28) * 0.25f;
        return w;
    }
};
typedef dot_block<block_iq3_xxs> dot_block_iq3_xxs;

struct block_iq3_s : block_grid<110> {
    struct raw {
        span<8, 2> q;
        unsigned signs;
        unsigned short d;
        unsigned char high, s;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { span<8, 2>::at(p + 2 + 8 * i), load_even_word(p + 74 + 4 * i), load_header<unsigned short>(p),
                 load_header<uint8_t>(p + 66 + i),
                 (unsigned char)(load_header<uint8_t>(p + 106 + i / 2) >> 4 * (i % 2) & 15) };
    }
    GPU_FN block_weights decode(const raw &r, fixed, int) {
        block_weights w = {};
        unsigned q[2];
        r.q.words(q);
        GPU_UNROLL for (int g = 0; g < 4; g++) {
            unsigned rows = q[g / 2] >> 16 * (g % 2), ninth = (unsigned)r.high << (8 - 2 * g);
            grid_put_signed(w, g, __ldg(gpu_grid_iq3_s + ((rows & 255) | (ninth & 256))),
                            __ldg(gpu_grid_iq3_s + ((rows >> 8 & 255) | (ninth >> 1 & 256))), r.signs);
        }
        w.d[0] = w.d[1] = grid_step(r.d, r.s);
        return w;
    }
};
typedef dot_block<block_iq3_s> dot_block_iq3_s;

/* Codes as in the codebook, LR_IQ1_ZERO above the values.  Of `high`: bits from a group's part of its index to the next
 * one's, the bit that shifts group 0 down, and bits from there to that of the next group.                            */
GPU_FN void grid_put_iq1(block_weights &w, unsigned q, unsigned high, int step, int down, int down_step) {
    GPU_UNROLL for (int g = 0; g < 4; g++) {
        uint64_t row = __ldg(gpu_grid_iq1 + ((q >> 8 * g & 255) | (high >> step * g & 7) << 8));
        unsigned up = (high >> (down + down_step * g) & 1) ? 0 : 0x01010101u * LR_IQ1_UP;
        grid_put(w, g, (unsigned)row | up, (unsigned)(row >> 32) | up);
    }
}

struct block_iq1_s : block_grid<50> {
    enum { ZERO = LR_IQ1_ZERO };
    struct raw {
        unsigned q;
        unsigned short high, d;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { load_even_word(p + 2 + 4 * i), load_header<unsigned short>(p + 34 + 2 * i),
                 load_header<unsigned short>(p) };
    }
    GPU_FN block_weights decode(const raw &r, fixed, int) {
        block_weights w = {};
        grid_put_iq1(w, r.q, r.high, 3, 15, 0);
        w.d[0] = w.d[1] = grid_step(r.d, r.high >> 12 & 7u) * 0.125f;
        return w;
    }
};
typedef dot_block<block_iq1_s> dot_block_iq1_s;

struct block_iq1_m : block_grid<56> {
    enum { ZERO = LR_IQ1_ZERO };
    struct raw {
        uint2 scales;
        unsigned q;
        unsigned short high, i;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        return { load_header<uint2>(p + 48), load_header<unsigned>(p + 4 * i),
                 load_header<unsigned short>(p + 32 + 2 * i), (unsigned short)i };
    }
    GPU_FN block_weights decode(const raw &r, fixed, int) {
        block_weights w = {};
        unsigned x = r.scales.x, y = r.scales.y;
        unsigned d = (x >> 12 & 0xf) | (x >> 24 & 0xf0) | (y >> 4 & 0xf00) | (y >> 16 & 0xf000);
        unsigned six = (r.i & 4 ? y : x) >> (r.i / 2 % 2 * 16 + r.i % 2 * 6);
        grid_put_iq1(w, r.q, r.high, 4, 3, 4);
        GPU_UNROLL for (int g = 0; g < 2; g++) w.d[g] = grid_step(d, six >> 3 * g & 7) * 0.125f;
        return w;
    }
};
typedef dot_block_halves<block_iq1_m> dot_block_iq1_m;

#endif
