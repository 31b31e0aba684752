/* fp8 weights (E4M3) with f32 activations: a unit is a quarter of a block of 64.                                      */
#ifndef LR_DOT_FP8_CUH
#define LR_DOT_FP8_CUH

#include "kernels/cuda/dot_float.cuh"

/* Bytes 0 and 1, or 2 and 3, of q as two f16, 2^8 times too small: the fields of E4M3 at another bias.                */
GPU_FN unsigned fp8_halves(unsigned q, bool upper) {
    unsigned high = __byte_perm(q, 0, upper ? 0x3424 : 0x1404); /* each in the high byte of a half */
    return (high & 0x80008000u) | (high >> 1 & 0x3f803f80u);
}

struct dot_fp8 : dot_fours<16> {
    struct raw {
        uint4 q;
        float d;
    };
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<float>(row.scales, unit / 4) };
    }
    GPU_FN weights decode(const raw &r, fixed, int part) {
        const unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w };
        float d = 256.0f * r.d;
        weights w;
        GPU_UNROLL for (int i = 0; i < 2; i++) {
            unsigned two = fp8_halves(q[part], i);
            w.w[2 * i] = half_bits_to_float(two & 0xffff) * d;
            w.w[2 * i + 1] = half_bits_to_float(two >> 16) * d;
        }
        return w;
    }
    GPU_FN float value(const dot_row &row, int i) {
        return half_bits_to_float(fp8_halves(row.quants[i], false) & 0xffff) * 256.0f * ((const float *)row.scales)[i / 64];
    }
};

#endif
