/* Dot products of weight rows with activations: what every format's header (dot_<format>.cuh) is made of, and the list
 * of formats.  A kernel walks a row in units of 16 bytes of quants; a format says
 *
 *   VALUES             weights in a unit
 *   raw, load          what a lane reads of a unit
 *   weights, decode    the same, ready to multiply: decoded once for all tokens
 *   input, load_input  the activations that a unit meets: read once for all rows
 *   dot                their product, added to a sum
 *   value              one weight of a row
 *
 * Activations are f32 for plain weights and int8 blocks for quantized ones (lr_gpu_act).                             */
#ifndef LR_DOT_CUH
#define LR_DOT_CUH

#include "kernels/cuda/device.h"

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
template <class T> GPU_FN T load_scale(const uint8_t *scales, int i) { return __ldg((const T *)scales + i); }
GPU_FN float half_bits_to_float(unsigned bits) { return __half2float(__ushort_as_half((unsigned short)bits)); }

/* ---- int8 activations ---- */

struct int8x16 {
    int q[4];
};
GPU_FN int8x16 load_int8x16(const dot_input &x, int i) {
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

/* Byte of a table of 16 for each of the 8 codes in q, lowest first.                                                   */
GPU_FN void lookup_bytes(const unsigned table[4], unsigned q, int &low, int &high) {
    unsigned index = q & 0x77777777u, upper_half = (q & 0x88888888u) >> 1 | 0x32103210u;
    low = (int)__byte_perm(__byte_perm(table[0], table[1], index), __byte_perm(table[2], table[3], index), upper_half);
    index >>= 16, upper_half >>= 16;
    high = (int)__byte_perm(__byte_perm(table[0], table[1], index), __byte_perm(table[2], table[3], index), upper_half);
}
/* Bytes of two registers in turn, a0 b0 a1 b1 and a2 b2 a3 b3: the order in which lookup_bytes leaves codes of two.   */
GPU_FN void interleave(int &a, int &b) {
    unsigned low = __byte_perm((unsigned)a, (unsigned)b, 0x5140);
    b = (int)__byte_perm((unsigned)a, (unsigned)b, 0x7362);
    a = (int)low;
}

#endif
