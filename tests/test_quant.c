/* Formats: sizes and fallbacks, exactness of the 16-bit conversions, decoders against straightforward ones and ggml's
 * bytes, error of the encoders on known distributions, and equal bytes from every instruction set.                    */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/encoders.h"

/* ---- seeded values ---- */

static double uniform(uint64_t *seed) { /* splitmix64; in (0, 1) */
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static double normal(uint64_t *seed) { return sqrt(-2 * log(uniform(seed))) * cos(6.283185307179586 * uniform(seed)); }

static double student6(uint64_t *seed) {
    double g = normal(seed), chi2 = 0;
    for (int i = 0; i < 6; i++) {
        double h = normal(seed);
        chi2 += h * h;
    }
    return g / sqrt(chi2 / 6);
}

static void fill(float *x, size_t n, double (*draw)(uint64_t *), uint64_t seed) {
    for (size_t i = 0; i < n; i++) x[i] = (float)draw(&seed);
}

static double relative_rmse(const float *x, const float *y, size_t n) {
    double error = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        square += (double)x[i] * x[i];
    }
    return sqrt(error / square);
}

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- table ---- */

static void test_names(void **state) {
    (void)state;
    for (int f = 0; f < LR_N_FORMATS; f++) assert_int_equal(lr_format_by_name(lr_formats[f].name), f);
    assert_int_equal(lr_format_by_name("q4_k"), LR_Q4_K);
    assert_int_equal(lr_format_by_name("q4"), LR_FORMAT_NONE);
    assert_int_equal(lr_format_by_name(""), LR_FORMAT_NONE);
    assert_int_equal(lr_format_of_dtype(LR_DT_BF16), LR_BF16);
    assert_int_equal(lr_format_of_dtype(LR_DT_F64), LR_FORMAT_NONE);
    for (int d = 0; d < LR_N_DTYPES; d++) assert_true(lr_dtypes[d].name && lr_dtypes[d].bits > 0 && lr_dtypes[d].block > 0);
}

static void test_measure(void **state) {
    (void)state;
    lr_format_size s;
    assert_true(lr_format_measure(LR_Q8_0, 3, 96, &s)); /* 3 rows of 96 bytes and of 3 scales */
    assert_int_equal(s.quants_stride, 96);
    assert_int_equal(s.scales_stride, 6);
    assert_int_equal(s.scales_offset, 320);
    assert_int_equal(s.bytes, 384);
    assert_true(lr_format_measure(LR_F16, 3, 7, &s));
    assert_int_equal(s.bytes, 64);
    assert_int_equal(s.scales_stride, 0);
    assert_true(lr_format_measure(LR_Q4_K, 0, 256, &s));
    assert_int_equal(s.bytes, 0);
    /* rows that do not divide, then each size computation at its edge */
    static const struct { lr_format format; uint64_t rows, cols; } wrong[] = {
        {LR_Q8_0, 1, 33},
        {LR_Q4_K, 1, 255},
        {LR_NF4, 1, 32},
        {LR_F32, 1, 1ull << 62},              /* bytes of a row */
        {LR_F32, 1ull << 61, 2},              /* bytes of the quants */
        {LR_F16, (1ull << 63) - 1, 1},        /* rounded up to LR_ALIGN */
        {LR_Q8_0, (1ull << 59) - 2, 32},      /* both planes fit, their sum does not */
        {LR_FORMAT_NONE, 1, 1},
        {LR_N_FORMATS, 1, 1},
    };
    for (size_t i = 0; i < LR_COUNT(wrong); i++)
        if (lr_format_measure(wrong[i].format, wrong[i].rows, wrong[i].cols, &s)) fail_msg("case %zu accepted", i);
    assert_true(lr_format_measure(LR_Q8_0, 1ull << 58, 32, &s));
    assert_int_equal(s.bytes, 34ull << 58);
}

static void test_fallback(void **state) {
    (void)state;
    assert_int_equal(lr_format_fallback(LR_Q4_K, 512), LR_Q4_K);
    assert_int_equal(lr_format_fallback(LR_Q4_K, 288), LR_IQ4_NL);
    assert_int_equal(lr_format_fallback(LR_NF4, 96), LR_IQ4_NL);
    assert_int_equal(lr_format_fallback(LR_Q4_K, 172), LR_F16);
    assert_int_equal(lr_format_fallback(LR_Q8_0, 172), LR_F16);
    assert_int_equal(lr_format_fallback(LR_BF16, 7), LR_BF16);
    assert_int_equal(lr_format_fallback(LR_F32, 7), LR_F32);
}

static void test_matrix_at(void **state) {
    (void)state;
    static const char base[1024];
    for (int f = 0; f < LR_N_FORMATS; f++) {
        lr_format_size s;
        assert_true(lr_format_measure((lr_format)f, 3, 256, &s));
        lr_matrix m = lr_matrix_at((lr_format)f, 3, 256, base);
        assert_ptr_equal(m.quants, base);
        assert_int_equal(m.quants_stride, s.quants_stride);
        assert_int_equal(m.scales_stride, s.scales_stride);
        if (lr_formats[f].scale_bytes || lr_formats[f].row_bytes)
            assert_ptr_equal(m.scales, base + s.scales_offset);
        else
            assert_null(m.scales);
    }
}

/* ---- 16-bit and file types ---- */

/* f16 by the definition: sign, exponent, mantissa.                                                                   */
static double f16_value(unsigned h) {
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double x = exponent == 31 ? mantissa ? NAN : INFINITY
               : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                              : ldexp(mantissa, -24);
    return h & 0x8000 ? -x : x;
}

static void test_f16_all(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float x = lr_f16_to_f32((uint16_t)h);
        double want = f16_value(h);
        if (isnan(want)) {
            assert_true(isnan(x));
            assert_int_equal(lr_f32_to_f16(x) & 0x7c00, 0x7c00);
            assert_int_not_equal(lr_f32_to_f16(x) & 0x3ff, 0);
            continue;
        }
        assert_true(x == want && !signbit(x) == !(h & 0x8000));
        assert_int_equal(lr_f32_to_f16(x), h);
        if (h >= 0x7bff) continue;
        /* between two neighbours: below, on and above the middle */
        float next = (float)f16_value(h + 1), middle = 0.5f * (x + next);
        assert_int_equal(lr_f32_to_f16(nextafterf(middle, -INFINITY)), h);
        assert_int_equal(lr_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(lr_f32_to_f16(middle), h & 1 ? h + 1 : h);
    }
    assert_int_equal(lr_f32_to_f16(nextafterf(65520, 0)), 0x7bff);
    assert_int_equal(lr_f32_to_f16(65520), 0x7c00);
    assert_int_equal(lr_f32_to_f16(-1e30f), 0xfc00);
}

static void test_bf16(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float x = lr_bf16_to_f32((uint16_t)h);
        if (isnan(x)) {
            assert_true(isnan(lr_bf16_to_f32(lr_f32_to_bf16(x))));
            continue;
        }
        assert_int_equal(lr_f32_to_bf16(x), h);
        if ((h & 0x7fff) >= 0x7f80) continue;
        uint32_t bits = h << 16;
        assert_int_equal(lr_f32_to_bf16(from_bits(bits | 0x7fff)), h);
        assert_int_equal(lr_f32_to_bf16(from_bits(bits | 0x8000)), h + (h & 1));
        assert_int_equal(lr_f32_to_bf16(from_bits(bits | 0x8001)), h + 1);
    }
    assert_true(isnan(lr_bf16_to_f32(lr_f32_to_bf16(from_bits(0x7f800001)))));
}

static void test_dtypes(void **state) {
    (void)state;
    char raw[64];
    float x[4];
    const uint8_t e4m3[4] = {0x7e, 0x01, 0xb8, 0x7f};  /* 448, 2^-9, -1, NaN */
    assert_true(lr_dtype_to_f32(x, LR_DT_F8_E4M3, e4m3, 4));
    assert_true(x[0] == 448 && x[1] == 0x1p-9f && x[2] == -1 && isnan(x[3]));
    const uint8_t e5m2[4] = {0x7b, 0x01, 0xbc, 0x7c};  /* 57344, 2^-16, -1, infinity */
    assert_true(lr_dtype_to_f32(x, LR_DT_F8_E5M2, e5m2, 4));
    assert_true(x[0] == 57344 && x[1] == 0x1p-16f && x[2] == -1 && isinf(x[3]));
    const double f64[2] = {1.0 / 3, -1e300};
    memcpy(raw + 1, f64, sizeof f64); /* unaligned */
    assert_true(lr_dtype_to_f32(x, LR_DT_F64, raw + 1, 2));
    assert_true(x[0] == (float)(1.0 / 3) && x[1] == -INFINITY);
    const float f32[2] = {1.5f, -2};
    memcpy(raw + 3, f32, sizeof f32);
    assert_true(lr_dtype_to_f32(x, LR_DT_F32, raw + 3, 2));
    assert_true(x[0] == 1.5f && x[1] == -2);
    const uint16_t f16[2] = {0x3e00, 0xc000};
    memcpy(raw + 1, f16, sizeof f16);
    assert_true(lr_dtype_to_f32(x, LR_DT_F16, raw + 1, 2));
    assert_true(x[0] == 1.5f && x[1] == -2);
    const uint16_t bf16[2] = {0x3fc0, 0xc000};
    memcpy(raw + 1, bf16, sizeof bf16);
    assert_true(lr_dtype_to_f32(x, LR_DT_BF16, raw + 1, 2));
    assert_true(x[0] == 1.5f && x[1] == -2);
    assert_false(lr_dtype_to_f32(x, LR_DT_I32, raw, 1));
    assert_false(lr_dtype_to_f32(x, LR_DT_UNKNOWN, raw, 1));
}

/* ---- encoders ---- */

enum { N = 1 << 18, N_EDGE = 4096 };

typedef struct coded {
    uint8_t quants[4 * N], scales[N];
} coded;

static void test_error_bounds(void **state) {
    (void)state;
    /* Relative RMSE on N(0,1) and Student-t(6) that a good encoder reaches; 3 % more is a bug.                        */
    static const struct { lr_format format; double normal, student; } bounds[] = {
        {LR_F16, 0.00021, 0.00021}, {LR_BF16, 0.00166, 0.00166}, {LR_Q8_0, 0.0054, 0.0064},
        {LR_Q4_K, 0.0711, 0.0800},  {LR_IQ4_NL, 0.0734, 0.0826}, {LR_NF4, 0.0920, 0.1012},
        {LR_FP4, 0.1220, 0.1453},   {LR_U4, 0.1006, 0.1257},     {LR_U4_32, 0.0809, 0.0903},  {LR_I8, 0.0062, 0.0076},
        {LR_FP8, 0.0264, 0.0263},
    };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    coded *c = malloc(sizeof *c);
    for (size_t i = 0; i < LR_COUNT(bounds); i++)
        for (int heavy = 0; heavy < 2; heavy++) {
            fill(x, N, heavy ? student6 : normal, 42);
            lr_formats[bounds[i].format].encode(c->quants, c->scales, x, N);
            lr_formats[bounds[i].format].decode(y, c->quants, c->scales, N);
            double error = relative_rmse(x, y, N), bound = heavy ? bounds[i].student : bounds[i].normal;
            if (!(error <= 1.03 * bound) || !(error > 0.5 * bound))
                fail_msg("%s, %s: error %.5f, expected about %.5f", lr_formats[bounds[i].format].name,
                         heavy ? "Student-t(6)" : "N(0,1)", error, bound);
        }
    free(x);
    free(y);
    free(c);
}

/* Blocks that searches stumble over: constants, one sign, zeros, outliers, far-off means, tiny, huge.                 */
static void fill_edges(float *x) {
    uint64_t seed = 7;
    for (int i = 0; i < N_EDGE; i++) {
        double g = normal(&seed);
        switch (i / 256) {
        case 0: x[i] = 0; break;
        case 1: x[i] = 3; break;
        case 2: x[i] = -3; break;
        case 3: x[i] = (float)fabs(g); break;
        case 4: x[i] = (float)-fabs(g); break;
        case 5: x[i] = (float)(100 + 0.01 * g); break;
        case 6: x[i] = (float)(g * 1e-5); break;
        case 7: x[i] = (float)(g * 1e-30); break;
        case 8: x[i] = (float)(g * 1e30); break;
        case 9: x[i] = i % 32 == 5 ? 50.0f : (float)(0.1 * g); break;
        case 10: x[i] = i % 2 ? -1.0f : 1.0f; break;
        case 11: x[i] = (float)rint(3 * g); break;
        case 12: x[i] = i % 256 == 9 ? 1.0f : 0.0f; break;
        case 13: x[i] = from_bits((uint32_t)(uniform(&seed) * 0x7f7fffff)); break; /* any magnitude */
        case 14: x[i] = i % 2 ? 3.4e38f : -3.4e38f; break;
        default: x[i] = (float)(g * (i % 64 < 32 ? 1e-3 : 1)); break;
        }
    }
}

static void (*encoder(const lr_encoders *e, lr_format format))(void *, void *, const float *, int64_t) {
    switch (format) {
    case LR_Q8_0: return e->q8_0;
    case LR_Q4_K: return e->q4_k;
    case LR_IQ4_NL: return e->iq4_nl;
    default: return e->nf4;
    }
}

static void test_instruction_sets_agree(void **state) {
    (void)state;
    const lr_encoders *sets[3];
    int n_sets = lr_encoders_list(sets);
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    uint8_t *h[2] = {malloc(2 * N), malloc(2 * N)};
    coded *c[2] = {malloc(sizeof **c), malloc(sizeof **c)};
    fill(x, N, student6, 5);
    fill_edges(x);
    for (int s = 1; s < n_sets; s++) {
        for (lr_format f = LR_Q8_0; f <= LR_NF4; f++) {
            memset(c[0], 1, sizeof **c);
            memset(c[1], 1, sizeof **c);
            encoder(sets[0], f)(c[0]->quants, c[0]->scales, x, N);
            encoder(sets[s], f)(c[1]->quants, c[1]->scales, x, N);
            if (memcmp(c[0], c[1], sizeof **c) != 0) fail_msg("%s differs with %s", lr_formats[f].name, sets[s]->isa);
        }
        for (unsigned i = 0; i < 65536; i += 16) { /* every f16 */
            uint16_t half[16];
            float w[2][16];
            for (unsigned k = 0; k < 16; k++) half[k] = (uint16_t)(i + k);
            sets[0]->f16_to_f32(w[0], half, 16);
            sets[s]->f16_to_f32(w[1], half, 16);
            assert_memory_equal(w[0], w[1], sizeof w[0]);
            for (int k = 0; k < 16; k++) w[1][k] = lr_f16_to_f32(half[k]);
            assert_memory_equal(w[0], w[1], sizeof w[0]);
        }
        for (uint64_t bits = 0; bits < 1ull << 32; bits += 8191 * 31) { /* also odd lengths, NaN, subnormals */
            float v[31], w[2][31];
            for (int i = 0; i < 31; i++) v[i] = from_bits((uint32_t)(bits + 8191u * (unsigned)i));
            sets[0]->f32_to_f16(h[0], v, 31);
            sets[s]->f32_to_f16(h[1], v, 31);
            assert_memory_equal(h[0], h[1], 62);
            sets[0]->f16_to_f32(w[0], h[0], 31);
            sets[s]->f16_to_f32(w[1], h[0], 31);
            assert_memory_equal(w[0], w[1], sizeof w[0]);
            sets[0]->f32_to_bf16(h[0], v, 31);
            sets[s]->f32_to_bf16(h[1], v, 31);
            assert_memory_equal(h[0], h[1], 62);
            assert_int_equal(sets[0]->abs_max_bits(v, 31), sets[s]->abs_max_bits(v, 31));
        }
    }
    for (int i = 0; i < 2; i++) {
        free(h[i]);
        free(c[i]);
    }
    free(x);
    free(y);
}

static void test_edges_decode_finite(void **state) {
    (void)state;
    static float x[N_EDGE], y[N_EDGE];
    static coded c;
    fill_edges(x);
    for (lr_format f = LR_Q8_0; f <= LR_NF4; f++) {
        lr_formats[f].encode(c.quants, c.scales, x, N_EDGE);
        lr_formats[f].decode(y, c.quants, c.scales, N_EDGE);
        for (int i = 0; i < N_EDGE; i++)
            if (!isfinite(y[i])) fail_msg("%s: value %d, %g, became %g", lr_formats[f].name, i, x[i], y[i]);
        for (int i = 0; i < 256; i++) assert_true(y[i] == 0);
        for (int i = 256; i < 768; i++) /* constants */
            if (fabsf(y[i] - x[i]) > 0.02f * fabsf(x[i])) fail_msg("%s: %g became %g", lr_formats[f].name, x[i], y[i]);
        double tiny = relative_rmse(x + 6 * 256, y + 6 * 256, 256);
        if (tiny > (f == LR_Q8_0 ? 0.04 : 0.1)) fail_msg("%s: values of 1e-5: error %.3f", lr_formats[f].name, tiny);
    }
}

/* Codes of a decoded matrix encode to a matrix that decodes to nearly the same.                                       */
static void test_encoding_twice(void **state) {
    (void)state;
    static float x[N_EDGE], y[N_EDGE], z[N_EDGE];
    static coded c;
    fill(x, N_EDGE, normal, 3);
    for (lr_format f = LR_F32; f < LR_N_FORMATS; f++) {
        const lr_format_traits *t = &lr_formats[f];
        if (!t->encode) continue;
        t->encode(c.quants, c.scales, x, N_EDGE);
        t->decode(y, c.quants, c.scales, N_EDGE);
        t->encode(c.quants, c.scales, y, N_EDGE);
        t->decode(z, c.quants, c.scales, N_EDGE);
        double drift = relative_rmse(y, z, N_EDGE), first = relative_rmse(x, y, N_EDGE);
        if (lr_format_is_plain(f) || f == LR_NF4)
            assert_memory_equal(y, z, sizeof y);
        else if (drift > 0.5 * first)
            fail_msg("%s: second coding error %.5f, first %.5f", t->name, drift, first);
    }
}

/* ---- bytes of others ---- */

static size_t read_file(const char *path, void *out, size_t max) {
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    size_t n = fread(out, 1, max, f);
    fclose(f);
    return n;
}

/* Straightforward decoders of ggml's blocks, one value at a time.                                                    */
static double half_at(const uint8_t *p) { return f16_value((unsigned)p[0] | (unsigned)p[1] << 8); }

static double ggml_q8_0(const uint8_t *block, int i) { return half_at(block) * (int8_t)block[2 + i]; }

static double ggml_iq4_nl(const uint8_t *block, int i) {
    static const int table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return half_at(block) * table[i < 16 ? block[2 + i] & 15 : block[2 + i - 16] >> 4];
}

static double ggml_q4_k(const uint8_t *block, int i) {
    const uint8_t *sc = block + 4;
    int s = i / 32, v = block[16 + 32 * (s / 2) + i % 32], q = s % 2 ? v >> 4 : v & 15;
    int scale = s < 4 ? sc[s] & 63 : (sc[s + 4] & 15) + 16 * (sc[s - 4] >> 6);
    int min = s < 4 ? sc[s + 4] & 63 : (sc[s + 4] >> 4) + 16 * (sc[s] >> 6);
    return half_at(block) * scale * q - half_at(block + 2) * min;
}

static void test_ggml_vectors(void **state) {
    (void)state;
    static const struct { lr_format format; const char *file; int n; double (*value)(const uint8_t *, int); } cases[] = {
        {LR_Q8_0, "q8_0_64", 128, ggml_q8_0},
        {LR_IQ4_NL, "iq4_nl_64", 128, ggml_iq4_nl},
        {LR_Q4_K, "q4_k_512", 1024, ggml_q4_k},
    };
    for (size_t k = 0; k < 2 * LR_COUNT(cases); k++) {
        const lr_format_traits *t = &lr_formats[cases[k / 2].format];
        int n = cases[k / 2].n, n_blocks = n / t->block, block_bytes = t->quant_bytes + t->scale_bytes;
        float x[1024], theirs[1024], ours[1024];
        uint8_t file[1024], quants[1024], scales[256], own_quants[1024], own_scales[256];
        char path[128];
        const char *stem = "../shared/data/models/ggml-quant-vectors/";
        snprintf(path, sizeof path, "%s%s_%s_input.bin", stem, cases[k / 2].file, k % 2 ? "im" : "noim");
        if (!read_file(path, x, sizeof x)) {
            print_message("skipped: no %s\n", path);
            skip();
        }
        snprintf(path, sizeof path, "%s%s_%s_expected.bin", stem, cases[k / 2].file, k % 2 ? "im" : "noim");
        assert_int_equal(read_file(path, file, sizeof file), n_blocks * block_bytes);
        for (int b = 0; b < n_blocks; b++) {
            memcpy(scales + b * t->scale_bytes, file + b * block_bytes, (size_t)t->scale_bytes);
            memcpy(quants + b * t->quant_bytes, file + b * block_bytes + t->scale_bytes, (size_t)t->quant_bytes);
        }
        t->decode(theirs, quants, scales, n);
        for (int i = 0; i < n; i++) {
            double want = cases[k / 2].value(file + i / t->block * block_bytes, i % t->block);
            if (fabs(theirs[i] - want) > 1e-6 * (1 + fabs(want))) fail_msg("%s: value %d", path, i);
        }
        t->encode(own_quants, own_scales, x, n);
        t->decode(ours, own_quants, own_scales, n);
        if (t == &lr_formats[LR_Q8_0]) {
            assert_memory_equal(own_quants, quants, (size_t)(n_blocks * t->quant_bytes));
            assert_memory_equal(own_scales, scales, (size_t)(n_blocks * t->scale_bytes));
        }
        assert_true(relative_rmse(x, ours, (size_t)n) <= 1.001 * relative_rmse(x, theirs, (size_t)n));
    }
}

/* tests/golden/make_nf4.py */
static void test_bitsandbytes(void **state) {
    (void)state;
    struct { float x[1024], absmax[16]; uint8_t codes[1024]; } golden;
    uint8_t quants[512];
    float scales[16];
    if (read_file("tests/golden/nf4.bin", &golden, sizeof golden) != sizeof golden)
        fail_msg("tests/golden/nf4.bin: run from the root of the repository");
    const lr_encoders *sets[3];
    for (int s = lr_encoders_list(sets) - 1; s >= 0; s--) {
        sets[s]->nf4(quants, scales, golden.x, 1024);
        assert_memory_equal(scales, golden.absmax, sizeof scales);
        for (int i = 0; i < 1024; i++) {
            int byte = quants[i / 64 * 32 + i % 32], code = i % 64 < 32 ? byte & 15 : byte >> 4;
            if (code != golden.codes[i]) fail_msg("%s: value %d: code %d, not %d", sets[s]->isa, i, code, golden.codes[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_measure),
        cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_matrix_at),
        cmocka_unit_test(test_f16_all),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_error_bounds),
        cmocka_unit_test(test_instruction_sets_agree),
        cmocka_unit_test(test_edges_decode_finite),
        cmocka_unit_test(test_encoding_twice),
        cmocka_unit_test(test_ggml_vectors),
        cmocka_unit_test(test_bitsandbytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
