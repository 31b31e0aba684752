/* Matmul in portable C for every format: decodes a row to f32 in scratch and dots it with f32 activations.  The
 * reference that every faster kernel is measured against.                                                            */
#include "kernels/cpu/cpu.h"

/* Upper bound over the levels: a decoded row here, the line_inputs of matmul_int8_avx512.h.                          */
enum { LANES = 16, CHUNK = 1024 }; /* CHUNK: values decoded at a time, a multiple of every block */

size_t lr_gemv_scratch_bytes(int64_t max_cols, int64_t n) {
    const size_t decoded = (size_t)lr_min(max_cols, CHUNK) * sizeof(float);
    const size_t arranged = (size_t)lr_min(n, LR_FEW_TOKENS) * (size_t)((max_cols + 127) / 128 * 128) * 2;
    return decoded > arranged ? decoded : arranged;
}

/* Dot product of n values in a fixed order: value i goes to partial sum i % LANES.                                    */
static float dot(const float *w, const float *x, int64_t n) {
    float sums[LANES] = { 0 };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) sums[l] += w[i + l] * x[i + l];
    for (int l = 0; i < n; i++, l++) sums[l] += w[i] * x[i];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) sums[l] += sums[l + half];
    return sums[0];
}

/* Dots one row with TOKENS rows of activations at most; the row is decoded again for the next TOKENS.                 */
enum { TOKENS = 64 };
static void row_by_tokens(const lr_matmul_args *a, int64_t r, int64_t t0, int64_t t1, float *decoded) {
    const lr_format_traits *f = &lr_formats[a->w.format];
    const uint8_t *quants = lr_row_quants(&a->w, r), *scales = lr_row_scales(&a->w, r);
    const float *x = a->x.values;
    float sums[TOKENS] = { 0 };

    for (int64_t c = 0; c < a->w.cols; c += CHUNK) {
        int64_t n = lr_min(CHUNK, a->w.cols - c), block = c / f->block;
        f->decode(decoded, quants + block * f->quant_bytes, scales ? scales + block * f->scale_bytes : NULL, n);
        for (int64_t t = t0; t < t1; t++) sums[t - t0] += dot(decoded, x + t * a->x.cols + c, n);
    }
    for (int64_t t = t0; t < t1; t++) lr_matmul_store(a, t, r, sums[t - t0]);
}

static void matmul_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_matmul_args *a = args;
    for (int64_t r = i0; r < i1; r++)
        for (int64_t t = 0; t < a->x.n; t += TOKENS) row_by_tokens(a, r, t, lr_min(t + TOKENS, a->x.n), scratch);
}

void lr_gemv_fill_c(lr_ops *ops) {
#define LR_FORMAT(id, format, block, quant_bytes, scale_bytes, bits, file)                                           \
    ops->matmul_few[id] = ops->matmul_many[id] = (lr_matmul_kernel){ "matmul_" format "_c", LR_ACT_F32, 1, matmul_c };
#include "quant/formats.def"
#undef LR_FORMAT
}
