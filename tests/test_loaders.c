/* Opening what stands at --model: directories, files, shards, the Hugging Face cache, and what is no model.          */
#include <fcntl.h>

#include "loaders/hf_cache.h"
#include "tests/model_files.h"

#define T(name, size, begin, end) \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" #size "],\"data_offsets\":[" #begin "," #end "]}"

static const char config[] = "{\"model_type\":\"llama\",\"hidden_size\":8}";
static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2626168\n";

static llmrun_status open_model(lr_checkpoint *c, const char *model) {
    return lr_checkpoint_open(c, model, NULL, &err);
}

/* A directory with config.json and one weights file of two tensors.                                                  */
static char *small_model(void) {
    char *dir = new_directory();
    write_text(dir, "config.json", config);
    write_safetensors(dir, "model.safetensors", "{" T("w", 4, 0, 4) "," T("a", 2, 4, 6) "}", 6);
    return dir;
}

static void check_small_model(const lr_checkpoint *c) {
    assert_int_equal(c->n_tensors, 2);
    assert_string_equal(c->tensors[0].name, "a");
    assert_int_equal(lr_checkpoint_find(c, "w")->data[3], 3);
    assert_int_equal(lr_checkpoint_find(c, "a")->data[0], 4);
    assert_null(lr_checkpoint_find(c, "b"));
    assert_string_equal(lr_config_string(&c->config, "model_type"), "llama");
    assert_false(c->config_only);
}

static void directory_and_files(void **state) {
    (void)state;
    char *dir = small_model();
    lr_checkpoint c, again;
    EXPECT_OK(open_model(&c, dir));
    check_small_model(&c);
    assert_null(c.tokenizer_path);
    assert_null(c.generation.values);
    EXPECT_OK(open_model(&again, dir));
    assert_true(again.header_hash == c.header_hash);
    lr_checkpoint_close(&again);

    write_text(dir, "tokenizer.json", "{}");
    write_text(dir, "generation_config.json", "{\"eos_token_id\":[1,2]}");
    write_text(dir, "tokenizer_config.json", "{\"bos_token\":\"<s>\"}");
    EXPECT_OK(open_model(&again, path_in(dir, "model.safetensors")));
    check_small_model(&again);
    assert_string_equal(again.tokenizer_path, path_in(dir, "tokenizer.json"));
    assert_true(lr_config_find(&again.generation, "eos_token_id.1")->number == 2);
    assert_string_equal(lr_config_string(&again.tokenizer_config, "bos_token"), "<s>");
    lr_checkpoint_close(&again);

    /* A bare config.json: no tensors, also where weights lie beside it. */
    EXPECT_OK(open_model(&again, path_in(dir, "config.json")));
    assert_true(again.config_only);
    assert_int_equal(again.n_tensors, 0);
    assert_non_null(again.tokenizer_path);
    lr_checkpoint_close(&again);
    write_text(dir, "llama-7b.json", config);
    EXPECT_OK(open_model(&again, path_in(dir, "llama-7b.json")));
    assert_true(again.config_only);
    assert_null(again.tokenizer_path);
    lr_checkpoint_close(&again);

    /* Weights of another name will do when they are the only ones. */
    assert_int_equal(rename(path_in(dir, "model.safetensors"), path_in(dir, "ema.safetensors")), 0);
    EXPECT_OK(open_model(&again, dir));
    check_small_model(&again);
    lr_checkpoint_close(&again);

    assert_string_equal(c.dir, dir);
    EXPECT_OK(open_model(&again, path_in(dir, "/")));
    assert_string_equal(again.dir, dir);
    lr_checkpoint_close(&again);

    /* The hash names the file: a new modification time is another file. */
    struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };
    assert_int_equal(utimensat(AT_FDCWD, path_in(dir, "ema.safetensors"), times, 0), 0);
    EXPECT_OK(open_model(&again, dir));
    assert_true(again.header_hash != c.header_hash);
    lr_checkpoint_close(&again);
    lr_checkpoint_close(&c);
    lr_checkpoint_close(&c); /* a closed one may be closed again */
    remove_tree(dir);
}

/* The first bytes of a pickle are also those of a header of 640 bytes.                                               */
static void header_like_a_pickle(void **state) {
    (void)state;
    char *dir = new_directory(), header[641];
    lr_checkpoint c;
    int n = snprintf(header, sizeof header, "{" T("w", 4, 0, 4) "}");
    memset(header + n, ' ', sizeof header - 1 - (size_t)n);
    header[640] = 0;
    write_text(dir, "config.json", config);
    write_safetensors(dir, "model.safetensors", header, 4);
    EXPECT_OK(open_model(&c, dir));
    assert_int_equal(c.n_tensors, 1);
    lr_checkpoint_close(&c);
    remove_tree(dir);
}

/* ---- shards ---- */

static char *sharded_model(void) {
    char *dir = new_directory();
    write_text(dir, "config.json", config);
    write_safetensors(dir, "model-00001-of-00003.safetensors", "{" T("w", 4, 0, 4) "}", 4);
    write_safetensors(dir, "model-00002-of-00003.safetensors", "{" T("a", 2, 0, 2) "}", 2);
    write_safetensors(dir, "model-00003-of-00003.safetensors", "{" T("z", 1, 0, 1) "}", 1);
    write_text(dir, "model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":99},\"weight_map\":{\"z\":\"model-00003-of-00003.safetensors\","
               "\"a\":\"model-00002-of-00003.safetensors\",\"w\":\"model-00001-of-00003.safetensors\"}}");
    return dir;
}

static void shards(void **state) {
    (void)state;
    char *dir = sharded_model();
    lr_checkpoint c;
    EXPECT_OK(open_model(&c, dir));
    assert_int_equal(c.n_tensors, 3);
    assert_int_equal(c.n_files, 3);
    assert_string_equal(c.tensors[2].name, "z");
    assert_int_equal(c.tensors[0].file, 1);
    lr_checkpoint_close(&c);
    EXPECT_OK(open_model(&c, path_in(dir, "model.safetensors.index.json")));
    assert_int_equal(c.n_tensors, 3);
    lr_checkpoint_close(&c);

    write_safetensors(dir, "model-00002-of-00003.safetensors", "{" T("b", 2, 0, 2) "}", 2);
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT,
                "tensor \"a\" expected in model-00002-of-00003.safetensors, it is in no shard");
    write_safetensors(dir, "model-00002-of-00003.safetensors", "{" T("w", 2, 0, 2) "}", 2);
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT, "tensor \"w\" defined twice, also in");
    write_safetensors(dir, "model-00002-of-00003.safetensors", "{" T("a", 2, 0, 2) "," T("w", 0, 2, 2) "}", 2);
    write_safetensors(dir, "model-00001-of-00003.safetensors", "{" T("y", 4, 0, 4) "}", 4);
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT,
                "tensor \"w\" expected in model-00001-of-00003.safetensors, it is in model-00002-of-00003.safetensors");
    write_text(dir, "model-00002-of-00003.safetensors", lfs);
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT, "is a Git LFS pointer");
    assert_int_equal(unlink(path_in(dir, "model-00002-of-00003.safetensors")), 0);
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT, "shard 2 of 3 missing: model-00002-of-00003.safetensors");
    assert_int_equal(unlink(path_in(dir, "model.safetensors.index.json")), 0);
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT, "2 .safetensors files and no model.safetensors.index.json");
    remove_tree(dir);
}

static void hostile_index(void **state) {
    (void)state;
    static const struct { const char *index, *words; } row[] = {
        { "{\"weight_map\":{\"w\":\"../../etc/x\"}}", "shard name must be a plain file name" },
        { "{\"weight_map\":{\"w\":\"/etc/x.safetensors\"}}", "must be a plain file name that ends in .safetensors" },
        { "{\"weight_map\":{\"w\":\"a/b.safetensors\"}}", "must be a plain file name" },
        { "{\"weight_map\":{\"w\":\"..\\\\b.safetensors\"}}", "must be a plain file name" },
        { "{\"weight_map\":{\"w\":\"..safetensors\"}}", "must be a plain file name" },
        { "{\"weight_map\":{\"w\":\"a\\u0000.safetensors\"}}", "u0000" },
        { "{\"weight_map\":{\"w\":\"\"}}", "must be a plain file name" },
        { "{\"weight_map\":{\"w\":3}}", "must be a plain file name that ends in .safetensors, got 3" },
        { "{\"weight_map\":{\"w\":\"pytorch_model.bin\"}}", "must be a plain file name that ends in .safetensors" },
        { "{\"weight_map\":{}}", "expected \"weight_map\"" },
        { "{\"weight_map\":[]}", "expected \"weight_map\"" },
        { "{}", "expected \"weight_map\"" },
        { "[]", "expected \"weight_map\"" },
        { "{\"weight_map\":{\"w\":\"x.safetensors\",\"w\":\"x.safetensors\"}}", "\"w\" defined twice" },
        { "{\"weight_map\":{\"w\":\"x.safetensors\"}}", "shard 1 of 1 missing: x.safetensors" },
        { "{\"weight_map\":", "cut short?" },
    };
    char *dir = new_directory();
    write_text(dir, "config.json", config);
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        lr_checkpoint c;
        write_text(dir, "model.safetensors.index.json", row[i].index);
        EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT, row[i].words);
    }
    remove_tree(dir);
}

/* ---- what is not a model ---- */

static void foreign_files(void **state) {
    (void)state;
    static const struct { const char *name, *bytes; llmrun_status status; const char *words; } row[] = {
        { "pytorch_model.bin", "x", LLMRUN_UNSUPPORTED, "pickle files can run code and are never read; convert" },
        { "model.pt", "x", LLMRUN_UNSUPPORTED, "pickle files can run code" },
        { "consolidated.00.pth", "x", LLMRUN_UNSUPPORTED, "pickle files can run code" },
        { "epoch3.ckpt", "x", LLMRUN_UNSUPPORTED, "pickle files can run code" },
        { "model-q4_k_m.gguf", "x", LLMRUN_FORMAT, "expected \"GGUF\" at its first byte" },
        { "blob-zip", "PK\3\4abcdef", LLMRUN_UNSUPPORTED, "pickle files can run code" },
        { "blob-pickle", "\x80\2}q\1.", LLMRUN_UNSUPPORTED, "pickle files can run code" },
        { "blob-gguf", "GGUF\3abcdefgh", LLMRUN_FORMAT, "GGUF version 1667391747 not supported (2, 3)" },
        { "blob-lfs", lfs, LLMRUN_FORMAT, "is a Git LFS pointer of 72 bytes, not the file; run 'git lfs pull'" },
        { "blob-html", "<!DOCTYPE html><html>", LLMRUN_FORMAT, "not a safetensors file?" },
        { "blob-short", "abcd", LLMRUN_FORMAT, "file is 4 bytes, header needs at least 8; download incomplete?" },
        { "blob-empty", "", LLMRUN_FORMAT, "file is 0 bytes, header needs at least 8" },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        char *dir = new_directory();
        lr_checkpoint c;
        write_text(dir, "config.json", config);
        write_text(dir, row[i].name, row[i].bytes);
        EXPECT_FAIL(open_model(&c, path_in(dir, row[i].name)), row[i].status, row[i].words);
        assert_non_null(strstr(err.message, row[i].name));
        /* The same found by way of the directory; unnamed blobs are not looked at there. */
        if (!strncmp(row[i].name, "blob", 4))
            EXPECT_FAIL(open_model(&c, dir), LLMRUN_IO, "no weights: expected model.safetensors");
        else
            EXPECT_FAIL(open_model(&c, dir), row[i].status, row[i].words);
        remove_tree(dir);
    }
}

static void missing_and_odd_files(void **state) {
    (void)state;
    char *dir = new_directory();
    lr_checkpoint c;
    lr_map m;
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_IO, "config.json: no such file");
    write_safetensors(dir, "model.safetensors", "{}", 0);
    EXPECT_FAIL(open_model(&c, path_in(dir, "model.safetensors")), LLMRUN_IO, "config.json: no such file");
    write_text(dir, "config.json", "{\"a\":1");
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT, "config.json: expected ',' or '}', got the end at byte 6");
    write_text(dir, "config.json", lfs);
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT, "config.json: is a Git LFS pointer");
    write_text(dir, "config.json", config);
    write_text(dir, "generation_config.json", "[");
    EXPECT_FAIL(open_model(&c, dir), LLMRUN_FORMAT, "generation_config.json: expected a value");

    EXPECT_FAIL(open_model(&c, "/dev/zero"), LLMRUN_IO, "/dev/zero: is a character device, need a regular file");
    EXPECT_FAIL(open_model(&c, path_in(dir, "none.safetensors")), LLMRUN_IO, "cannot open: No such file");
    EXPECT_FAIL(open_model(&c, "none.safetensors"), LLMRUN_IO, "cannot open: No such file");
    EXPECT_FAIL(open_model(&c, "none.gguf"), LLMRUN_IO, "cannot open: No such file");
    EXPECT_FAIL(open_model(&c, ""), LLMRUN_IO, "cannot open");
    EXPECT_FAIL(lr_map_open(&m, dir, false, &err), LLMRUN_IO, "is a directory, need a regular file");
    assert_int_equal(mkfifo(path_in(dir, "fifo"), 0600), 0);
    EXPECT_FAIL(open_model(&c, path_in(dir, "fifo")), LLMRUN_IO, "is a FIFO, need a regular file");
    assert_int_equal(symlink("nowhere", path_in(dir, "link")), 0);
    EXPECT_FAIL(open_model(&c, path_in(dir, "link")), LLMRUN_IO, "broken link");
    write_text(dir, "secret.safetensors", "x");
    assert_int_equal(chmod(path_in(dir, "secret.safetensors"), 0), 0);
    if (geteuid() != 0)
        EXPECT_FAIL(open_model(&c, path_in(dir, "secret.safetensors")), LLMRUN_IO, "Permission denied");
    remove_tree(dir);
}

static void shrinks_in_use(void **state) {
    (void)state;
    char *dir = new_directory();
    write_text(dir, "f", "0123456789");
    lr_map m, copy;
    EXPECT_OK(lr_map_open(&m, path_in(dir, "f"), false, &err));
    EXPECT_OK(lr_map_open(&copy, path_in(dir, "f"), true, &err));
    EXPECT_OK(lr_map_check(&m, &err));
    /* Another file under the same name is no harm: the map holds the old one. */
    write_text(dir, "g", "0");
    assert_int_equal(rename(path_in(dir, "g"), path_in(dir, "f")), 0);
    EXPECT_OK(lr_map_check(&m, &err));
    lr_map_close(&m);
    write_text(dir, "f", "0123456789");
    EXPECT_OK(lr_map_open(&m, path_in(dir, "f"), false, &err));
    assert_int_equal(truncate(path_in(dir, "f"), 4), 0);
    EXPECT_FAIL(lr_map_check(&m, &err), LLMRUN_IO, "shrank from 10 to 4 bytes while in use");
    EXPECT_OK(lr_map_check(&copy, &err));
    assert_memory_equal(copy.data, "0123456789", 10);
    lr_map_close(&copy);
    lr_map_close(&m);
    lr_map_close(&m);
    remove_tree(dir);
}

/* ---- the Hugging Face cache ---- */

static void make_directories(const char *dir, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (char *p = path + strlen(dir) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        mkdir(path, 0700);
    }
    mkdir(path, 0700);
}

static void cache_snapshots(void **state) {
    (void)state;
    char *hub = new_directory(), *empty = new_directory();
    const char *const hubs[] = { "/nonexistent/hub", empty, hub, NULL };
    const char *snap = "models--TinyLlama--TinyLlama-1.1B/snapshots/0123abcd";
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/%s", hub, snap);
    lr_checkpoint c;
    make_directories(hub, "models--TinyLlama--TinyLlama-1.1B/blobs");
    make_directories(hub, "models--TinyLlama--TinyLlama-1.1B/refs");
    make_directories(hub, "models--gpt2");
    make_directories(hub, "models--other--TinyLlama-1.1B");
    make_directories(hub, "models--other--unrelated");
    make_directories(hub, snap);
    write_text(hub, "models--TinyLlama--TinyLlama-1.1B/blobs/aa", config);
    write_safetensors(hub, "models--TinyLlama--TinyLlama-1.1B/blobs/bb",
                      "{" T("w", 4, 0, 4) "," T("a", 2, 4, 6) "}", 6);
    assert_int_equal(symlink("../../blobs/aa", path_in(dir, "config.json")), 0);
    assert_int_equal(symlink("../../blobs/bb", path_in(dir, "model.safetensors")), 0);

    /* Without a ref the newest snapshot serves, with one the commit it names. */
    EXPECT_OK(lr_checkpoint_open(&c, "TinyLlama/TinyLlama-1.1B", hubs, &err));
    check_small_model(&c);
    assert_string_equal(c.dir, dir);
    lr_checkpoint_close(&c);
    make_directories(hub, "models--TinyLlama--TinyLlama-1.1B/snapshots/ffff");
    write_text(hub, "models--TinyLlama--TinyLlama-1.1B/refs/main", "0123abcd\n");
    EXPECT_OK(lr_checkpoint_open(&c, "TinyLlama/TinyLlama-1.1B", hubs, &err));
    assert_string_equal(c.dir, dir);
    lr_checkpoint_close(&c);
    /* A snapshot's file given by path: its shards and config are its neighbours, not those of the blob. */
    EXPECT_OK(open_model(&c, path_in(dir, "model.safetensors")));
    check_small_model(&c);
    lr_checkpoint_close(&c);

    EXPECT_FAIL(lr_checkpoint_open(&c, "tinyllama/tinyllama-1.1b", hubs, &err), LLMRUN_IO,
                "near it: TinyLlama/TinyLlama-1.1B, other/TinyLlama-1.1B; to download: hf download tinyllama/tiny");
    EXPECT_FAIL(lr_checkpoint_open(&c, "gpt3", hubs, &err), LLMRUN_IO,
                "near it: gpt2; to download: hf download gpt3");
    EXPECT_FAIL(lr_checkpoint_open(&c, "zzzzzzzz/qqqqqqqq", hubs, &err), LLMRUN_IO,
                "cache; to download: hf download zzzz");
    EXPECT_FAIL(lr_checkpoint_open(&c, "zzzzzzzz/qqqqqqqq", NULL, &err), LLMRUN_IO,
                "hf download zzzzzzzz/qqqqqqqq");
    EXPECT_FAIL(lr_checkpoint_open(&c, "gpt2", hubs, &err), LLMRUN_IO, "hf download gpt2");
    /* A ref is text from a file and must not lead elsewhere. */
    write_text(hub, "models--TinyLlama--TinyLlama-1.1B/refs/main", "../../models--gpt2");
    EXPECT_FAIL(lr_checkpoint_open(&c, "TinyLlama/TinyLlama-1.1B", hubs, &err), LLMRUN_FORMAT,
                "a commit of hex digits");
    /* An interrupted download: the link is there, its blob is not. */
    write_text(hub, "models--TinyLlama--TinyLlama-1.1B/refs/main", "0123abcd");
    assert_int_equal(unlink(path_in(hub, "models--TinyLlama--TinyLlama-1.1B/blobs/bb")), 0);
    EXPECT_FAIL(lr_checkpoint_open(&c, "TinyLlama/TinyLlama-1.1B", hubs, &err), LLMRUN_IO,
                "broken link: its target does not exist; download incomplete?");
    remove_tree(hub);
    remove_tree(empty);
}

static void nearest_ids(void **state) {
    (void)state;
    char *hub = new_directory();
    const char *const hubs[] = { hub, NULL };
    static const char *const have[] = { "a--Qwen3-8B-Instruct-2507", "a--Qwen3-4B", "a--Qwen3-8C", "a--Qwen3-8B-GGUF",
                                        "a--Qwen3-8Bx", "b--Qwen3-8B", "a--Llama-3.1-8B", "unrelated" };
    lr_checkpoint c;
    for (size_t i = 0; i < LR_COUNT(have); i++) {
        char name[128];
        snprintf(name, sizeof name, "models--%s", have[i]);
        make_directories(hub, name);
    }
    /* Four at most, the closest first. */
    EXPECT_FAIL(lr_checkpoint_open(&c, "b/qwen3-8b-it", hubs, &err), LLMRUN_IO, "near it: b/Qwen3-8B, ");
    assert_null(strstr(err.message, "Instruct-2507"));
    assert_null(strstr(err.message, "Llama"));
    assert_null(strstr(err.message, "unrelated"));
    remove_tree(hub);
}

static void repo_ids(void **state) {
    (void)state;
    static const char *const good[] = { "gpt2", "meta-llama/Llama-3.1-8B", "a/b", "_x/y_z.1" };
    static const char *const bad[] = { "", "/", "a/", "/a", "a/b/c", "../a", "a/..", "a/.b",
                                       ".a", "-a", "a--b/c", "a b", "a/\xc3\xa9", "a\\b", "~/a" };
    for (size_t i = 0; i < LR_COUNT(good); i++) assert_true(lr_hf_cache_is_id(good[i]));
    for (size_t i = 0; i < LR_COUNT(bad); i++) assert_false(lr_hf_cache_is_id(bad[i]));
}

/* ---- memory ---- */

typedef struct faults { size_t n, fail_at, live; } faults;

static void *faulty_realloc(void *user, void *old, size_t size) {
    faults *f = user;
    if (size == 0) {
        f->live--;
        free(old);
        return NULL;
    }
    if (++f->n == f->fail_at) return NULL;
    void *p = realloc(old, size);
    if (p && !old) f->live++;
    return p;
}

/* Every allocation fails once in turn: NOMEM, and nothing stays behind.                                              */
static void allocation_failures(void **state) {
    (void)state;
    char *dir = sharded_model();
    write_text(dir, "tokenizer.json", "{}");
    write_text(dir, "generation_config.json", "{\"eos_token_id\":[1,2],\"s\":\"text\"}");
    write_text(dir, "tokenizer_config.json", "{}");
    /* The same files once more as a snapshot in a cache. */
    make_directories(dir, "models--org--name/snapshots");
    assert_int_equal(symlink(dir, path_in(dir, "models--org--name/snapshots/00ff")), 0);
    const char *const hubs[] = { dir, NULL };
    static const struct { const char *model; llmrun_status last; } row[] = {
        { NULL, LLMRUN_OK }, { "org/name", LLMRUN_OK },
        { "org/nam", LLMRUN_IO },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        llmrun_status status = LLMRUN_NOMEM;
        faults f = { 0 };
        do {
            lr_checkpoint c;
            f = (faults){ .fail_at = f.fail_at + 1 };
            llmrun_set_allocator(faulty_realloc, &f);
            status = lr_checkpoint_open(&c, row[i].model ? row[i].model : dir, hubs, &err);
            lr_checkpoint_close(&c);
            llmrun_set_allocator(NULL, NULL);
            assert_int_equal(f.live, 0);
            if (f.n < f.fail_at) break; /* it had all the memory it wanted */
            /* The list of near ids may shrink for want of memory; the refusal stays. */
            assert_int_equal(status, status == row[i].last && row[i].last ? LLMRUN_IO : LLMRUN_NOMEM);
        } while (f.fail_at < 10000);
        assert_int_equal(status, row[i].last);
        assert_true(f.fail_at > 1);
    }
    remove_tree(dir);
}

/* ---- real models ---- */

static void shared_models(void **state) {
    (void)state;
    if (access("../shared/data/models/stories260K", R_OK) != 0) skip();
    lr_checkpoint c;
    EXPECT_OK(open_model(&c, "../shared/data/models/stories260K"));
    assert_int_equal(c.n_tensors, 47);
    assert_int_equal(lr_checkpoint_find(&c, "model.embed_tokens.weight")->shape[0], 512);
    assert_non_null(c.tokenizer_path);
    lr_checkpoint_close(&c);
    EXPECT_OK(open_model(&c, "../shared/data/models/TinyStories-656K"));
    assert_int_equal(c.n_tensors, 20);
    assert_int_equal(lr_checkpoint_find(&c, "lm_head.weight")->shape[1], 128);
    assert_null(lr_checkpoint_find(&c, "model.embed_tokens.weight"));
    lr_checkpoint_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directory_and_files), cmocka_unit_test(shards),
        cmocka_unit_test(header_like_a_pickle), cmocka_unit_test(nearest_ids),
        cmocka_unit_test(hostile_index),       cmocka_unit_test(foreign_files),
        cmocka_unit_test(missing_and_odd_files), cmocka_unit_test(shrinks_in_use),
        cmocka_unit_test(cache_snapshots),     cmocka_unit_test(repo_ids),
        cmocka_unit_test(allocation_failures), cmocka_unit_test(shared_models),
    };
    return cmocka_run_group_tests_name("loaders", tests, NULL, NULL);
}
