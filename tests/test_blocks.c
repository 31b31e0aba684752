/* Block formats of GGUF: decoded exactly as ggml does, by vectors of three origins, and the encoders.                */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/blocks.h"

/* Returns the bytes read, 0 if the file is absent.                                                                   */
static size_t read_file(const char *path, void *out, size_t size) {
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    size_t n = fread(out, 1, size, f);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
    return n;
}

/* tests/golden/make_gguf.py: random blocks of every format, decoded by ggml's Python package.                        */
static void random_vectors(void **state) {
    (void)state;
    static uint8_t file[1 << 16];
    size_t n = read_file("tests/golden/gguf/blocks.bin", file, sizeof file), at = 0;
    int n_formats = 0;
    assert_true(n > 0);
    for (; at < n; n_formats++) {
        char name[9] = { 0 };
        uint32_t n_bytes;
        float x[512], want[512];
        memcpy(name, file + at, 8);
        memcpy(&n_bytes, file + at + 8, sizeof n_bytes);
        lr_format format = lr_format_by_name(name);
        if (format == LR_FORMAT_NONE) fail_msg("no format %s", name);
        assert_int_equal(n_bytes, 512 / lr_formats[format].block * lr_formats[format].quant_bytes);
        lr_formats[format].decode(x, file + at + 12, NULL, 512);
        memcpy(want, file + at + 12 + n_bytes, sizeof want);
        for (int i = 0; i < 512; i++)
            if (x[i] != want[i]) fail_msg("%s: value %d is %.9g, expected %.9g", name, i, (double)x[i], (double)want[i]);
        at += 12 + n_bytes + sizeof want;
    }
    assert_int_equal(at, n);
    for (int f = 0; f < LR_N_FORMATS; f++) n_formats -= lr_format_is_blocks((lr_format)f) && !lr_formats[f].row_bytes;
    assert_int_equal(n_formats, 0);
}

/* A block of the bytes (37 i + 11) mod 256 with d = 1, m or dmin = 0.5: values and sums worked out by hand.           */
static void patterned_blocks(void **state) {
    (void)state;
    static const struct { lr_format format; double first, second, at_17, last, sum, weighted; } row[] = {
        { LR_BLOCK_Q4_0, -3, 2, -1, 0, -21, -518 },
        { LR_BLOCK_Q4_1, 15.5, 4.5, 12.5, 12.5, 261, 4247 },
        { LR_BLOCK_Q5_0, 9, -2, 0, 1, 15, 112 },
        { LR_BLOCK_Q5_1, 19.5, 24.5, 5.5, 5.5, 521, 8165 },
        { LR_BLOCK_Q8_0, 85, 122, -54, -48, -176, -8080 },
        { LR_BLOCK_IQ4_NL, -35, 25, -10, 1, -257, -6919 },
        { LR_BLOCK_MXFP4, 0, 3, 3, 3, 12.5, 319 },
        { LR_BLOCK_Q2_K, 33, 0, -1.5, 4.5, 2059, 243130 },
        { LR_BLOCK_Q3_K, 81, -108, 128, 42, 958, 177145 },
        { LR_BLOCK_Q4_K, 315.5, -25.5, -25.5, 48.5, 54440, 7572840 },
        { LR_BLOCK_Q5_K, 811.5, -25.5, -25.5, 108.5, 116216, 16027448 },
        { LR_BLOCK_Q6_K, -1431, 1696, 512, -60, 4612, 784420 },
        { LR_BLOCK_NVFP4, -6, 2, -2, 0.5, -12.5, -367.5 },
        { LR_BLOCK_IQ4_XS, 65, -1, 35, -16, -11005, -2091134 },
        { LR_BLOCK_IQ2_XXS, -59.125, 59.125, 59.125, -80.625, 763.75, 36793 },
        { LR_BLOCK_IQ2_XS, -11, 34.375, -19, -19, 1490.5, 123198.125 },
        { LR_BLOCK_IQ2_S, -145.125, 84.375, -123.625, 78.125, -800.625, -62080.625 },
        { LR_BLOCK_IQ3_XXS, -13, 9, -1, -15, -684, 3023 },
        { LR_BLOCK_IQ3_S, -81, 243, -243, 225, 1456, 202790 },
        { LR_BLOCK_IQ1_S, -2.625, 0.375, -2.625, -4.375, 20, -11829 },
        { LR_BLOCK_IQ1_M, -0.875, 6.125, 1.875, -1.875, 41, -2236 },
    };
    for (size_t k = 0; k < LR_COUNT(row); k++) {
        const lr_format_traits *f = &lr_formats[row[k].format];
        uint8_t block[256];
        float x[256];
        double sum = 0, weighted = 0;
        for (int i = 0; i < f->quant_bytes; i++) block[i] = (uint8_t)(37 * i + 11);
        int d = block_field(row[k].format, false), min = block_field(row[k].format, true);
        if (d >= 0) memcpy(block + d, &(uint16_t){ 0x3c00 }, 2);
        if (min >= 0) memcpy(block + min, &(uint16_t){ 0x3800 }, 2);
        if (row[k].format == LR_BLOCK_MXFP4) block[0] = 127;
        if (row[k].format == LR_BLOCK_NVFP4) memset(block, 0x38, 4);
        if (row[k].format == LR_BLOCK_IQ1_M) set_iq1_m_scale(block, 0x3c00);
        f->decode(x, block, NULL, f->block);
        for (int i = 0; i < f->block; i++) {
            sum += (double)x[i];
            weighted += (i + 1) * (double)x[i];
        }
        const double got[6] = { x[0], x[1], x[17], x[f->block - 1], sum, weighted };
        const double want[6] = { row[k].first, row[k].second, row[k].at_17, row[k].last, row[k].sum, row[k].weighted };
        for (int i = 0; i < 6; i++)
            if (got[i] != want[i]) fail_msg("%s: number %d is %g, expected %g", f->name, i, got[i], want[i]);
    }
}

static int twice_e2m1(int i) { return (const int[]){ 0, 1, 2, 3, 4, 6, 8, 12 }[i % 8] * (i % 16 < 8 ? 1 : -1); }

/* nvfp4: the same blocks with a factor.  Its scales are those of E4M3 but for 0x7f, which is 0, and signs, which they do
 * not have; the encoder finds what it can hold, and the nearest of what it cannot.                                    */
static void nvfp4(void **state) {
    (void)state;
    uint8_t block[36], again[36];
    float x[64], y[64], factor = 0.3f;
    for (int byte = 0; byte < 256; byte++) {
        float scale = (byte & 0x7f) == 0x7f ? 0 : lr_f8_e4m3_to_f32((uint8_t)(byte & 0x7f));
        memset(block, byte, 4);
        for (int i = 4; i < 36; i++) block[i] = (uint8_t)(i % 8 ? 37 * i + 11 : 0x7c); /* 6 in each group */
        lr_formats[LR_BLOCK_NVFP4].decode(x, block, NULL, 64);
        lr_formats[LR_NVFP4].decode(y, block, &factor, 64);
        for (int i = 0; i < 64; i++) {
            int code = block[4 + i / 16 * 8 + i % 8] >> (i % 16 / 8 * 4) & 15;
            assert_true(x[i] == scale * 0.5f * (float)twice_e2m1(code));
            assert_true(fabsf(y[i] - factor * x[i]) <= 1e-6f * fabsf(x[i]));
        }
        lr_formats[LR_NVFP4].encode(again, &factor, x, 64);
        lr_formats[LR_NVFP4].decode(y, again, &factor, 64);
        for (int i = 0; i < 64; i++)
            if (factor != 1 || x[i] != y[i]) fail_msg("scale 0x%02x: %g becomes %g", byte, (double)x[i], (double)y[i]);
        factor = 0.3f;
    }
    const float some[9] = { 6, 2.49f, 2.51f, -2.5f, 3.5f, -0.2f, 0.26f, 5.1f, -4.9f };
    const float want[9] = { 6, 2, 3, -2, 4, 0, 0.5f, 6, -4 };
    memset(x, 0, sizeof x);
    memcpy(x, some, sizeof some);
    lr_formats[LR_BLOCK_NVFP4].encode(block, NULL, x, 64);
    lr_formats[LR_BLOCK_NVFP4].decode(y, block, NULL, 64);
    for (int i = 0; i < 9; i++)
        if (y[i] != want[i]) fail_msg("%g becomes %g, not %g", (double)x[i], (double)y[i], (double)want[i]);
    lr_formats[LR_BLOCK_MXFP4].encode(block, NULL, x, 32);
    lr_formats[LR_BLOCK_MXFP4].decode(y, block, NULL, 32);
    for (int i = 0; i < 9; i++)
        if (y[i] != want[i]) fail_msg("MXFP4: %g becomes %g, not %g", (double)x[i], (double)y[i], (double)want[i]);
    for (int e = -126; e < 124; e++) { /* what it holds comes back */
        for (int i = 0; i < 32; i++) x[i] = ldexpf((float)twice_e2m1(i), e);
        lr_formats[LR_BLOCK_MXFP4].encode(block, NULL, x, 32);
        lr_formats[LR_BLOCK_MXFP4].decode(y, block, NULL, 32);
        for (int i = 0; i < 32; i++)
            if (x[i] != y[i]) fail_msg("2^%d: %g becomes %g", e, (double)x[i], (double)y[i]);
    }
}

static double relative_error(const float *x, const float *y, int n) {
    double d = 0, s = 0;
    for (int i = 0; i < n; i++) {
        d += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        s += (double)x[i] * (double)x[i];
    }
    return sqrt(d / s);
}

/* Blocks that ggml made of known values, with and without importances: decoded they are near the values; our encoders
 * give the same bytes where the format leaves no choice, and no larger error where it does.                          */
static void ggml_vectors(void **state) {
    (void)state;
    static const struct { lr_format format; const char *file; int n; double error; bool same; } row[] = {
        { LR_BLOCK_Q4_0, "q4_0_64", 128, 0.15, true },   { LR_BLOCK_Q4_1, "q4_1_64", 128, 0.12, false },
        { LR_BLOCK_Q5_0, "q5_0_64", 128, 0.08, false },  { LR_BLOCK_Q5_1, "q5_1_64", 128, 0.06, false },
        { LR_BLOCK_Q8_0, "q8_0_64", 128, 0.01, true },   { LR_BLOCK_IQ4_NL, "iq4_nl_64", 128, 0.12, false },
        { LR_BLOCK_Q2_K, "q2_k_512", 1024, 0.45, false }, { LR_BLOCK_Q3_K, "q3_k_512", 1024, 0.25, false },
        { LR_BLOCK_Q4_K, "q4_k_512", 1024, 0.12, false }, { LR_BLOCK_Q5_K, "q5_k_512", 1024, 0.06, false },
        { LR_BLOCK_Q6_K, "q6_k_512", 1024, 0.03, false },
    };
    for (size_t k = 0; k < 2 * LR_COUNT(row); k++) {
        const lr_format_traits *f = &lr_formats[row[k / 2].format];
        int n = row[k / 2].n, n_bytes = n / f->block * f->quant_bytes;
        float x[1024], theirs[1024], ours[1024];
        uint8_t file[1024], own[1024];
        char path[160];
        const char *stem = "../shared/data/models/ggml-quant-vectors/", *im = k % 2 ? "im" : "noim";
        snprintf(path, sizeof path, "%s%s_%s_input.bin", stem, row[k / 2].file, im);
        if (!read_file(path, x, sizeof x)) {
            print_message("skipped: no %s\n", path);
            skip();
        }
        snprintf(path, sizeof path, "%s%s_%s_expected.bin", stem, row[k / 2].file, im);
        assert_int_equal(read_file(path, file, sizeof file), n_bytes);
        f->decode(theirs, file, NULL, n);
        double error = relative_error(x, theirs, n);
        print_message("%-7s %-4s error %.4f\n", f->name, im, error);
        if (!(error < row[k / 2].error)) fail_msg("%s: error %g", path, error);
        if (!f->encode) continue;
        f->encode(own, NULL, x, n);
        f->decode(ours, own, NULL, n);
        if (row[k / 2].same && k % 2 == 0) assert_memory_equal(own, file, (size_t)n_bytes);
        if (k % 2 == 0) assert_true(relative_error(x, ours, n) <= 1.001 * error);
    }
}

/* By way of the file type, from any address; names tie the two together.                                             */
static void file_types(void **state) {
    (void)state;
    int n = 0;
    for (int d = 0; d < LR_N_DTYPES; d++) {
        lr_format format = lr_format_of_dtype((lr_dtype)d);
        if (format == LR_FORMAT_NONE || !lr_format_is_blocks(format)) continue;
        const lr_format_traits *f = &lr_formats[format];
        uint8_t bytes[1025];
        float x[512], y[512];
        uint64_t seed = 5;
        n++;
        assert_string_equal(f->name, lr_dtypes[d].name);
        assert_int_equal(lr_dtypes[d].block, f->block);
        assert_int_equal(lr_dtype_bytes((lr_dtype)d, 512), 512 / f->block * f->quant_bytes);
        random_blocks(format, bytes + 1, 512, &seed);
        assert_true(lr_dtype_to_f32(x, (lr_dtype)d, bytes + 1, 512));
        f->decode(y, bytes + 1, NULL, 512);
        assert_memory_equal(x, y, sizeof x);
        for (int i = 0; i < 512; i++) assert_true(isfinite(x[i]));
    }
    assert_int_equal(n, LR_COUNT(block_fields));
    float x;
    assert_false(lr_dtype_to_f32(&x, LR_DT_Q8_K, "", 0));
}

/* Every byte is legal: no bits lead out of a codebook.                                                               */
static void any_bytes(void **state) {
    (void)state;
    uint64_t seed = 9;
    for (int f = 0; f < LR_N_FORMATS; f++) {
        if (!lr_format_is_blocks((lr_format)f)) continue;
        for (int round = 0; round < 200; round++) {
            uint8_t *blocks = malloc((size_t)lr_formats[f].quant_bytes);
            float x[256];
            for (int i = 0; i < lr_formats[f].quant_bytes; i++)
                blocks[i] = round == 0 ? 0 : round == 1 ? 255 : (uint8_t)block_random(&seed);
            lr_formats[f].decode(x, blocks, &(float){ 1 }, lr_formats[f].block);
            free(blocks);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(random_vectors), cmocka_unit_test(patterned_blocks), cmocka_unit_test(nvfp4),
                                        cmocka_unit_test(ggml_vectors), cmocka_unit_test(file_types),
                                        cmocka_unit_test(any_bytes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
