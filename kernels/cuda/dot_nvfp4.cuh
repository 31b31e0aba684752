/* Weights in blocks of NVFP4, with a factor for each row beside them (nvfp4) or without.  36 bytes: scales of four groups
 * of 16 columns, and 8 bytes of codes for each, byte j with columns j (low nibble) and j + 8.  A unit is two groups that
 * are 32 columns apart.                                                                                              */
#ifndef LR_DOT_NVFP4_CUH
#define LR_DOT_NVFP4_CUH

#include "kernels/cuda/dot_block_table.cuh"

struct block_nvfp4 {
    enum { BYTES = 36, UNITS = 2, PARTS = 1, APART = 32, ZERO = 0, HAS_MIN = 0 };
    struct fixed {
        byte_table table;
        GPU_FN fixed of(unsigned, unsigned zero) { return { in_registers(scale_mxfp4::table(), zero) }; }
    };
    typedef span<8, 4> codes;
    struct raw {
        codes q[2];
        unsigned scales; /* bytes 0 and 2 */
        float factor;
    };
    GPU_FN raw read(const uint8_t *p, unsigned i) {
        const uint8_t *q = p + 4 + 8 * i;
        return { { codes::at(q), codes::at(q + 16) }, load_header<unsigned>(p) >> 8 * i, 1.0f };
    }
    /* Half of it, as the table is twice E2M1.  The seven bits at the place of those of an f16 are the scale times 2^-8. */
    GPU_FN float scale(unsigned byte) {
        unsigned bits = byte & 0x7f;
        return half_bits_to_float(bits == 0x7f ? 0 : bits << 7) * 128.0f;
    }
    GPU_FN block_weights decode(const raw &r, const fixed &f, int) {
        block_weights w = {};
        GPU_UNROLL for (int g = 0; g < 2; g++) {
            unsigned q[2];
            r.q[g].words(q);
            GPU_UNROLL for (int i = 0; i < 2; i++) table_bytes(f.table, q[i], w.q[g].q[i], w.q[g].q[i + 2]);
            w.d[g] = scale(r.scales >> 16 * g) * r.factor;
        }
        return w;
    }
};

struct dot_nvfp4 : dot_block<block_nvfp4> {
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        raw r = dot_block::load(row, unit);
        if (row.scales) r.factor = load_scale<float>(row.scales, 0);
        return r;
    }
    GPU_FN float value(const dot_row &row, int i) { return block_value<dot_nvfp4>(row, i); }
};

#endif
