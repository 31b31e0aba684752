/* Weights in GGUF's blocks of 32 whose codes are integers: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0.  A unit is a block.             */
#ifndef LR_DOT_BLOCK_32_CUH
#define LR_DOT_BLOCK_32_CUH

#include "kernels/cuda/dot_block.cuh"

/* d, then m if there is a min, then 32 fifth bits if there are any, then the codes: of 4 bits, element j in the low
 * nibble of byte j and j + 16 in the high one, or of 8.  m is added.                                                 */
template <int SIZE, int BITS, int MIN> struct block_32 {
    enum {
        BYTES = SIZE, UNITS = 1, PARTS = 1, APART = 16, HAS_MIN = MIN,
        ZERO = MIN || BITS == 8 ? 0 : 1 << (BITS - 1), ALIGN = SIZE & -SIZE,
        QUANT_BYTES = BITS == 8 ? 32 : 16, QUANTS_AT = SIZE - QUANT_BYTES, FIFTH_AT = QUANTS_AT - 4
    };
    typedef nothing_fixed fixed;
    struct raw {
        span<QUANT_BYTES, (ALIGN < 8 ? ALIGN : 8)> q;
        unsigned head, fifth;
    };
    GPU_FN raw read(const uint8_t *p, unsigned) {
        raw r = { decltype(raw::q)::at(p + QUANTS_AT), 0, 0 };
        r.head = MIN ? load_header<unsigned>(p) : load_header<unsigned short>(p);
        if (BITS == 5)
            r.fifth = ALIGN >= 4 ? load_header<unsigned>(p + FIFTH_AT)
                                 : load_header<unsigned short>(p + FIFTH_AT) |
                                       (unsigned)load_header<unsigned short>(p + FIFTH_AT + 2) << 16;
        return r;
    }
    /* Bits i .. i + 3 become the fifth of the codes in a word: a product that leaves a copy of them every 7 bits.    */
    GPU_FN unsigned spread(unsigned bits, int i) { return (bits >> i & 15) * 0x02040810u & 0x10101010u; }
    GPU_FN block_weights decode(const raw &r, fixed, int) {
        block_weights w = {};
        unsigned q[QUANT_BYTES / 4];
        r.q.words(q);
        if constexpr (BITS == 8) {
            GPU_UNROLL for (int i = 0; i < 8; i++) w.q[i / 4].q[i % 4] = (int)q[i];
        } else {
            GPU_UNROLL for (int i = 0; i < 4; i++) {
                unsigned low = q[i] & 0x0f0f0f0fu, high = q[i] >> 4 & 0x0f0f0f0fu;
                if (BITS == 5) low |= spread(r.fifth, 4 * i), high |= spread(r.fifth, 16 + 4 * i);
                w.q[0].q[i] = (int)low;
                w.q[1].q[i] = (int)high;
            }
        }
        w.d[0] = w.d[1] = half_bits_to_float(r.head & 0xffff);
        if (MIN) w.min[0] = w.min[1] = -half_bits_to_float(r.head >> 16);
        return w;
    }
};

typedef dot_block<block_32<18, 4, false>> dot_block_q4_0;
typedef dot_block<block_32<20, 4, true>> dot_block_q4_1;
typedef dot_block<block_32<22, 5, false>> dot_block_q5_0;
typedef dot_block<block_32<24, 5, true>> dot_block_q5_1;
typedef dot_block<block_32<34, 8, false>> dot_block_q8_0;

#endif
