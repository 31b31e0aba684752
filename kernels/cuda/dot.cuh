/* Dot products of weight rows with activations: what every format's header (dot_<format>.cuh) is made of, and the list
 * of formats.  A kernel walks a row in units of 16 bytes of quants; a format says
 *
 *   VALUES             weights in a unit
 *   raw, load          what a lane reads of a unit
 *   fixed              what stays the same on a lane's walk, which keeps unit % 32
 *   weights, decode    what was read, ready to multiply: decoded once for all tokens
 *   input, load_input  the activations that a unit meets: read once for all rows
 *   dot                their product, added to a sum
 *   value              one weight of a row
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
/* One row of activations.                                                                                            */
struct dot_input {
    const void *values;
    const float *d, *s;
};

/* Weights are read once: they must not push the activations out of the cache.                                        */
GPU_FN uint4 load_weights16(const uint8_t *p) { return __ldcs((const uint4 *)p); }
template <class T> GPU_FN T load_scale(const uint8_t *scales, unsigned i) { return __ldg((const T *)scales + i); }
GPU_FN float half_bits_to_float(unsigned bits) { return __half2float(__ushort_as_half((unsigned short)bits)); }

/* ---- int8 activations ---- */

struct int8x16 {
    int q[4];
};
GPU_FN int8x16 load_int8x16(const dot_input &x, unsigned i) {
    int4 v = __ldg((const int4 *)((const int8_t *)x.values + i));
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
/* Weights that come from a table are two addends: the bytes of the codes below 8, and those of the others.            */
struct int8x16_split {
    int8x16 below, above;
};
/* Entries i and i + 1 for 8 codes, lowest first.  A byte permutation whose selector has its high bit set repeats the sign
 * of a byte: where a code is in the other half, `below` gets 0 or, from negative bytes, -1, `above` gets 0.           */
GPU_FN void lookup_bytes(const byte_table &t, unsigned codes, int8x16_split &w, int i) {
    unsigned others = codes ^ 0x88888888u;
    w.below.q[i] = (int)__byte_perm(t.bytes[0], t.bytes[1], codes);
    w.above.q[i] = (int)__byte_perm(t.bytes[2], t.bytes[3], others);
    w.below.q[i + 1] = (int)__byte_perm(t.bytes[0], t.bytes[1], codes >> 16);
    w.above.q[i + 1] = (int)__byte_perm(t.bytes[2], t.bytes[3], others >> 16);
}
GPU_FN int dot_int8x16(const int8x16_split &w, const int8x16 &x, int sum) {
    return dot_int8x16(w.above, x, dot_int8x16(w.below, x, sum));
}
/* Bytes of two registers in turn, a0 b0 a1 b1 and a2 b2 a3 b3: the order in which a lookup leaves low and high nibbles. */
GPU_FN void interleave(int &a, int &b) {
    unsigned low = __byte_perm((unsigned)a, (unsigned)b, 0x5140);
    b = (int)__byte_perm((unsigned)a, (unsigned)b, 0x7362);
    a = (int)low;
}

#endif
