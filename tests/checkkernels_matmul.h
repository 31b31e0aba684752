/* Checks of matmul: every format, few and many tokens, odd shapes.  See checkkernels.c.                              */
#ifndef CHECKKERNELS_MATMUL_H
#define CHECKKERNELS_MATMUL_H

#include "tests/blocks.h"
#include "tests/checkkernels.h"

typedef struct weights {
    lr_matrix m;
    float *decoded;    /* (rows, cols) what the kernel computes with */
    float *magnitude;  /* (rows, cols) of the terms of each value: q4_k is a difference */
} weights;

/* The part of each value that comes from the mins: the value less what it is with a min of zero.                      */
static void decode_mins(float *mins, lr_format format, const uint8_t *quants, int64_t cols, uint8_t *copy) {
    const lr_format_traits *f = &lr_formats[format];
    float *x = floats(cols);
    int at = block_field(format, true);
    memcpy(copy, quants, (size_t)(cols / f->block * f->quant_bytes));
    for (int64_t b = 0; b < cols / f->block; b++) memset(copy + b * f->quant_bytes + at, 0, 2);
    f->decode(x, copy, NULL, cols);
    f->decode(mins, quants, NULL, cols);
    for (int64_t c = 0; c < cols; c++) mins[c] -= x[c];
    release_last();
}

/* Half of the largest relative error of a weight as kernels with int8 activations read it: codes of nf4 are 16-bit
 * integers there.                                                                                                     */
static double codes_error(lr_format format, lr_act_format act) {
    return format == LR_NF4 && act == LR_ACT_Q8 ? 2.4e-5 / 2 : 0;
}

/* A matrix whose planes end where the format says: plain and block formats without padding, at the alignment of their
 * elements, as they lie in a mapped file.  Block formats get random codes where they have no encoder.                 */
static weights make_weights(lr_format format, int64_t rows, int64_t cols, pattern p) {
    const lr_format_traits *f = &lr_formats[format];
    lr_format_size size;
    if (!lr_format_measure(format, (uint64_t)rows, (uint64_t)cols, &size)) fail("lr_format_measure refused the shape");
    bool plain = lr_format_is_plain(format), in_blocks = lr_format_is_blocks(format);
    uint8_t *base = plain       ? guarded((size_t)(rows * cols * f->quant_bytes), (size_t)f->quant_bytes)
                    : in_blocks && !f->row_bytes ? guarded((size_t)rows * size.quants_stride, 1)
                                : guarded(size.bytes, LR_ALIGN);
    weights w = {.m = lr_matrix_at(format, rows, cols, base)};
    float *x = filled(rows * cols, p), *zero = floats(cols);
    w.decoded = floats(rows * cols);
    w.magnitude = floats(rows * cols);
    uint8_t *none = guarded(w.m.quants_stride, LR_ALIGN);
    for (int64_t r = 0; r < rows; r++) {
        uint8_t *quants = (uint8_t *)w.m.quants + (size_t)r * w.m.quants_stride;
        uint8_t *scales = w.m.scales ? (uint8_t *)w.m.scales + (size_t)r * w.m.scales_stride : NULL;
        if (in_blocks && (!f->encode || p == P_BYTES))
            random_blocks(format, quants, cols, &check.rng);
        else
            f->encode(quants, scales, x + r * cols, cols);
        if (p == P_BYTES && f->scale_bytes)
            for (size_t i = 0; i < w.m.quants_stride; i++) quants[i] = (uint8_t)random_u64();
        if (f->row_bytes) memcpy(scales, &(float){ 1e-3f * (float)(1 + random_below(2000)) }, sizeof(float));
        f->decode(w.decoded + r * cols, quants, scales, cols);
        if (format == LR_Q4_K || format == LR_U4 || format == LR_U4_32) f->decode(zero, none, scales, cols); /* the part that is subtracted */
        if (in_blocks && block_field(format, true) >= 0) decode_mins(zero, format, quants, cols, none);
        for (int64_t c = 0; c < cols; c++)
            w.magnitude[r * cols + c] = fabsf(w.decoded[r * cols + c] - zero[c]) + fabsf(zero[c]);
    }
    return w;
}

typedef struct activations {
    lr_act act;
    float *decoded; /* (n, cols) */
} activations;

static activations make_activations(const lr_ops *c, lr_act_format format, int64_t n, int64_t cols, pattern p) {
    size_t bytes = lr_act_bytes(format, n, cols);
    activations a = {.act = lr_act_at(format, n, cols, guarded(bytes, LR_ALIGN)), .decoded = floats(n * cols)};
    lr_pack_args pack = {.x = filled(n * cols, p), .out = a.act};
    c->pack(&pack, 0, n, NULL);
    for (int64_t i = 0; i < n * cols; i++)
        a.decoded[i] = format == LR_ACT_Q8     ? a.act.d[i / 32] * ((const int8_t *)a.act.values)[i]
                       : format == LR_ACT_BF16 ? lr_bf16_to_f32(((const uint16_t *)a.act.values)[i])
                                               : ((const float *)a.act.values)[i];
    return a;
}

static void matmul_case(const lr_ops *ops, const lr_ops *c, const lr_matmul_kernel *k, lr_format format, int64_t rows,
                        int64_t cols, int64_t n, pattern p) {
    bool accumulate = random_below(2), with_bias = random_below(2);
    describe("rows %lld cols %lld tokens %lld %s%s%s", (long long)rows, (long long)cols, (long long)n, pattern_names[p],
             accumulate ? " accumulate" : "", with_bias ? " bias" : "");
    weights w = make_weights(format, rows, cols, p);
    activations x = make_activations(c, k->act, n, cols, p);
    float *bias = with_bias ? filled(rows, P_RANDOM) : NULL, *before = filled(n * rows, P_RANDOM);
    int64_t gap = random_below(20);
    output y = make_output(n, rows, gap), y_split = make_output(n, rows, gap);
    for (int64_t i = 0; accumulate && i < n * rows; i++)
        y.y[i / rows * y.stride + i % rows] = y_split.y[i / rows * y.stride + i % rows] = before[i];

    void *scratch = make_scratch(ops, cols, n, 1, 8);
    lr_matmul_args args = {
        .y = y.y, .y_stride = y.stride, .w = w.m, .x = x.act, .bias = bias, .accumulate = accumulate};
    k->run(&args, 0, rows, scratch);
    args.y = y_split.y;
    run_split(k->run, &args, rows, k->row_step, scratch);
    expect_margins(&y);
    expect_same(&y, &y_split);

    /* Where a kernel takes bf16 activations, weights of other formats are rounded to bf16 too: same input precision. */
    bool rounds = k->act == LR_ACT_BF16;
    double worst = 0, plain_worst = codes_error(format, k->act);
    for (int64_t t = 0; t < n; t++)
        for (int64_t r = 0; r < rows; r++) {
            double exact = 0, magnitude = 0;
            float plain = 0;
            for (int64_t i = 0; i < cols; i++) {
                float wi = w.decoded[r * cols + i], xi = x.decoded[t * cols + i];
                exact += (double)wi * (double)xi;
                magnitude += (double)w.magnitude[r * cols + i] * fabs((double)xi);
                plain += (rounds ? lr_bf16_to_f32(lr_f32_to_bf16(wi)) : wi) * xi;
            }
            if (bias) exact += bias[r], magnitude += fabs((double)bias[r]), plain += bias[r];
            if (accumulate) {
                float b = before[t * rows + r];
                exact += b, magnitude += fabs((double)b), plain += b;
            }
            worst = fmax(worst, error_of(y.y[t * y.stride + r], exact, magnitude));
            plain_worst = fmax(plain_worst, error_of(plain, exact, magnitude));
        }
    /* Sums of nearly equal terms do not walk at random: their roundings all go one way, as many as there are terms.
     * (Where the signs of both factors alternate, all products are equal.) */
    bool alike = p == P_SATURATE || p == P_EQUAL || p == P_ALTERNATE;
    double terms = alike ? (double)cols * (double)cols : (double)cols;
    double allowed = allowed_error("matmul", plain_worst, terms);
    if (!(worst <= allowed)) fail("error %.3g, allowed %.3g (plain f32 %.3g)", worst, allowed, plain_worst);
    release_all();
}

static int64_t pick_cols(lr_format format) {
    int64_t block = lr_formats[format].block;
    if (block == 1) return PICK(1, 2, 7, 16, 17, 31, 32, 33, 63, 64, 172, 288, 1000, 4097);
    if (block == 256) return 256 * PICK(1, 2, 3, 5, 9);
    return lr_max(block, 32) * PICK(1, 2, 3, 5, 8, 9, 17, 43);
}

static void check_matmul(const lr_ops *ops, const lr_ops *c, const lr_matmul_kernel *k, lr_format format, bool many) {
    for (int i = 0; i < 120 / FEWER && !check.kernel_failed; i++) {
        int64_t rows = i < 67 ? i + 1 : PICK(1, 16, 31, 64, 67, 96, 130);
        int64_t cols = pick_cols(format);
        if (k->act == LR_ACT_Q8) cols = (cols + 31) / 32 * 32;
        int64_t n =
            many ? ops->few_tokens + PICK(1, 2, 3, 4, 5, 6, 7, 8, 16, 25, 57) : 1 + random_below(ops->few_tokens);
        matmul_case(ops, c, k, format, rows, cols, n, (pattern)(i % N_PATTERNS));
    }
    /* once large enough to go round every blocking loop */
    if (!check.kernel_failed) matmul_case(ops, c, k, format, 263, 11 * 256, many ? 131 : ops->few_tokens, P_RANDOM);
}

static void bench_matmul(const lr_ops *ops, const lr_ops *c, const lr_matmul_kernel *k, lr_format format, bool many) {
    int64_t rows = 2048, cols = 2048, n = many ? 256 : 1;
    weights w = make_weights(format, rows, cols, P_RANDOM);
    activations x = make_activations(c, k->act, n, cols, P_RANDOM);
    lr_matmul_args args = {.y = floats(rows * n), .y_stride = rows, .w = w.m, .x = x.act};
    double s = seconds_of(k->run, &args, rows, make_scratch(ops, cols, n, 1, 8));
    double bytes = (double)rows * (double)(w.m.quants_stride + w.m.scales_stride);
    printf("  %-26s %4s %9.2f us  %7.2f GB/s of weights  %8.1f GFLOP/s\n", k->name, many ? "many" : "few", s * 1e6,
           bytes / s * 1e-9, 2e-9 * (double)(rows * cols * n) / s);
    release_all();
}

#endif
