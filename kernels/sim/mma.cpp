/* Emulation of the tensor-core instructions: gather the fragments of 32 lanes into matrices, multiply, scatter.  The
 * register layouts are those of kernels/cuda/ptx.cuh.  Never instrumented for TSan: lanes exchange registers here.   */
#include "kernels/sim/cuda_bf16.h"
#include "kernels/sim/cuda_fp16.h"
#include "kernels/sim/execution.h"

namespace simgpu {

static void need_full_warp(unsigned mask, const char *what) {
    if (mask != ~0u) kernel_defect("%s needs all 32 lanes (mask %08x)", what, mask);
}

/* ---- m16n8k16, 16-bit inputs ---- */

struct float_fragments {
    const unsigned *a, *b;
    const float *c;
    float *d;
};

template <float to_float(uint16_t)> static void multiply_16(unsigned mask, void **args) {
    uint16_t a_bits[16][16], b_bits[8][16]; /* b by column: two neighbours in k share a register */
    float a[16][16], b[16][8], c[16][8];
    need_full_warp(mask, "mma.m16n8k16");
    for (int lane = 0; lane < 32; lane++) {
        const float_fragments *f = (const float_fragments *)args[lane];
        int g = lane / 4, t = lane % 4 * 2;
        memcpy(&a_bits[g][t], &f->a[0], 4);
        memcpy(&a_bits[g + 8][t], &f->a[1], 4);
        memcpy(&a_bits[g][t + 8], &f->a[2], 4);
        memcpy(&a_bits[g + 8][t + 8], &f->a[3], 4);
        memcpy(&b_bits[g][t], &f->b[0], 4);
        memcpy(&b_bits[g][t + 8], &f->b[1], 4);
        memcpy(&c[g][t], f->c, 8);
        memcpy(&c[g + 8][t], f->c + 2, 8);
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++) a[i][k] = to_float(a_bits[i][k]);
    for (int k = 0; k < 16; k++)
        for (int j = 0; j < 8; j++) b[k][j] = to_float(b_bits[j][k]);
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) c[i][j] += a[i][k] * b[k][j];
    for (int lane = 0; lane < 32; lane++) {
        float_fragments *f = (float_fragments *)args[lane];
        int g = lane / 4, t = lane % 4 * 2;
        memcpy(f->d, &c[g][t], 8);
        memcpy(f->d + 2, &c[g + 8][t], 8);
    }
}

void mma_f16(float *d, const unsigned *a, const unsigned *b, const float *c, const char *file, int line) {
    float_fragments f = { a, b, c, d };
    collective(~0u, multiply_16<simgpu_half_to_float>, &f, "mma_m16n8k16_f16", false, file, line);
}

void mma_bf16(float *d, const unsigned *a, const unsigned *b, const float *c, const char *file, int line) {
    float_fragments f = { a, b, c, d };
    collective(~0u, multiply_16<simgpu_bf16_to_float>, &f, "mma_m16n8k16_bf16", false, file, line);
}

/* ---- m16n8k32, signed bytes ---- */

struct int_fragments {
    const unsigned *a, *b;
    const int *c;
    int *d;
};

static void multiply_s8(unsigned mask, void **args) {
    int8_t a[16][32], b[8][32];
    int c[16][8];
    need_full_warp(mask, "mma.m16n8k32");
    for (int lane = 0; lane < 32; lane++) {
        const int_fragments *f = (const int_fragments *)args[lane];
        int g = lane / 4, t = lane % 4;
        memcpy(&a[g][4 * t], &f->a[0], 4);
        memcpy(&a[g + 8][4 * t], &f->a[1], 4);
        memcpy(&a[g][4 * t + 16], &f->a[2], 4);
        memcpy(&a[g + 8][4 * t + 16], &f->a[3], 4);
        memcpy(&b[g][4 * t], &f->b[0], 4);
        memcpy(&b[g][4 * t + 16], &f->b[1], 4);
        memcpy(&c[g][2 * t], f->c, 8);
        memcpy(&c[g + 8][2 * t], f->c + 2, 8);
    }
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            int sum = 0; /* 32 products of bytes: exact */
            for (int k = 0; k < 32; k++) sum += a[i][k] * b[j][k];
            c[i][j] = (int)((unsigned)c[i][j] + (unsigned)sum); /* wraps, as the instruction does */
        }
    for (int lane = 0; lane < 32; lane++) {
        int_fragments *f = (int_fragments *)args[lane];
        int g = lane / 4, t = lane % 4 * 2;
        memcpy(f->d, &c[g][t], 8);
        memcpy(f->d + 2, &c[g + 8][t], 8);
    }
}

void mma_s8(int *d, const unsigned *a, const unsigned *b, const int *c, const char *file, int line) {
    int_fragments f = { a, b, c, d };
    collective(~0u, multiply_s8, &f, "mma_m16n8k32_s8", false, file, line);
}

/* ---- ldmatrix ---- */

struct matrix_rows {
    const uint16_t *row; /* this lane's copy of the row it named: lane 8i + j holds row j of matrix i */
    unsigned *r;
};

static void load_plain(unsigned mask, void **args) {
    need_full_warp(mask, "ldmatrix");
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            const uint16_t *row = ((matrix_rows *)args[8 * i + lane / 4])->row;
            memcpy(&((matrix_rows *)args[lane])->r[i], row + lane % 4 * 2, 4);
        }
}

static void load_transposed(unsigned mask, void **args) {
    need_full_warp(mask, "ldmatrix.trans");
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            const uint16_t *first = ((matrix_rows *)args[8 * i + lane % 4 * 2])->row;
            const uint16_t *second = ((matrix_rows *)args[8 * i + lane % 4 * 2 + 1])->row;
            ((matrix_rows *)args[lane])->r[i] = first[lane / 4] | (unsigned)second[lane / 4] << 16;
        }
}

void ldmatrix(unsigned *r, const uint16_t *row, bool transposed, const char *file, int line) {
    matrix_rows m = { row, r };
    if (transposed)
        collective(~0u, load_transposed, &m, "ldmatrix_x4_trans", false, file, line);
    else
        collective(~0u, load_plain, &m, "ldmatrix_x4", false, file, line);
}

} // namespace simgpu
