/* Any bytes as config.json: first through the JSON reader from a heap block of exactly its size, then as a file, with
 * every key and value read and asked for in every type; then as a model without weights, its text_config hoisted.     */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loaders/json.h"
#include "tests/fuzz/fuzz_bind.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static volatile size_t sink;

static void read_tree(const cJSON *item) {
    for (; item; item = item->next) {
        int64_t v;
        sink = item->string ? strlen(item->string) : 0;
        sink = cJSON_IsString(item) ? strlen(item->valuestring) : 0;
        if (lr_json_int(item, -5, LR_JSON_MAX_INT, &v) && v < -5) abort();
        read_tree(item->child);
    }
}

static void read_values(const lr_config *c) {
    llmrun_error err;
    for (size_t i = 0; i < c->n_values; i++) {
        const lr_value *v = &c->values[i];
        int64_t whole = 0;
        double number = 1;
        if (lr_config_find(c, v->key) != v) abort();
        sink = v->string ? strlen(v->string) : 0;
        sink = lr_config_bool(c, v->key, false);
        sink = lr_config_string(c, v->key) != NULL;
        if (!lr_config_int(c, v->key, 1, INT32_MAX, 0, &whole, &err) && (whole < 1 || whole > INT32_MAX)) abort();
        if (!lr_config_number(c, v->key, NAN, &number, &err) && !(number > 0 && isfinite(number))) abort();
    }
}

/* As checkpoint.c opens a bare config.json.                                                                           */
static void read_model(lr_config *config) {
    char dir[] = "fuzz";
    llmrun_error err;
    lr_checkpoint c = { .dir = dir, .config_only = true };
    if (lr_config_hoist(config, "text_config.", &err)) return;
    for (size_t i = 1; i < config->n_values; i++)
        if (strcmp(config->values[i - 1].key, config->values[i].key) >= 0) abort();
    c.config = *config;
    bind_and_read(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[64];
    uint8_t *file = malloc(n ? n : 1);
    if (!file) return 0;
    memcpy(file, bytes, n);
    cJSON *json = NULL;
    llmrun_error err;
    llmrun_status status = lr_json_parse(&json, file, n, 1 << 20, "fuzz.json", &err);
    if (status != LLMRUN_OK && status != LLMRUN_FORMAT) abort();
    read_tree(json);
    free(file);

    int fd = memfd_create("fuzz.json", 0);
    if (fd >= 0 && write(fd, bytes, n) == (ssize_t)n) {
        lr_config c;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        llmrun_status again = lr_config_read(&c, path, &err);
        if (again != LLMRUN_OK && again != LLMRUN_FORMAT) abort();
        if (!again && (status || !cJSON_IsObject(json))) abort();
        if (!again) read_values(&c);
        if (!again) read_model(&c);
        lr_config_close(&c);
    }
    if (fd >= 0) close(fd);
    lr_json_close(json);
    return 0;
}
