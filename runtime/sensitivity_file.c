/* The file of a measurement: one JSON document in the cache directory, named by the hash of the model's headers, sizes
 * and times.  Whatever is wrong with it, it is as if it were not there.                                               */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loaders/json.h"
#include "runtime/output.h"
#include "runtime/sensitivity.h"

enum { VERSION = 2, MOST_BYTES = 16 << 20, MOST_VALUES = 1 << 20 };
#define MOST_KL 1e6

/* ---- writing ---- */

static void add_costs(lr_text *out, const double kl[LR_RUNG_FILE]) {
    for (int r = 0; r < LR_RUNG_FILE; r++)
        lr_text_add(out, "%s\"%s\": %.9g", r ? ", " : "", lr_formats[lr_plan_rungs[r]].name, kl[r]);
}

void lr_sensitivity_json(const lr_sensitivity *s, const llmrun_engine *e, lr_text *out) {
    lr_text_add(out, "{\"version\": %d, \"model\": \"%016" PRIx64 "\", \"reference\": \"%s\", \"tokens\": %d,\n", VERSION,
                e->checkpoint.header_hash, s->reference, s->n_tokens);
    lr_text_add(out, " \"all\": {");
    add_costs(out, s->all);
    lr_text_add(out, "}, \"alone\": %.9g,\n \"tensors\": [", s->alone);
    for (size_t i = 0; i < s->n; i++) {
        lr_text_add(out, "%s\n  {\"role\": \"%s\", \"layer\": %d, ", i ? "," : "",
                    lr_plan_role_name(e->binding.tensors[i].role), e->binding.tensors[i].layer);
        add_costs(out, s->costs[i].kl);
        lr_text_add(out, "}");
    }
    lr_text_add(out, "\n ]}\n");
}

/* A column for each role that costs anything, a row for each layer; millinats.                                        */
void lr_sensitivity_text(const lr_sensitivity *s, const llmrun_engine *e, lr_text *out) {
    const lr_plan_tensor *t = e->binding.tensors;
    bool used[LR_N_ROLES] = { 0 };
    lr_text_add(out, "What fewer bits cost, against %s on %d tokens: KL divergence in thousandths of a nat a token.\n"
                "All matrices at once:", s->reference, s->n_tokens);
    for (int r = 0; r < LR_RUNG_FILE; r++)
        lr_text_add(out, "%s %.3g in %s", r ? "," : "", 1e3 * s->all[r], lr_formats[lr_plan_rungs[r]].name);
    lr_text_add(out, ".  Each alone in %s (gate with up), %.3g in sum:\n\nlayer", lr_formats[lr_plan_rungs[0]].name,
                1e3 * s->alone);
    for (size_t i = 0; i < s->n; i++)
        if (t[i].layer >= 0 && s->costs[i].kl[0] > 0) used[t[i].role] = true;
    for (int r = 0; r < LR_N_ROLES; r++)
        if (used[r]) lr_text_add(out, " %9s", lr_plan_role_name((lr_role)r));
    for (int32_t l = 0; l < e->binding.hparams.n_layers; l++) {
        lr_text_add(out, "\n%5d", l);
        for (int r = 0; r < LR_N_ROLES; r++) {
            int64_t i = used[r] ? lr_binding_find(&e->binding, (lr_role)r, l) : -1;
            if (i >= 0) lr_text_add(out, " %9.3f", 1e3 * s->costs[i].kl[0]);
            else if (used[r]) lr_text_add(out, " %9s", "");
        }
    }
    lr_text_add(out, "\n");
    for (size_t i = 0; i < s->n; i++)
        if (t[i].layer < 0 && s->costs[i].kl[0] > 0)
            lr_text_add(out, "%s %.3f\n", lr_plan_role_name(t[i].role), 1e3 * s->costs[i].kl[0]);
}

/* Release with lr_free; NULL: no memory.                                                                              */
static char *path_of(const char *dir, const llmrun_engine *e) {
    lr_text path = { 0 };
    lr_text_add(&path, "%s/%016" PRIx64 ".sensitivity", dir, e->checkpoint.header_hash);
    if (!path.failed) return path.text;
    lr_free(path.text);
    return NULL;
}

llmrun_status lr_sensitivity_write(const lr_sensitivity *s, const char *dir, const llmrun_engine *e, llmrun_error *err) {
    lr_text text = { 0 };
    lr_output out = { .parent = -1, .lock = -1, .fd = -1 };
    char *path = path_of(dir, e);
    int made = lr_cache_open_dir(dir);
    lr_sensitivity_json(s, e, &text);
    llmrun_status status = LLMRUN_OK;
    if (made >= 0) close(made);
    else status = lr_fail(err, LLMRUN_IO, "%s: %s", dir, strerror(errno));
    if (!status && (!path || text.failed)) status = lr_fail_nomem(err, "sensitivity", text.n);
    if (!status) status = lr_output_open(&out, path, false, text.n, err);
    if (!status) status = lr_output_begin(&out, NULL, text.n, err);
    if (!status) status = lr_output_write(&out, text.text, text.n, 0, err);
    if (!status) status = lr_output_end(&out, err);
    if (!status) status = lr_output_commit(&out, err);
    lr_output_close(&out);
    lr_free(text.text);
    lr_free(path);
    return status;
}

/* ---- reading ---- */

static bool read_kl(const cJSON *object, const char *key, double *out) {
    const cJSON *item = lr_json_get(object, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= MOST_KL)) return false;
    *out = item->valuedouble;
    return true;
}

static bool read_costs(const cJSON *object, double kl[LR_RUNG_FILE]) {
    for (int r = 0; r < LR_RUNG_FILE; r++)
        if (!read_kl(object, lr_formats[lr_plan_rungs[r]].name, &kl[r])) return false;
    return true;
}

static bool is_text(const cJSON *item, const char *text) {
    return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

static bool read_head(lr_sensitivity *s, const cJSON *json, const llmrun_engine *e) {
    char model[20];
    int64_t version, tokens;
    const cJSON *reference = lr_json_get(json, "reference");
    snprintf(model, sizeof model, "%016" PRIx64, e->checkpoint.header_hash);
    if (!lr_json_int(lr_json_get(json, "version"), VERSION, VERSION, &version) || !is_text(lr_json_get(json, "model"), model) ||
        !lr_json_int(lr_json_get(json, "tokens"), 1, INT32_MAX, &tokens) || !cJSON_IsString(reference) ||
        lr_format_by_name(reference->valuestring) == LR_FORMAT_NONE)
        return false;
    s->n_tokens = (int32_t)tokens;
    snprintf(s->reference, sizeof s->reference, "%s", reference->valuestring);
    return read_costs(lr_json_get(json, "all"), s->all) && read_kl(json, "alone", &s->alone);
}

/* Every tensor of the model, in its order.                                                                            */
static bool read_tensors(lr_sensitivity *s, const cJSON *json, const llmrun_engine *e) {
    const cJSON *list = lr_json_get(json, "tensors"), *item;
    size_t i = 0;
    if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) != s->n) return false;
    cJSON_ArrayForEach(item, list) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        lr_plan_cost *c = &s->costs[i++];
        int64_t layer;
        if (!is_text(lr_json_get(item, "role"), lr_plan_role_name(t->role)) ||
            !lr_json_int(lr_json_get(item, "layer"), t->layer, t->layer, &layer) || !read_costs(item, c->kl))
            return false;
    }
    return true;
}

llmrun_status lr_sensitivity_parse(lr_sensitivity *s, const char *text, size_t n, const llmrun_engine *e, llmrun_error *err) {
    cJSON *json = NULL;
    *s = (lr_sensitivity){ .n = e->binding.n };
    llmrun_status status = lr_json_parse(&json, text, n, MOST_VALUES, "sensitivity", err);
    if (!status && !(s->costs = lr_zalloc(s->n, sizeof *s->costs)))
        status = lr_fail_nomem(err, "sensitivity", s->n * sizeof *s->costs);
    if (!status && !(read_head(s, json, e) && read_tensors(s, json, e)))
        status = lr_fail(err, LLMRUN_FORMAT, "sensitivity: expected costs of each tensor of this model, got something else");
    if (status) lr_sensitivity_close(s);
    lr_json_close(json);
    return status;
}

/* All of an own, regular file.  NULL: not there, too large, or no memory.                                             */
static char *read_file(const char *path, size_t *n, bool *there) {
    struct stat st;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    *there = fd >= 0;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_size <= MOST_BYTES) {
        *n = (size_t)st.st_size;
        text = lr_alloc(*n);
        if (text && read(fd, text, *n) != (ssize_t)*n) {
            lr_free(text);
            text = NULL;
        }
    }
    if (fd >= 0) close(fd);
    return text;
}

bool lr_sensitivity_read(lr_sensitivity *s, const char *dir, const llmrun_engine *e) {
    char *path = path_of(dir, e), *text = NULL;
    size_t n = 0;
    bool there = false, good = false;
    *s = (lr_sensitivity){ 0 };
    if (path) text = read_file(path, &n, &there);
    if (text) good = lr_sensitivity_parse(s, text, n, e, NULL) == LLMRUN_OK;
    if (there && !good) lr_log(&e->report, LLMRUN_LOG_WARN, "%s: ignored, for it is no measurement of this model", path);
    lr_free(text);
    lr_free(path);
    return good;
}
