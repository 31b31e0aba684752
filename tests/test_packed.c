/* Pre-quantized checkpoints (tests/golden/make_packed_golden.py): every value exact, in the format that keeps codes and
 * scales, logits within the bounds of their kernels, on the CPU and on the simulated GPU; mixtures of experts; files that
 * are wrong.                                                                                                           */
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
    { "gptq-3", 256, 4, LR_U4, LR_U4, 3e-2, 3e-2 },
    { "gptq-3-order", 256, 4, LR_U4_32, LR_U4_32, 3e-2, 3e-2 },
    { "gptq-2", 256, 4, LR_U4_32, LR_U4_32, 3e-2, 3e-2 },
    { "ct-nvfp4", 256, 4, LR_NVFP4, LR_NVFP4, 3e-2, 3e-2 },
    { "ct-mxfp4", 256, 4, LR_BLOCK_MXFP4, LR_BLOCK_MXFP4, 3e-2, 3e-2 },
    { "modelopt-nvfp4", 192, 2, LR_NVFP4, LR_NVFP4, 3e-2, 3e-2 },
    { "modelopt-fp8", 192, 2, LR_FP8, LR_FP8, 1e-4, 1e-2 },
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
    static float got[1024];
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

/* A config.json alone is planned in the formats that its files have; 8 bits with zeros cannot be told from it.        */
static void bare_configs(void **state) {
    (void)state;
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        lr_checkpoint c;
        lr_binding b;
        llmrun_error err;
        char path[220];
        snprintf(path, sizeof path, "%s/config.json", path_of(models[i].name));
        if (lr_checkpoint_open(&c, path, NULL, &err) || lr_bind(&b, &c, &err)) fail_msg("%s: %s", path, err.message);
        for (size_t k = 0; k < b.n; k++) {
            const lr_plan_tensor *t = &b.tensors[k];
            lr_format want = models[i].keeps == LR_F16 ? LR_I8 : models[i].keeps;
            if (t->layer >= 0 && t->cols > 1 && t->file_format != want)
                fail_msg("%s: %s is %s", path, lr_plan_role_name(t->role), lr_formats[t->file_format].name);
        }
        lr_binding_close(&b);
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

/* GPUs take every format, columns in another order too; two of them share the layer.                                  */
static void logits_on_gpus(void **state) {
    (void)state;
    static golden g;
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        char head[200];
        snprintf(head, sizeof head, "%s%s/", ROOT, models[i].name);
        read_golden(&g, head);
        llmrun_options o = golden_options(path_of(models[i].name));
        o.kv = "f32";
        o.device = "sim";
        o.sim_gpus = i % 2 ? "2x64M" : "1x64M";
        check_plan(&models[i], &o);
        for (int chunk = 1; chunk <= 40; chunk += 39) {
            double error = run_golden(&g, o, chunk), bound = chunk == 1 ? models[i].few : 3e-2;
            print_message("%-16s %s chunk %2d  error %.1e\n", models[i].name, o.sim_gpus, chunk, error);
            if (!(error <= bound)) fail_msg("%s on %s, chunk %d: error %g", models[i].name, o.sim_gpus, chunk, error);
        }
    }
}

/* ---- mixtures of experts ---- */

/* keeps: the format of every matrix, and experts: that of the experts.  GPTQ's act-order has an order of columns for each
 * expert.                                                                                                             */
static const struct mixture {
    const char *name;
    lr_format keeps, experts;
    double few, many;
} mixtures[] = {
    { "mixtral-gptq", LR_U4_32, LR_U4_32, 3e-2, 3e-2 },
    { "mixtral-gptq-order", LR_U4_32, LR_U4_32, 3e-2, 3e-2 },
    { "llama-gptq-order", LR_U4_32, LR_U4_32, 3e-2, 3e-2 }, /* no experts, but several layers */
    { "mixtral-nf4", LR_NF4, LR_NF4, 3e-2, 3e-2 },
    { "qwen2-moe-awq", LR_U4_32, LR_U4_32, 3e-2, 3e-2 },
    { "qwen3-moe-fp8", LR_FP8, LR_FP8, 1e-4, 3e-2 },
    { "qwen3-moe-nvfp4", LR_NVFP4, LR_NVFP4, 3e-2, 3e-2 },
    { "qwen3-moe-ct8", LR_I8, LR_I8, 3e-2, 3e-2 },
};

static void check_mixture(const struct mixture *m, const llmrun_options *o) {
    llmrun_engine *e;
    llmrun_error err;
    if (llmrun_engine_open(&e, o, &err)) fail_msg("%s: %s", m->name, err.message);
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        lr_format want = t->experts ? m->experts : m->keeps, got = e->plan.placements[i].format;
        bool linear = t->layer >= 0 && t->cols > 1 && t->role != LR_ROUTER && t->role != LR_SHARED_GATE;
        if (linear && t->file_format != want)
            fail_msg("%s: %s is %d, not %d", m->name, lr_plan_role_name(t->role), t->file_format, want);
        if (linear && want != LR_FORMAT_NONE && got != want)
            fail_msg("%s: %s runs as %s, not %s", m->name, lr_plan_role_name(t->role), lr_formats[got].name,
                     lr_formats[want].name);
    }
    llmrun_engine_close(e);
}

static void experts(void **state) {
    (void)state;
    static golden g;
    const char *isa[3];
    int n_isa = lr_cpu_isa_list(isa);
    for (size_t i = 0; i < LR_COUNT(mixtures); i++) {
        const struct mixture *m = &mixtures[i];
        char head[200];
        snprintf(head, sizeof head, "%s%s/", ROOT, m->name);
        read_golden(&g, head);
        llmrun_options o = golden_options(path_of(m->name));
        o.kv = "f32";
        check_mixture(m, &o);
        for (int k = 0; k < n_isa; k++)
            for (int chunk = 1; chunk <= 40; chunk += 39) {
                o.cpu_isa = isa[k];
                double error = run_golden(&g, o, chunk), bound = chunk == 1 ? m->few : m->many;
                print_message("%-18s %-7s chunk %2d  error %.1e\n", m->name, isa[k], chunk, error);
                if (strcmp(isa[k], "c") == 0 && m->experts != LR_FORMAT_NONE) bound = 1e-5;
                if (!(error <= bound)) fail_msg("%s %s chunk %d: error %g above %g", m->name, isa[k], chunk, error, bound);
            }
        o.quant = "f32"; /* every value of every expert, by floats */
        double error = run_golden(&g, o, 40);
        if (!(error <= 1e-5)) fail_msg("%s as f32: error %g", m->name, error);
    }
}

/* ---- GGUF's ternary types ---- */

static void ternary(void **state) {
    (void)state;
    static golden g;
    read_golden(&g, ROOT "ternary/");
    llmrun_options o = golden_options(ROOT "ternary/model.gguf");
    llmrun_engine *e;
    llmrun_error err;
    o.kv = "f32";
    if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s", err.message);
    int n = 0;
    for (size_t i = 0; i < e->binding.n; i++) n += e->plan.placements[i].format == LR_U4;
    assert_int_equal(n, 7); /* all but the embedding */
    llmrun_engine_close(e);
    for (int chunk = 1; chunk <= 40; chunk += 39) {
        double error = run_golden(&g, o, chunk);
        if (!(error <= 3e-2)) fail_msg("chunk %d: error %g", chunk, error);
    }
    o.cpu_isa = "c";
    double error = run_golden(&g, o, 7);
    print_message("ternary, c: error %.1e\n", error);
    if (!(error <= 1e-5)) fail_msg("f32 arithmetic: error %g", error);
    o.device = "sim";
    o.sim_gpus = "1x64M";
    error = run_golden(&g, o, 40);
    if (!(error <= 3e-2)) fail_msg("on a GPU: error %g", error);
}

/* ---- nf4 as llmrun_quantize writes it ---- */

static char work[] = "/tmp/test_packed_XXXXXX";

/* Each packed matrix of a directory holds what the encoder of nf4 makes of the model's own.                           */
static void nf4_of_our_own(void **state) {
    (void)state;
    static const char *const none[] = { NULL };
    static float x[1 << 18], want[1 << 18], got[1 << 18];
    char out[100];
    lr_checkpoint model, packed;
    lr_packing packing;
    llmrun_error err;
    llmrun_quantize_result result;
    llmrun_options o = golden_options("models/demo");
    int n_packed = 0;
    snprintf(out, sizeof out, "%s/nf4", work);
    o.quant = "nf4";
    if (llmrun_quantize(&o, out, &result, &err)) fail_msg("%s", err.message);
    if (lr_checkpoint_open(&model, "models/demo", none, &err)) fail_msg("%s", err.message);
    if (lr_checkpoint_open(&packed, out, none, &err)) fail_msg("%s", err.message);
    if (lr_packing_read(&packing, &packed.config, &err)) fail_msg("%s", err.message);
    for (size_t i = 0; i < model.n_tensors; i++) {
        const lr_tensor *t = &model.tensors[i];
        lr_packed p;
        bool found = false;
        if (t->n_dims != 2) continue;
        int64_t rows = (int64_t)t->shape[0], cols = (int64_t)t->shape[1], n = rows * cols;
        if (lr_packed_open(&p, &found, &packing, &packed, t->name, rows, cols, &err)) fail_msg("%s", err.message);
        if (!found) continue;
        uint8_t planes[2][32];
        float absmax;
        assert_true(n <= (int64_t)LR_COUNT(x) && n % 64 == 0 && lr_dtype_to_f32(x, t->dtype, t->data, n));
        for (int64_t b = 0; b < n; b += 64) {
            lr_formats[LR_NF4].encode(planes[0], &absmax, x + b, 64);
            lr_formats[LR_NF4].decode(want + b, planes[0], &absmax, 64);
        }
        lr_packed_floats(&p, got, cols, 0, rows, 0, cols);
        assert_memory_equal(got, want, (size_t)n * sizeof *want);
        assert_int_equal(p.format, cols % 64 ? LR_FORMAT_NONE : LR_NF4);
        if (p.format == LR_NF4) check_planes(&p, want, t->name);
        lr_packed_close(&p);
        n_packed++;
    }
    assert_true(n_packed >= 14);
    lr_checkpoint_close(&packed);
    lr_checkpoint_close(&model);
    llmrun_engine *e; /* and it runs */
    o.model = out;
    o.quant = "auto";
    if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s", err.message);
    llmrun_engine_close(e);
}

/* ---- MXFP4 ---- */

static void mxfp4_blocks(void **state) {
    (void)state;
    static const float e2m1[8] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    uint8_t blocks[3 * 16], exponents[3] = { 127, 130, 1 }, out[3 * 17];
    float got[96];
    for (int i = 0; i < 48; i++) blocks[i] = (uint8_t)(37 * i + 11);
    lr_packed_mxfp4(out, blocks, exponents, 3);
    lr_formats[LR_BLOCK_MXFP4].decode(got, out, NULL, 96);
    for (int i = 0; i < 96; i++) {
        int code = blocks[i / 2] >> (i % 2 * 4) & 15;
        float want = ldexpf(code & 8 ? -e2m1[code & 7] : e2m1[code & 7], exponents[i / 32] - 127);
        if (got[i] != want) fail_msg("value %d: %g, expected %g", i, (double)got[i], (double)want);
    }
}

/* ---- files that are wrong ---- */

/* A copy of a golden checkpoint, its header's or config's text changed: what is replaced keeps its length.            */
static void spoil(const char *model, const char *file, const char *from, const char *to) {
    static char bytes[1 << 18];
    static const char *const files[] = { "config.json", "model.safetensors" };
    char path[300];
    for (size_t i = 0; i < LR_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s%s/%s", ROOT, model, files[i]);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t n = fread(bytes, 1, sizeof bytes, f), k = strlen(from);
        fclose(f);
        assert_true(n < sizeof bytes && k == strlen(to));
        char *at = strcmp(files[i], file) == 0 ? memmem(bytes, n, from, k) : NULL;
        if (strcmp(files[i], file) == 0 && !at) fail_msg("%s: no \"%s\" in %s", model, from, file);
        if (at) memcpy(at, to, k);
        snprintf(path, sizeof path, "%s/%s", work, files[i]);
        f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        fclose(f);
    }
}

static void wrong_files(void **state) {
    (void)state;
#define HEAD "model.safetensors", "model.layers.0."
    static const struct { const char *model, *file, *from, *to; llmrun_status status; const char *says; } cases[] = {
        /* what this version does not know */
        { "gptq-4", "config.json", "\"gptq\"", "\"gqtp\"", LLMRUN_UNSUPPORTED, "quantization_config.quant_method \"gqtp\"" },
        { "gptq-4", "config.json", "\"bits\": 4", "\"bits\": 5", LLMRUN_UNSUPPORTED, "quantization_config.bits 5" },
        { "gptq-4-v2", "config.json", "gptq_v2", "marlin2", LLMRUN_UNSUPPORTED, "checkpoint_format \"marlin2\"" },
        { "awq", "config.json", "gemm", "gemv", LLMRUN_UNSUPPORTED, "quantization_config.version \"gemv\"" },
        { "ct-int4", "config.json", "pack-quantized", "nvfp4-quantize", LLMRUN_UNSUPPORTED, "format \"nvfp4-quantize\"" },
        { "ct-nvfp4", "config.json", "nvfp4-pack-quantized", "nvfp6-pack-quantized", LLMRUN_UNSUPPORTED,
          "format \"nvfp6-pack-quantized\"" },
        { "modelopt-nvfp4", "config.json", "\"NVFP4\"", "\"NVFP6\"", LLMRUN_UNSUPPORTED, "quant_algo \"NVFP6\"" },
        /* companions that are missing */
        { "bnb-nf4", HEAD "mlp.up_proj.weight.absmax", "model.layers.0.mlp.up_proj.weight.absmix", LLMRUN_FORMAT,
          "mlp.up_proj.weight.absmax\" is missing" },
        { "bnb-nf4-double", HEAD "mlp.up_proj.weight.nested_quant_map", "model.layers.0.mlp.up_proj.weight.nested_quant_mop",
          LLMRUN_FORMAT, "nested_quant_map\" is missing" },
        { "gptq-4", HEAD "mlp.up_proj.qzeros", "model.layers.0.mlp.up_proj.qzeroz", LLMRUN_FORMAT, "qzeros\" is missing" },
        { "gptq-4", HEAD "mlp.up_proj.scales", "model.layers.0.mlp.up_proj.skales", LLMRUN_FORMAT, "scales\" is missing" },
        { "awq", HEAD "mlp.up_proj.qzeros", "model.layers.0.mlp.up_proj.qzeroz", LLMRUN_FORMAT, "qzeros\" is missing" },
        { "fp8-block", HEAD "mlp.up_proj.weight_scale_inv", "model.layers.0.mlp.up_proj.weight_scale_inf", LLMRUN_FORMAT,
          "weight_scale\" is missing" },
        { "ct-int4", HEAD "mlp.up_proj.weight_scale", "model.layers.0.mlp.up_proj.weight_skale", LLMRUN_FORMAT,
          "weight_scale\" is missing" },
        { "ct-nvfp4", HEAD "mlp.up_proj.weight_global_scale", "model.layers.0.mlp.up_proj.weight_global_skale",
          LLMRUN_FORMAT, "weight_global_scale\" is missing" },
        { "ct-mxfp4", HEAD "mlp.up_proj.weight_scale", "model.layers.0.mlp.up_proj.weight_skale", LLMRUN_FORMAT,
          "weight_scale\" is missing" },
        { "modelopt-nvfp4", HEAD "mlp.up_proj.weight_scale_2", "model.layers.0.mlp.up_proj.weight_skale_2", LLMRUN_FORMAT,
          "weight_scale_2\" is missing" },
        /* types, shapes, numbers */
        { "ct-nvfp4", "model.safetensors", "[256,64]", "[64,256]", LLMRUN_FORMAT, "weight_packed: expected shape" },
        { "ct-mxfp4", "model.safetensors", "[128,4]", "[4,128]", LLMRUN_FORMAT, "weight_scale: expected shape" },
        { "modelopt-nvfp4", "model.safetensors", "F8_E4M3", "F8_E5M2", LLMRUN_FORMAT, "expected type F8_E4M3, got F8_E5M2" },
        { "bnb-nf4", "model.safetensors", "\"blocksize\": 64", "\"blocksize\": 00", LLMRUN_FORMAT, "quant_state" },
        { "bnb-nf4", "model.safetensors", "\"blocksize\": 64", "\"blocksize\": -1", LLMRUN_FORMAT, "\"blocksize\"" },
        { "bnb-nf4", "model.safetensors", "\"blocksize\": 64", "\"blocksize\": 32", LLMRUN_FORMAT, "absmax: expected shape" },
        { "bnb-nf4", "model.safetensors", "\"shape\": [128, 256]", "\"shape\": [256, 128]", LLMRUN_FORMAT, "\"shape\"" },
        { "bnb-nf4-double", "model.safetensors", "\"nested_blocksize\": 256", "\"nested_blocksize\": 000", LLMRUN_FORMAT,
          "quant_state" },
        { "bnb-nf4-double", "model.safetensors", "\"nested_blocksize\": 256", "\"nested_blocksize\": 512", LLMRUN_FORMAT,
          "nested_absmax: expected shape" },
        { "bnb-nf4-double", "model.safetensors", "\"nested_offset\"", "\"nested_0ffset\"", LLMRUN_FORMAT, "\"nested_blocksize\"" },
        { "gptq-3", "model.safetensors", "[12,128]", "[128,12]", LLMRUN_FORMAT, "qweight: expected shape" },
        { "gptq-3", "model.safetensors", "[12,128]", "[ 6,256]", LLMRUN_UNSUPPORTED,
          "expected codes of 2, 3, 4 or 8 bits for 128 columns, got 6 words" },
    };
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        llmrun_engine *e;
        llmrun_error err;
        spoil(cases[i].model, cases[i].file, cases[i].from, cases[i].to);
        llmrun_options o = golden_options(work);
        llmrun_status status = llmrun_engine_open(&e, &o, &err);
        if (status != cases[i].status) fail_msg("%s with %s: status %d", cases[i].model, cases[i].to, status);
        if (!strstr(err.message, cases[i].says)) fail_msg("%s: \"%s\" does not say %s", cases[i].model, err.message, cases[i].says);
    }
#undef HEAD
}

/* Changes bytes of the data of a tensor in that copy.                                                                  */
static void overwrite(const char *tensor, size_t at, const void *bytes, size_t n_bytes) {
    char path[300];
    lr_map map;
    llmrun_error err;
    lr_tensor *tensors = NULL;
    size_t n = 0, cap = 0, data = 0;
    snprintf(path, sizeof path, "%s/model.safetensors", work);
    if (lr_map_open(&map, path, true, &err)) fail_msg("%s", err.message);
    if (lr_safetensors_read(&map, 0, &tensors, &n, &cap, &err)) fail_msg("%s", err.message);
    for (size_t k = 0; k < n; k++)
        if (strcmp(tensors[k].name, tensor) == 0) data = (size_t)(tensors[k].data - map.data);
    if (!data) fail_msg("no %s", tensor);
    lr_tensors_free(tensors, n);
    lr_map_close(&map);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)(data + at), SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, n_bytes, f), n_bytes);
    fclose(f);
}

/* An expert whose gate has another order of columns than its up, which need no conversion where they agree.           */
static void orders_that_differ(void **state) {
    (void)state;
    llmrun_engine *e;
    llmrun_error err;
    int32_t sorted[64];
    for (int32_t i = 0; i < 64; i++) sorted[i] = i / 32;
    spoil("mixtral-gptq-order", "config.json", "mixtral", "mixtral");
    overwrite("model.layers.0.block_sparse_moe.experts.1.w3.g_idx", 0, sorted, sizeof sorted);
    llmrun_options o = golden_options(work);
    if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s", err.message);
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        bool down = t->role == LR_W_DOWN_EXPERTS;
        if (!t->experts) continue;
        assert_int_equal(e->plan.placements[i].format, down ? LR_U4_32 : LR_F16);
        assert_int_equal(e->plan.placements[i].order_bytes, down ? 4 * 4 * 64 : 0);
    }
    llmrun_engine_close(e);
}

/* Numbers out of range, scales and codes that are no numbers.                                                          */
static void wrong_values(void **state) {
    (void)state;
    static const struct { const char *model, *tensor; size_t at; uint32_t bytes; size_t n; const char *says; } cases[] = {
        { "gptq-4-order", "model.layers.0.mlp.up_proj.g_idx", 8, 2, 4, "expected a group below 2, got 2" },
        { "gptq-4-order", "model.layers.0.mlp.up_proj.g_idx", 8, 0x80000000u, 4, "expected a group below 2" },
        { "gptq-4", "model.layers.0.mlp.up_proj.g_idx", 4, 7, 4, "expected a group below 1, got 7" },
        { "ct-int4-order", "model.layers.0.mlp.up_proj.weight_g_idx", 0, 99, 4, "expected a group below 4, got 99" },
        { "gptq-4", "model.layers.0.mlp.up_proj.scales", 2, 0x7e00, 2, "at element" },
        { "fp8-row", "model.layers.0.mlp.up_proj.weight", 130, 0x7f, 1, "NaN at element 130" },
        { "fp8-tensor", "model.layers.0.mlp.up_proj.weight_scale", 0, 0x7f800000u, 4, "at element 0" },
        { "ct-nvfp4", "model.layers.0.mlp.up_proj.weight_global_scale", 0, 0, 4, "element 0: expected a factor, got 0" },
        { "modelopt-nvfp4", "model.layers.0.mlp.up_proj.weight_scale_2", 0, 0x7fc00000u, 4, "expected a factor, got nan" },
        { "modelopt-nvfp4", "model.layers.0.mlp.up_proj.weight_scale", 3, 0x7f, 1, "NaN at element 48" },
        { "ct-mxfp4", "model.layers.0.mlp.up_proj.weight_scale", 1, 0xff, 1, "NaN at element 32" },
        { "bnb-nf4", "model.layers.0.mlp.up_proj.weight.absmax", 4, 0x7fc00000u, 4, "NaN at element 64" },
        { "bnb-nf4", "model.layers.0.mlp.up_proj.weight.quant_map", 8, 0x3f800000u, 4, "value 2 is not that of the format" },
    };
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        spoil(cases[i].model, "config.json", "llama", "llama");
        llmrun_engine *e;
        llmrun_error err;
        overwrite(cases[i].tensor, cases[i].at, &cases[i].bytes, cases[i].n);
        llmrun_options o = golden_options(work);
        if (llmrun_engine_open(&e, &o, &err) == LLMRUN_OK) fail_msg("%s: %s: opened", cases[i].model, cases[i].tensor);
        if (!strstr(err.message, cases[i].says)) fail_msg("%s: \"%s\" does not say %s", cases[i].model, err.message, cases[i].says);
    }
}

static int make_work(void **state) {
    (void)state;
    return mkdtemp(work) ? 0 : -1;
}
static int remove_work(void **state) {
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", work);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_exact), cmocka_unit_test(bare_configs), cmocka_unit_test(logits_on_the_cpu),
        cmocka_unit_test(logits_on_gpus),   cmocka_unit_test(experts), cmocka_unit_test(ternary), cmocka_unit_test(nf4_of_our_own), cmocka_unit_test(mxfp4_blocks),
        cmocka_unit_test(wrong_files),      cmocka_unit_test(wrong_values), cmocka_unit_test(orders_that_differ),
    };
    return cmocka_run_group_tests(tests, make_work, remove_work);
}
