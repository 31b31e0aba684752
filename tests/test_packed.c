/* Pre-quantized checkpoints (tests/golden/make_packed_golden.py): every value exact, in the format that keeps codes and
 * scales, logits within the bounds of their kernels, on the CPU and on the simulated GPU; files that are wrong.        */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "loaders/packed.h"
#include "runtime/engine.h"
#include "tests/golden.h"

#define ROOT "tests/golden/packed/"
enum { N_LINEAR = 7, DIM = 128 };

/* keeps: the format that a plan must give each linear layer on the CPU.  few: bound of passes of up to 8 tokens.       */
static const struct model {
    const char *name;
    int32_t hidden, heads;
    lr_format keeps, down; /* of all but, and of w_down */
    double few, many;
} models[] = {
    { "bnb-nf4", 256, 4, LR_NF4, LR_NF4, 3e-2, 1e-2 },
    { "bnb-nf4-double", 256, 4, LR_NF4, LR_NF4, 3e-2, 1e-2 },
    { "bnb-fp4-128", 256, 4, LR_FP4, LR_FP4, 3e-2, 1e-2 },
    { "bnb-int8", 192, 2, LR_I8, LR_I8, 3e-2, 3e-2 },
    { "gptq-4", 256, 4, LR_U4, LR_U4, 3e-2, 3e-2 },
    { "gptq-4-v2", 256, 4, LR_U4_32, LR_U4_32, 3e-2, 3e-2 },
    { "gptq-4-order", 256, 4, LR_U4_32, LR_U4_32, 3e-2, 3e-2 },
    { "gptq-8", 192, 2, LR_I8, LR_I8, 3e-2, 3e-2 },
    { "gptq-8-asym", 192, 2, LR_F16, LR_F16, 2e-3, 1e-2 },
    { "awq", 256, 4, LR_U4, LR_U4, 3e-2, 3e-2 },
    { "fp8-block", 192, 2, LR_FP8, LR_FP8, 1e-4, 1e-2 },
    { "fp8-tensor", 192, 2, LR_FP8, LR_FP8, 1e-4, 1e-2 },
    { "fp8-row", 192, 2, LR_FP8, LR_FP8, 1e-4, 1e-2 },
    { "ct-int4", 256, 4, LR_U4, LR_U4, 3e-2, 3e-2 },
    { "ct-int4-order", 256, 4, LR_U4_32, LR_U4_32, 3e-2, 3e-2 },
    { "ct-int8-packed", 192, 2, LR_I8, LR_I8, 3e-2, 3e-2 },
    { "ct-int8", 192, 2, LR_I8, LR_I8, 3e-2, 3e-2 },
};

static const char *path_of(const char *name) {
    static char path[200];
    snprintf(path, sizeof path, "%s%s", ROOT, name);
    return path;
}

/* ---- values ---- */

/* The linear layers, in the order of weights.u64.                                                                     */
static void linear(const struct model *m, int i, char name[100], int64_t *rows, int64_t *cols) {
    static const char *const names[N_LINEAR] = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                 "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj", "mlp.down_proj" };
    const int64_t q = 32 * m->heads;
    const int64_t shapes[N_LINEAR][2] = { { q, DIM }, { 32, DIM }, { 32, DIM }, { DIM, q }, { m->hidden, DIM },
                                          { m->hidden, DIM }, { DIM, m->hidden } };
    snprintf(name, 100, "model.layers.0.%s.weight", names[i]);
    *rows = shapes[i][0];
    *cols = shapes[i][1];
}

/* Planes decode to the same values as the way by floats, in the order of perm; rows may come in any portions.         */
static void check_planes(const lr_packed *p, const float *want, const char *what) {
    static _Alignas(64) uint8_t planes[256 * 256 * 2];
    static float got[256];
    lr_matrix m = lr_matrix_at(p->format, p->rows, p->cols, planes);
    lr_format_size size;
    assert_true(lr_format_measure(p->format, (uint64_t)p->rows, (uint64_t)p->cols, &size) && size.bytes <= sizeof planes);
    for (int64_t r = 0, n = 1; r < p->rows; r += n, n = n * 3 % 23 + 1) {
        n = lr_min(n, p->rows - r);
        assert_int_equal(lr_packed_planes(p, planes + (size_t)r * m.quants_stride,
                                          planes + size.scales_offset + (size_t)r * m.scales_stride, r, n), -1);
    }
    for (int64_t r = 0; r < p->rows; r++) {
        lr_formats[p->format].decode(got, planes + (size_t)r * m.quants_stride,
                                     planes + size.scales_offset + (size_t)r * m.scales_stride, p->cols);
        for (int64_t c = 0; c < p->cols; c++) {
            float x = want[r * p->cols + (p->perm ? p->perm[c] : c)];
            if (got[c] != x) fail_msg("%s: row %d column %d: %g as %s, %g by floats", what, (int)r, (int)c, (double)got[c],
                                      lr_formats[p->format].name, (double)x);
        }
    }
}

static void values_are_exact(void **state) {
    (void)state;
    static float x[256 * 256], part[150];
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        const struct model *m = &models[i];
        lr_checkpoint c;
        llmrun_error err;
        lr_packing packing;
        uint64_t hashes[N_LINEAR];
        char head[200], name[100];
        snprintf(head, sizeof head, "%s%s/", ROOT, m->name);
        read_file(head, "weights.u64", hashes, sizeof hashes);
        if (lr_checkpoint_open(&c, path_of(m->name), NULL, &err)) fail_msg("%s", err.message);
        if (lr_packing_read(&packing, &c.config, &err)) fail_msg("%s", err.message);
        for (int k = 0; k < N_LINEAR; k++) {
            int64_t rows, cols;
            bool found;
            lr_packed p;
            linear(m, k, name, &rows, &cols);
            if (lr_packed_open(&p, &found, &packing, &c, name, rows, cols, &err)) fail_msg("%s: %s", m->name, err.message);
            if (!found) fail_msg("%s: %s is not packed", m->name, name);
            lr_packed_floats(&p, x, cols, 0, rows, 0, cols);
            uint64_t got = lr_hash(LR_HASH_START, x, (size_t)(rows * cols) * sizeof *x);
            if (got != hashes[k]) fail_msg("%s: %s: values differ from the golden ones", m->name, name);
            lr_packed_floats(&p, part, 50, rows - 3, 3, 9, 50); /* any window of it */
            for (int r = 0; r < 3; r++) assert_memory_equal(part + 50 * r, x + (rows - 3 + r) * cols + 9, 50 * sizeof *x);
            if (p.format != LR_FORMAT_NONE) check_planes(&p, x, name);
            lr_packed_close(&p);
        }
        lr_checkpoint_close(&c);
    }
}

/* ---- logits ---- */

static void check_plan(const struct model *m, const llmrun_options *o) {
    llmrun_engine *e;
    llmrun_error err;
    if (llmrun_engine_open(&e, o, &err)) fail_msg("%s: %s", m->name, err.message);
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        lr_format want = t->role == LR_W_DOWN ? m->down : m->keeps, got = e->plan.placements[i].format;
        if (t->layer >= 0 && t->cols > 1 && got != want)
            fail_msg("%s: %s runs as %s, not %s", m->name, lr_plan_role_name(t->role), lr_formats[got].name,
                     lr_formats[want].name);
    }
    llmrun_engine_close(e);
}

static void logits_on_the_cpu(void **state) {
    (void)state;
    static const int chunks[] = { 1, 7, 40 };
    static golden g;
    const char *isa[3];
    int n_isa = lr_cpu_isa_list(isa);
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        char head[200];
        snprintf(head, sizeof head, "%s%s/", ROOT, models[i].name);
        read_golden(&g, head);
        llmrun_options o = golden_options(path_of(models[i].name));
        o.kv = "f32";
        check_plan(&models[i], &o);
        for (int k = 0; k < n_isa; k++)
            for (size_t c = 0; c < LR_COUNT(chunks); c++) {
                o.cpu_isa = isa[k];
                double error = run_golden(&g, o, chunks[c]), bound = chunks[c] <= 8 ? models[i].few : models[i].many;
                print_message("%-16s %-7s chunk %2d  error %.1e\n", models[i].name, isa[k], chunks[c], error);
                if (strcmp(isa[k], "c") == 0 && models[i].keeps != LR_F16) bound = 1e-5; /* f32 arithmetic */
                if (!(error <= bound))
                    fail_msg("%s %s chunk %d: error %g above %g", models[i].name, isa[k], chunks[c], error, bound);
            }
        /* Another precision: through floats. */
        o.quant = "f32";
        double error = run_golden(&g, o, 40);
        if (!(error <= 1e-5)) fail_msg("%s as f32: error %g", models[i].name, error);
        o.quant = "8bit";
        error = run_golden(&g, o, 7);
        if (!(error <= 5e-2)) fail_msg("%s as 8bit: error %g", models[i].name, error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_exact),
        cmocka_unit_test(logits_on_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
