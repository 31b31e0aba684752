/* Dot products of weight rows with activations: what every format's header (dot_<format>.cuh) is made of, and the list
 * of formats.  A kernel walks a row in units of 16 bytes of quants; a format says
 *
 *   VALUES, PARTS      weights in a unit; parts in which they are decoded
 *   raw, load          what a lane reads of a unit
 *   fixed              what stays the same on a lane's walk, which keeps unit % 32
 *   weights, decode    what was read, ready to multiply: decoded once for all tokens
 *   input, load_input  the activations that a unit meets: read once for all rows
 *   dot                their product, added to a sum
 *   value              one weight of a row
 *
 * Formats of 4 bits have a second set for tensor cores, which take over from TILE_FROM tokens on (others: never).  4
 * lanes read 64 bytes of a row, a tile of TILE_BLOCKS blocks of 32 values.  TILE_HAS_MIN: weights have a min.
 * TILE_ALIGNED: rows are made of so many blocks, whose scales of activations are read at once.
 *
 *   tile, load_tile    what a lane reads of one row: its 16 bytes, and the scales of all blocks
 *   spread             gives each of the 4 lanes 8 values of every block
 *   tile_input         the activations of one block for these 8 values
 *   multiply           exact products of a block: 16 rows, of two tiles a lane, by 8 tokens, as mma leaves them
 *   tile_scales        of a block: weight = d * integer - min
 *
 * Activations are f32 for plain weights and int8 blocks for quantized ones (lr_gpu_act).                             */
#ifndef LR_DOT_CUH
#define LR_DOT_CUH

#include "kernels/cuda/device.h"

struct nothing_fixed {
    GPU_FN nothing_fixed of(unsigned, unsigned) { return {}; }
};

struct dot_row {
    const uint8_t *quants, *scales;
};
/* One row of activations: base addresses of all rows, and where this one is, in bytes and in floats.  Offsets of 32 bits
 * take half the registers of addresses, and a lane has those of many rows.                                           */
struct dot_input {
    const uint8_t *values;
    const float *d, *s;
    unsigned at, d_at;
};
template <class T> GPU_FN T load_values(const dot_input &x, unsigned byte) {
    return __ldg((const T *)(x.values + (x.at + byte)));
}
template <class T = float> GPU_FN T load_d(const dot_input &x, unsigned i) {
    return __ldg((const T *)(x.d + (x.d_at + i)));
}
GPU_FN float load_s(const dot_input &x, unsigned i) { return __ldg(x.s + (x.d_at + i)); }

/* Weights are read once: they must not push the activations out of the cache.                                        */
GPU_FN uint4 load_weights16(const uint8_t *p) { return __ldcs((const uint4 *)p); }
template <class T> GPU_FN T load_scale(const uint8_t *scales, unsigned i) { return __ldg((const T *)scales + i); }
GPU_FN float half_bits_to_float(unsigned bits) { return __half2float(__ushort_as_half((unsigned short)bits)); }

/* ---- int8 activations ---- */

struct int8x16 {
    int q[4];
};
GPU_FN int8x16 load_int8x16(const dot_input &x, unsigned i) {
    int4 v = load_values<int4>(x, i);
    return { { v.x, v.y, v.z, v.w } };
}

/* Sum of 16 products, exact.  The integer sum starts as the bits of 1.5 * 2^23 and stays in its mantissa: a float
 * subtraction then converts it, which is cheaper than the conversion instruction.                                    */
GPU_FN int dot_begin() { return 0x4b400000; }
GPU_FN float dot_end(int sum) { return __int_as_float(sum) - 12582912.0f; }
GPU_FN int dot_int8x16(const int8x16 &w, const int8x16 &x, int sum) {
    GPU_UNROLL for (int j = 0; j < 4; j++) sum = __dp4a(w.q[j], x.q[j], sum);
    return sum;
}

/* A table of 16 bytes in 4 registers.  zero is 0, which the compiler must not know: it would load the constants anew at
 * each use.                                                                                                          */
struct byte_table {
    unsigned bytes[4];
};
GPU_FN byte_table in_registers(byte_table t, unsigned zero) {
    GPU_UNROLL for (int i = 0; i < 4; i++) t.bytes[i] += zero;
    return t;
}
/* Weights that come from a table are two addends: the bytes of the codes below 8, and those of the others.           */
struct int8x16_split {
    int8x16 below, above;
};
/* Entries i and i + 1 for 8 codes, lowest first.  A byte permutation whose selector has its high bit set repeats the
 * sign of a byte: where a code is in the other half, `below` gets 0 or, from negative bytes, -1, `above` gets 0.     */
GPU_FN void lookup_bytes(const byte_table &t, unsigned codes, int8x16_split &w, int i) {
    unsigned others = codes ^ 0x88888888u;
    w.below.q[i] = (int)permute_bytes(t.bytes[0], t.bytes[1], codes);
    w.above.q[i] = (int)permute_bytes(t.bytes[2], t.bytes[3], others);
    w.below.q[i + 1] = (int)permute_bytes(t.bytes[0], t.bytes[1], codes >> 16);
    w.above.q[i + 1] = (int)permute_bytes(t.bytes[2], t.bytes[3], others >> 16);
}
GPU_FN int dot_int8x16(const int8x16_split &w, const int8x16 &x, int sum) {
    return dot_int8x16(w.above, x, dot_int8x16(w.below, x, sum));
}
/* Bytes of two registers in turn, a0 b0 a1 b1 and a2 b2 a3 b3: the order in which a lookup leaves low and high
 * nibbles.                                                                                                           */
GPU_FN void interleave(int &a, int &b) {
    unsigned low = __byte_perm((unsigned)a, (unsigned)b, 0x5140);
    b = (int)__byte_perm((unsigned)a, (unsigned)b, 0x7362);
    a = (int)low;
}

/* ---- tiles for tensor cores: lane l has rows l / 4 and l / 4 + 8, and 16 of the 64 bytes of each ---- */

struct tile_scales {
    float d, min;
};

/* 4 lanes with 16 bytes each.  halves: the two lanes 2 apart share their first and second halves, so that x and y of
 * all lanes are of the first two lanes' bytes, z and w of the others'.  words: then every lane has one word of each. */
GPU_FN void spread_halves(uint4 &q) {
    bool upper = threadIdx.x & 2;
    unsigned a = __shfl_xor_sync(GPU_FULL_WARP, upper ? q.x : q.z, 2);
    unsigned b = __shfl_xor_sync(GPU_FULL_WARP, upper ? q.y : q.w, 2);
    if (upper)
        q.x = a, q.y = b;
    else
        q.z = a, q.w = b;
}
GPU_FN void spread_words(uint4 &q) {
    bool upper = threadIdx.x & 1;
    spread_halves(q);
    unsigned a = __shfl_xor_sync(GPU_FULL_WARP, upper ? q.x : q.y, 1);
    unsigned b = __shfl_xor_sync(GPU_FULL_WARP, upper ? q.z : q.w, 1);
    if (upper)
        q.x = a, q.z = b;
    else
        q.y = a, q.w = b;
}
GPU_FN uint4 load_tile16(const dot_row &row, unsigned unit, unsigned units) {
    return unit < units ? load_weights16(row.quants + 16 * unit) : make_uint4(0, 0, 0, 0);
}

/* The activations that meet a lane's 8 bytes of a block after spread_halves.                                         */
GPU_FN uint2 load_tile_input(const dot_input &x, unsigned block) {
    unsigned t = threadIdx.x % 4;
    return load_values<uint2>(x, 32 * block + 16 * (t & 1) + 8 * (t >> 1));
}
GPU_FN void interleave(uint2 &v) {
    unsigned low = __byte_perm(v.x, v.y, 0x5140);
    v.y = __byte_perm(v.x, v.y, 0x7362);
    v.x = low;
}

/* v[b] = p[first + b], or of some block up to last where first + b is beyond it.                                     */
template <int BLOCKS, int ALIGNED>
GPU_FN void load_of_blocks(float v[BLOCKS], const float *p, unsigned first, unsigned last) {
    GPU_UNROLL for (unsigned b = 0; b < BLOCKS; b += ALIGNED) {
        const float *from = p + min(first + b, last + 1 - ALIGNED);
        if (ALIGNED == 4) {
            float4 four = __ldg((const float4 *)from);
            v[b] = four.x, v[b + 1] = four.y, v[b + 2] = four.z, v[b + 3] = four.w;
        } else if (ALIGNED == 2) {
            float2 two = __ldg((const float2 *)from);
            v[b] = two.x, v[b + 1] = two.y;
        } else {
            v[b] = __ldg(from);
        }
    }
}

/* sums += 16 rows x 32 values by 32 values x 8 tokens: of each row's 32 values a lane has these two words.           */
GPU_FN void multiply_block(int sums[4], const unsigned row[2], const unsigned row8[2], const uint2 &x) {
    const unsigned a[4] = { row[0], row8[0], row[1], row8[1] }, b[2] = { x.x, x.y };
    mma_m16n8k32_s8(sums, a, b, sums);
}
GPU_FN void multiply_begin(int sums[4]) { GPU_UNROLL for (int i = 0; i < 4; i++) sums[i] = dot_begin(); }
GPU_FN void multiply_end(float products[4], const int sums[4]) {
    GPU_UNROLL for (int i = 0; i < 4; i++) products[i] = dot_end(sums[i]);
}
/* With the bytes of a table in two addends.                                                                          */
GPU_FN void multiply_codes(float products[4], const byte_table &t, unsigned codes, unsigned codes8, const uint2 &x) {
    int8x16_split w, w8;
    int sums[4];
    lookup_bytes(t, codes, w, 0);
    lookup_bytes(t, codes8, w8, 0);
    multiply_begin(sums);
    multiply_block(sums, (const unsigned *)w.below.q, (const unsigned *)w8.below.q, x);
    multiply_block(sums, (const unsigned *)w.above.q, (const unsigned *)w8.above.q, x);
    multiply_end(products, sums);
}

#endif
