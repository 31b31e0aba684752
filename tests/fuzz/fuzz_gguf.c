/* Any bytes as a GGUF file.  The file is a heap block of exactly its size; every value and every byte of every tensor of
 * an accepted file is read, so that one wrong range is a sanitizer report.  A file that is a model is bound and decoded. */
#include "loaders/gguf.h"
#include "loaders/weights.h"
#include "tests/fuzz/fuzz_bind.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static volatile uint8_t sink;

static void read_values(const lr_gguf *g) {
    char text[80];
    for (size_t i = 0; i < g->n_values; i++) {
        const lr_gguf_value *v = &g->values[i];
        lr_gguf_strings s = lr_gguf_strings_of(v);
        lr_gguf_text t;
        int64_t whole = 0;
        double sum = 0;
        while (lr_gguf_next(&s, &t))
            for (size_t k = 0; k < t.n; k++) sink ^= (uint8_t)t.text[k];
        if (lr_gguf_string(v, &t) && t.n) sink ^= (uint8_t)t.text[t.n - 1];
        for (uint64_t k = 0; k < v->count && v->type != LR_GGUF_STRING; k++)
            sum += lr_gguf_number_at(v, k) + (lr_gguf_int_at(v, k, &whole) ? (double)whole : 0);
        sink ^= sum > 0;
        lr_gguf_describe(text, sizeof text, v);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[] = "fuzz.gguf";
    uint8_t *file = malloc(n ? n : 1);
    if (!file) return 0;
    memcpy(file, bytes, n);
    lr_map m = { .data = file, .size = n, .path = path, .heap = true, .fd = -1 };
    lr_gguf g = { 0 };
    lr_config c = { 0 };
    lr_tensor *tensors = NULL;
    size_t n_tensors = 0, cap = 0;
    uint64_t n_header = 0;
    llmrun_error err;
    llmrun_status status = lr_gguf_read(&g, &m, 0, &tensors, &n_tensors, &cap, &n_header, &err);
    if (status != LLMRUN_OK && status != LLMRUN_FORMAT && status != LLMRUN_UNSUPPORTED) abort();
    if (status != LLMRUN_OK && (n_tensors != 0 || g.n_values != 0 || strlen(err.message) == 0)) abort();
    if (status == LLMRUN_OK && n_header > n) abort();
    for (size_t i = 0; i < n_tensors; i++) {
        const lr_tensor *t = &tensors[i];
        uint64_t most = t->bytes < 4096 ? t->bytes : 4096; /* tensors may overlap: a million could share the file */
        for (uint64_t k = 0; k < most; k++) sink ^= t->data[k] ^ t->data[t->bytes - 1 - k];
    }
    read_values(&g);
    if (status == LLMRUN_OK && lr_gguf_config(&c, &g, path, &err) == LLMRUN_OK) {
        for (size_t i = 0; i < c.n_values; i++)
            if (!lr_config_find(&c, c.values[i].key)) abort();
        lr_checkpoint model = { .gguf = g, .config = c, .tensors = tensors, .n_tensors = n_tensors, .files = &m, .n_files = 1,
                                .dir = path };
        if (g.n_values && !lr_weights_sort(&model, &err)) bind_and_read(&model);
    }
    lr_config_close(&c);
    lr_gguf_close(&g);
    lr_tensors_free(tensors, n_tensors);
    free(file);
    return 0;
}
