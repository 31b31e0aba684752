/* llmrun_quantize: what it writes gives the same logits and tokens as the model, nf4 is what bitsandbytes reads, an old
 * output survives every failure, and each refusal says what is wrong.                                                */
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "runtime/bind.h"
#include "runtime/llmrun.h"
#include "tests/model_files.h"

#define MODELS "tests/golden/models/"
#define DEMO "models/demo"
enum { N_TOKENS = 6, MAX_VOCAB = 4096 };

static char *work; /* a directory, fresh for each test */

static int make_work(void **state) {
    (void)state;
    work = new_directory();
    return 0;
}

static int remove_work(void **state) {
    (void)state;
    remove_tree(work);
    return 0;
}

static llmrun_options options_for(const char *model, const char *quant) {
    llmrun_options o;
    llmrun_options_default(&o);
    o.model = model;
    o.quant = quant;
    o.device = "cpu";
    o.n_threads = 2;
    o.cache_dir = "";
    return o;
}

static llmrun_status calibrated(const char *model, const char *quant, const char *text, const char *out) {
    llmrun_options o = options_for(model, quant);
    o.calibrate = text;
    return llmrun_quantize(&o, out, NULL, &err);
}

static llmrun_status quantize(const char *model, const char *quant, const char *out) {
    return calibrated(model, quant, NULL, out);
}

static void expect_no_temporary(void) {
    char command[4200];
    snprintf(command, sizeof command, "test -z \"$(find %s -name '.*')\"", work);
    if (system(command)) fail_msg("a temporary file stays in %s", work);
}

/* ---- the same model ---- */

static int run_model(const char *model, const char *quant, float *logits) {
    llmrun_options o = options_for(model, quant);
    llmrun_engine *e;
    llmrun_session *s;
    llmrun_model_info info = {.struct_size = sizeof info};
    int32_t tokens[N_TOKENS] = {1, 17, 80, 3, 64, 9};
    o.n_ctx = 64;
    o.n_batch = 1;
    o.kv = "f32";
    EXPECT_OK(llmrun_engine_open(&e, &o, &err));
    llmrun_engine_info(e, &info);
    assert_true(info.n_vocab <= MAX_VOCAB);
    EXPECT_OK(llmrun_session_open(&s, e, &err));
    EXPECT_OK(llmrun_session_eval_all(s, tokens, N_TOKENS, logits, &err));
    llmrun_session_close(s);
    llmrun_engine_close(e);
    return info.n_vocab * N_TOKENS;
}

static void expect_same(const char *model, const char *quant, const char *out, const char *as, double limit) {
    static float got[N_TOKENS * MAX_VOCAB], want[N_TOKENS * MAX_VOCAB];
    double worst = 0, most = 0;
    int n = run_model(model, quant, want);
    assert_int_equal(run_model(out, as, got), n);
    for (int i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        worst = d > worst || isnan(d) ? d : worst;
        most = fmax(most, fabs((double)want[i]));
    }
    if (!(worst <= limit * most))
        fail_msg("%s %s as %s %s: logits differ by %g of %g", model, quant, out, as, worst, most);
}

/* Every family, fused, transposed and stacked tensors among them.  Plain formats are exact, but the permuted rows of a head
 * are summed in another order; and an embedding that is not the head too runs in its file's format, whatever is asked for. */
static void golden_models(void **state) {
    (void)state;
    static const char *const names[] = {
        "llama-mha",  "llama-rope3", "llama-rope-linear", "llama-tied-biases", "mistral-head-dim", "mistral-window",
        "qwen2-tied", "qwen3",       "qwen3-yarn",        "gemma",             "gemma2",           "gemma3-v4",
        "gpt-oss",    "gpt2",        "granite",           "mixtral",           "neox-parallel-v4", "neox-serial",
        "olmo2",      "phi",         "phi3",              "phi3-long-v4",      "phi3-short",       "qwen3-moe",
        "stablelm",   "stablelm-parallel-v4", "starcoder2", "glm4",            "cohere",           "cohere2",
        "cohere-norms", "stablelm-norms", "exaone4",         "olmoe",             "granite-moe",      "seed-oss",
        "internlm3",  "deepseek-v2-groups", "deepseek-v2-yarn", "deepseek-v3",  "glm4-moe-lite",    "glm4-moe",
        "dots1",      "ernie4.5",    "ernie4.5-moe",      "minimax-m2",        "ministral3",       "internlm2",
        "minicpm"};
    static const struct { const char *quant, *out, *as; double limit; } kinds[] = {
        {"f32", "x.gguf", "f32", 1e-5}, {"f16", "x.gguf", "f16", 1e-5}, {"bf16", "x.gguf", "bf16", 1e-2},
        {"q8_0", "x.gguf", "auto", 3e-2}, {"f32", "x", "f32", 0}, {"f16", "x", "f16", 0}, {"bf16", "x", "bf16", 1e-2}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            char model[256];
            /* 8 bits, the embedding's too, make a token of these take other experts. */
            bool flips = strstr("glm4-moe-lite dots1 minimax-m2", names[i]) != NULL;
            if (flips && strcmp(kinds[k].quant, "q8_0") == 0) continue;
            snprintf(model, sizeof model, MODELS "%s", names[i]);
            const char *out = path_in(work, kinds[k].out);
            EXPECT_OK(quantize(model, kinds[k].quant, out));
            expect_same(model, kinds[k].quant, out, kinds[k].as, kinds[k].limit);
        }
    expect_no_temporary();
}

/* What GGUF has no word for is not written as something else, but as a directory.                                      */
static void without_a_word(void **state) {
    (void)state;
    static const struct { const char *name, *says; } models[] = {
        {"deepseek-v2-lite", "no word for rope_scaling"},
        {"gemma2-scale", "no word for attention_multiplier"},
        {"gemma3-vision", "no word for the layers that have a sliding window"},
        {"qwen2-window", "no word for the layers that have a sliding window"},
        {"qwen2-moe", "no word for the layers that have experts"},
        {"qwen3-moe-sparse", "no word for norm_topk_prob"},
        {"smollm3", "no word for the layers without rope"},
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char model[256];
        snprintf(model, sizeof model, MODELS "%s", models[i].name);
        EXPECT_FAIL(quantize(model, "f16", path_in(work, "x.gguf")), LLMRUN_UNSUPPORTED, models[i].says);
        EXPECT_OK(quantize(model, "f32", path_in(work, "x")));
        expect_same(model, "f32", path_in(work, "x"), "f32", 0);
    }
    expect_no_temporary();
}

/* Pre-quantized models are written by the values that they have.                                                      */
static void packed_models(void **state) {
    (void)state;
    enum { ANY, NO_NF4, GGUF_ONLY }; /* NO_NF4: blocks of 64 do not divide its rows */
    static const struct { const char *name; int as; } models[] = {
        {"bnb-nf4-double", ANY}, {"gptq-4-order", ANY}, {"gptq-3", ANY}, {"awq", ANY}, {"fp8-block", ANY},
        {"ct-int4", ANY}, {"mixtral-gptq-order", ANY}, {"qwen2-moe-awq", NO_NF4}, {"mixtral-nf4", ANY}, {"gpt-oss-mxfp4", GGUF_ONLY}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char model[256];
        snprintf(model, sizeof model, "tests/golden/packed/%s", models[i].name);
        EXPECT_OK(quantize(model, "f32", path_in(work, "x.gguf")));
        expect_same(model, "f32", path_in(work, "x.gguf"), "f32", 1e-5);
        EXPECT_OK(quantize(model, "q8_0", path_in(work, "x.gguf")));
        expect_same(model, "f32", path_in(work, "x.gguf"), "auto", 3e-2);
        if (models[i].as == GGUF_ONLY) {
            EXPECT_FAIL(quantize(model, "f32", path_in(work, "x")), LLMRUN_UNSUPPORTED, "give a name that ends in .gguf");
            continue;
        }
        EXPECT_OK(quantize(model, "f32", path_in(work, "x")));
        expect_same(model, "f32", path_in(work, "x"), "f32", 0);
        if (models[i].as == NO_NF4) {
            EXPECT_FAIL(quantize(model, "nf4", path_in(work, "x")), LLMRUN_UNSUPPORTED, "bitsandbytes has no layout for it");
            continue;
        }
        EXPECT_OK(quantize(model, "nf4", path_in(work, "x")));
        bool same = strstr(models[i].name, "nf4") != NULL;
        expect_same(model, "f32", path_in(work, "x"), "f32", same ? 0 : 0.6);
    }
    expect_no_temporary();
}

static void expect_same_tokens(const char *a, const char *b) {
    static const char text[] = "Once upon a time, 1234 kings said: \"It's mine!\"\n\n  \xc3\xa9t\xc3\xa9 <|endoftext|> \xf0\x9f\x98\x80";
    const char *paths[] = {a, b};
    int32_t ids[2][256];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        llmrun_tokenizer *t;
        EXPECT_OK(llmrun_tokenizer_open(&t, paths[i], &err));
        EXPECT_OK(llmrun_tokenize(t, text, strlen(text), LLMRUN_ADD_SPECIAL | LLMRUN_PARSE_SPECIAL, ids[i], 256, &n[i], &err));
        llmrun_tokenizer_close(t);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(ids[0], ids[1], n[0] * sizeof **ids);
}

static void demo_model(void **state) {
    (void)state;
    static const struct { const char *quant, *as; double limit; } kinds[] = {
        {"f16", "f16", 1e-5}, {"q8_0", "q8_0", 1e-2}, {"q4_k", "q4_k", 1e-2}, {"iq4_nl", "iq4_nl", 1e-2}, {"q4_0", "f16", 0.2}};
    const char *out = path_in(work, "demo.gguf");
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        EXPECT_OK(quantize(DEMO, kinds[k].quant, out));
        expect_same(DEMO, kinds[k].as, out, strcmp(kinds[k].quant, "f16") ? "auto" : "f16", kinds[k].limit);
    }
    expect_same_tokens(DEMO, out);
    EXPECT_OK(quantize(DEMO, "bf16", path_in(work, "bf16.gguf")));
    EXPECT_OK(quantize(path_in(work, "bf16.gguf"), "q4_0", path_in(work, "again.gguf")));
    expect_same(out, "auto", path_in(work, "again.gguf"), "auto", 0);
    expect_same_tokens(DEMO, path_in(work, "again.gguf"));
}

/* A model without a tokenizer still says where its texts begin and end.                                                */
static void ends(void **state) {
    (void)state;
    lr_checkpoint c;
    lr_binding b;
    const char *out = path_in(work, "x.gguf"), *const none[] = {NULL};
    EXPECT_OK(quantize(MODELS "phi3", "f16", out));
    EXPECT_OK(lr_checkpoint_open(&c, out, none, &err));
    EXPECT_OK(lr_bind(&b, &c, &err));
    assert_int_equal(b.hparams.bos, 1);
    assert_true(b.hparams.n_eos == 1 && b.hparams.eos[0] == 2);
    lr_binding_close(&b);
    lr_checkpoint_close(&c);
}

static void gguf_to_gguf(void **state) {
    (void)state;
    static const char *const models[] = {"llama-rope3", "gpt-oss", "mixtral", "phi3-long-v4", "neox-parallel-v4",
                                         "deepseek-v3", "glm4-moe", "gpt2"};
    const char *out = path_in(work, "x.gguf");
    char model[256];
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        snprintf(model, sizeof model, "tests/golden/gguf/%s.F16.gguf", models[i]);
        EXPECT_OK(quantize(model, "f16", out));
        expect_same(model, "f16", out, "f16", 1e-6);
    }
    EXPECT_FAIL(quantize(model, "f16", path_in(work, "dir")), LLMRUN_UNSUPPORTED, "a GGUF model is written as GGUF only");
}

/* ---- nf4 as bitsandbytes reads it ---- */

static const lr_tensor *find(const lr_tensor *tensors, size_t n, const char *name, const char *end) {
    char whole[256];
    snprintf(whole, sizeof whole, "%s%s", name, end);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(tensors[i].name, whole)) return &tensors[i];
    return NULL;
}

/* Values of element e, by the codes, scales and map of the file.                                                      */
static float nf4_value(const lr_tensor *codes, const lr_tensor *scales, const lr_tensor *map, uint64_t e) {
    float scale, value;
    int code = codes->data[e / 2] >> (e % 2 ? 0 : 4) & 15;
    memcpy(&scale, scales->data + e / 64 * sizeof scale, sizeof scale);
    memcpy(&value, map->data + (size_t)code * sizeof value, sizeof value);
    return scale * value;
}

static void check_nf4(const char *model) {
    lr_checkpoint source;
    lr_map map;
    lr_tensor *tensors = NULL;
    size_t n = 0, cap = 0, n_checked = 0;
    const char *const none[] = {NULL};
    char out[256];
    snprintf(out, sizeof out, "%s/nf4", work);
    EXPECT_OK(quantize(model, "nf4", out));
    EXPECT_OK(lr_checkpoint_open(&source, model, none, &err));
    EXPECT_OK(lr_map_open(&map, path_in(out, "model.safetensors"), false, &err));
    EXPECT_OK(lr_safetensors_read(&map, 0, &tensors, &n, &cap, &err));
    for (size_t i = 0; i < source.n_tensors; i++) {
        const lr_tensor *t = &source.tensors[i], *codes = find(tensors, n, t->name, "");
        const lr_tensor *scales = find(tensors, n, t->name, ".absmax"), *values = find(tensors, n, t->name, ".quant_map");
        const lr_tensor *quant_state = find(tensors, n, t->name, ".quant_state.bitsandbytes__nf4");
        assert_non_null(codes);
        assert_int_equal(scales != NULL, strstr(t->name, "_proj.weight") != NULL);
        if (!scales) {
            assert_int_equal(codes->dtype, t->dtype);
            assert_memory_equal(codes->data, t->data, t->bytes);
            continue;
        }
        char shape[64], text[300];
        uint64_t count = t->shape[0] * t->shape[1];
        assert_true(values && quant_state && quant_state->bytes < sizeof text);
        snprintf(shape, sizeof shape, "\"shape\": [%llu, %llu]", (unsigned long long)t->shape[0], (unsigned long long)t->shape[1]);
        snprintf(text, sizeof text, "%.*s", (int)quant_state->bytes, (const char *)quant_state->data);
        assert_non_null(strstr(text, shape));
        assert_non_null(strstr(text, "\"blocksize\": 64"));
        for (uint64_t b = 0; b < count; b += 64) {
            float x[64] = {0}, y[64], scale;
            uint8_t packed[32];
            uint64_t k = count - b < 64 ? count - b : 64;
            assert_true(lr_dtype_to_f32(x, t->dtype, t->data + lr_dtype_bytes(t->dtype, b), (int64_t)k));
            lr_formats[LR_NF4].encode(packed, &scale, x, 64);
            lr_formats[LR_NF4].decode(y, packed, &scale, 64);
            for (uint64_t e = 0; e < k; e++) assert_true(nf4_value(codes, scales, values, b + e) == y[e]);
        }
        n_checked++;
    }
    assert_true(n_checked >= 14);
    lr_tensors_free(tensors, n);
    lr_map_close(&map);
    lr_checkpoint_close(&source);
    expect_no_temporary();
}

static void nf4_directories(void **state) {
    (void)state;
    check_nf4(DEMO);
    check_nf4(MODELS "qwen3");
}

/* ---- refusals, and the old output ---- */

static void refusals(void **state) {
    (void)state;
    const char *gguf = path_in(work, "x.gguf"), *dir = path_in(work, "x");
    EXPECT_FAIL(quantize(DEMO, "q5_k", gguf), LLMRUN_ARG, "expected f16, bf16");
    EXPECT_FAIL(quantize(DEMO, "auto", gguf), LLMRUN_ARG, "--quant \"auto\"");
    EXPECT_FAIL(quantize(DEMO, "", gguf), LLMRUN_ARG, "--quant");
    EXPECT_FAIL(quantize(DEMO, "nf4", gguf), LLMRUN_UNSUPPORTED, "GGUF has no nf4");
    EXPECT_FAIL(quantize(DEMO, "q8_0", dir), LLMRUN_UNSUPPORTED, "q8_0 is written as GGUF only");
    EXPECT_FAIL(quantize(DEMO, "f16", ""), LLMRUN_ARG, "a name for the output");
    EXPECT_FAIL(quantize(MODELS "qwen2-window", "f16", gguf), LLMRUN_UNSUPPORTED, "sliding window");
    EXPECT_FAIL(quantize(path_in(work, "none"), "f16", gguf), LLMRUN_IO, "none");
    EXPECT_FAIL(quantize(DEMO, "f16", path_in(work, "none/x.gguf")), LLMRUN_IO, "No such file");
    EXPECT_FAIL(quantize(DEMO, "f16", "/proc/x.gguf"), LLMRUN_IO, "/proc/x.gguf");
    EXPECT_FAIL(quantize(DEMO, "f16", DEMO), LLMRUN_ARG, "the model itself");
    EXPECT_OK(quantize(DEMO, "f16", gguf));
    EXPECT_FAIL(quantize(gguf, "q8_0", gguf), LLMRUN_ARG, "the model itself");
    EXPECT_FAIL(quantize(DEMO, "f16", work), LLMRUN_ARG, "it holds \"x.gguf\"");
    write_text(work, "file", "x");
    EXPECT_FAIL(quantize(DEMO, "f16", path_in(work, "file")), LLMRUN_ARG, "found a file");
    assert_int_equal(mkdir(path_in(work, "d.gguf"), 0700), 0);
    EXPECT_FAIL(quantize(DEMO, "f16", path_in(work, "d.gguf")), LLMRUN_ARG, "found a directory");
    expect_no_temporary();
}

/* ---- a text shows what matters ---- */

static const char tale[] = "There was once a king who had a daughter so beautiful that the sun himself wondered each time he "
                           "shone on her face. Near the castle lay a great dark forest, and in it, under an old lime tree, a well.";

static void calibration(void **state) {
    (void)state;
    static float plain[N_TOKENS * MAX_VOCAB], known[N_TOKENS * MAX_VOCAB], want[N_TOKENS * MAX_VOCAB];
    const char *a = path_in(work, "a.gguf"), *b = path_in(work, "b.gguf");
    double far[2] = { 0 };
    EXPECT_OK(quantize(DEMO, "q4_k", a));
    EXPECT_OK(calibrated(DEMO, "q4_k", tale, b));
    int n = run_model(DEMO, "f32", want);
    assert_int_equal(run_model(a, "auto", plain), n);
    assert_int_equal(run_model(b, "auto", known), n);
    for (int i = 0; i < n; i++) {
        far[0] += pow((double)plain[i] - (double)want[i], 2);
        far[1] += pow((double)known[i] - (double)want[i], 2);
    }
    if (far[1] == 0 || far[1] == far[0] || far[1] > 2 * far[0]) fail_msg("squared error %g, calibrated %g", far[0], far[1]);
    EXPECT_OK(calibrated(DEMO, "nf4", tale, path_in(work, "n")));
    assert_int_equal(run_model(path_in(work, "n"), "auto", known), n);
    EXPECT_FAIL(calibrated(DEMO, "q8_0", tale, a), LLMRUN_ARG, "q8_0 has no use for it");
    EXPECT_FAIL(calibrated(DEMO, "q4_k", "", a), LLMRUN_ARG, "the text is empty");
    EXPECT_FAIL(calibrated(MODELS "qwen3", "q4_0", tale, a), LLMRUN_UNSUPPORTED, "no tokenizer");
    expect_no_temporary();
}

static bool stop(void *user, const char *stage, double done) {
    (void)user;
    return strcmp(stage, "quantize") != 0 || done < 0.3;
}

/* The disk is full, the user says stop: what was there is there still.                                                */
static void old_output_survives(void **state) {
    (void)state;
    char outs[2][256], weights[300];
    snprintf(outs[0], sizeof outs[0], "%s/x.gguf", work);
    snprintf(outs[1], sizeof outs[1], "%s/x", work);
    snprintf(weights, sizeof weights, "%s/model.safetensors", outs[1]);
    struct rlimit before, small = {1 << 20, 0};
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 2; i++) {
        const char *file = i ? weights : outs[i];
        struct stat first, then;
        EXPECT_OK(quantize(DEMO, "f16", outs[i]));
        assert_int_equal(stat(file, &first), 0);
        setrlimit(RLIMIT_FSIZE, &small);
        EXPECT_FAIL(quantize(DEMO, "bf16", outs[i]), LLMRUN_IO, "no room for");
        setrlimit(RLIMIT_FSIZE, &before);
        llmrun_options o = options_for(DEMO, "bf16");
        o.progress = stop;
        EXPECT_FAIL(llmrun_quantize(&o, outs[i], NULL, &err), LLMRUN_CANCELLED, "cancelled");
        assert_int_equal(stat(file, &then), 0);
        assert_true(first.st_ino == then.st_ino && first.st_mtim.tv_nsec == then.st_mtim.tv_nsec);
        expect_no_temporary();
        EXPECT_OK(quantize(DEMO, "f16", outs[i])); /* over the old one */
        assert_int_equal(stat(file, &then), 0);
        assert_int_not_equal(first.st_ino, then.st_ino);
        expect_no_temporary();
    }
}

/* What dead processes left goes away; what is not theirs stays.                                                       */
static void stale_files(void **state) {
    (void)state;
    pid_t dead = fork();
    if (dead == 0) _exit(0);
    waitpid(dead, NULL, 0);
    char file[64], dir[64], alive[64], other[] = ".x.gguf.llmrun.tmp";
    snprintf(file, sizeof file, ".x.gguf.llmrun.%d.tmp", (int)dead);
    snprintf(dir, sizeof dir, ".y.llmrun.%d.tmp", (int)dead);
    snprintf(alive, sizeof alive, ".x.gguf.llmrun.%d.tmp", (int)getppid());
    write_text(work, file, "x");
    assert_int_equal(mkdir(path_in(work, dir), 0700), 0);
    strcat(dir, "/model.safetensors");
    write_text(work, dir, "x");
    *strchr(dir, '/') = 0;
    write_text(work, alive, "x");
    write_text(work, other, "x");
    EXPECT_OK(quantize(MODELS "qwen3", "f16", path_in(work, "x.gguf")));
    assert_int_not_equal(access(path_in(work, file), F_OK), 0);
    assert_int_not_equal(access(path_in(work, dir), F_OK), 0);
    assert_int_equal(access(path_in(work, alive), F_OK), 0);
    assert_int_equal(access(path_in(work, other), F_OK), 0);
}

/* ---- memory ---- */

typedef struct meter {
    long n, fail_at, held;
} meter;

static void *metered(void *user, void *old, size_t size) {
    meter *m = user;
    if (!size) {
        if (old) __atomic_sub_fetch(&m->held, 1, __ATOMIC_RELAXED);
        free(old);
        return NULL;
    }
    if (__atomic_add_fetch(&m->n, 1, __ATOMIC_RELAXED) == m->fail_at) return NULL;
    void *p = realloc(old, size);
    if (p && !old) __atomic_add_fetch(&m->held, 1, __ATOMIC_RELAXED);
    return p;
}

static void every_allocation_fails(void **state) {
    (void)state;
    static const struct { const char *model, *quant, *out; } runs[] = {
        {MODELS "llama-rope3", "q8_0", "x.gguf"}, {MODELS "qwen3", "nf4", "x"}, {DEMO, "q8_0", "y.gguf"},
        {DEMO, "q4_0", "z.gguf"}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        bool failed = true;
        bool large = !strcmp(runs[i].model, DEMO); /* its vocabulary allocates many times in one loop */
        for (long at = 1; failed; at += large ? 1 + at / 8 : 1) {
            meter m = {.fail_at = at};
            llmrun_set_allocator(metered, &m);
            err = (llmrun_error){0};
            const char *text = strcmp(runs[i].quant, "q4_0") ? NULL : "There was once a king.";
            llmrun_status status = calibrated(runs[i].model, runs[i].quant, text, path_in(work, runs[i].out));
            llmrun_set_allocator(NULL, NULL);
            if (status && status != LLMRUN_NOMEM) fail_msg("%s: allocation %ld: %s", runs[i].model, at, err.message);
            if (m.held) fail_msg("%s: allocation %ld: %ld blocks leak", runs[i].model, at, m.held);
            failed = m.n >= at; /* one that can be done without may pass */
            if (!status && failed) print_message("%s: allocation %ld of %ld is not needed\n", runs[i].model, at, m.n);
        }
        expect_no_temporary();
    }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_work, remove_work)
    const struct CMUnitTest tests[] = {
        TEST(golden_models), TEST(without_a_word), TEST(packed_models), TEST(demo_model), TEST(ends), TEST(gguf_to_gguf), TEST(nf4_directories), TEST(refusals), TEST(calibration),
        TEST(old_output_survives), TEST(stale_files), TEST(every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
