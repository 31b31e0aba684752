/* A model as Hugging Face lays it out: model.safetensors, config.json and the tokenizer's files.  nf4 as bitsandbytes
 * stores it, so that transformers loads it: codes of the flattened matrix, absmax, quant_map and quant_state; embedding,
 * head, norms and biases keep the type they have.                                                                    */
#include "runtime/quantize.h"

#include <stdio.h>
#include <string.h>

#include "loaders/json.h"
#include "loaders/json_scan.h"
#include "loaders/path.h"

static const char *torch_name(lr_dtype dtype) {
    return dtype == LR_DT_F32 ? "float32" : dtype == LR_DT_BF16 ? "bfloat16" : "float16";
}

static bool is_linear(lr_role role) {
    return (role >= LR_WQ && role <= LR_WO) || role == LR_W_GATE || role == LR_W_UP || role == LR_W_DOWN;
}

static llmrun_status add_nf4(lr_quantize *q, const lr_quantize_item *item) {
    const lr_tensor *t = item->src;
    char name[256], state[256];
    int length = snprintf(state, sizeof state,
                          "{\"quant_type\": \"nf4\", \"blocksize\": %d, \"dtype\": \"%s\", \"shape\": [%lld, %lld]}",
                          lr_formats[LR_NF4].block, torch_name(t->dtype), (long long)item->rows, (long long)item->cols);
    llmrun_status status = lr_quantize_add_item(q, t->name, item);
    snprintf(name, sizeof name, "%s.quant_map", t->name);
    if (!status) status = lr_quantize_add_ready(q, name, LR_DT_F32, LR_COUNT(lr_nf4_values), lr_nf4_values);
    snprintf(name, sizeof name, "%s.quant_state.bitsandbytes__nf4", t->name);
    return status ? status : lr_quantize_add_ready(q, name, LR_DT_U8, (uint64_t)length, state);
}

llmrun_status lr_quantize_list_hf(lr_quantize *q) {
    const lr_binding *b = &q->e->binding;
    llmrun_status status = LLMRUN_OK;
    if (q->e->checkpoint.gguf.n_values)
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "%s: a GGUF model is written as GGUF only; give a name that ends in .gguf",
                       q->e->checkpoint.files[0].path);
    for (size_t i = 0; i < b->n && !status; i++) {
        const lr_tensor *t = b->sources[i].tensor;
        const lr_plan_tensor *p = &b->tensors[i];
        lr_quantize_item item = {.src = t, .format = lr_format_of_dtype(t->dtype), .rows = p->rows, .cols = p->cols};
        status = lr_quantize_check_source(q, i, false);
        if (status) return status;
        if (q->format == LR_NF4 && is_linear(p->role)) {
            item.format = LR_NF4;
            status = add_nf4(q, &item);
            continue;
        }
        if (q->format != LR_NF4 && p->cols > 1) item.format = q->format;
        status = lr_quantize_add_item(q, t->name, &item);
    }
    return status;
}

/* ---- beside the weights ---- */

/* config.json with another type of weights (dtype NULL: unchanged) and with members added in front.  All other text stays
 * as it is: a number that is written 10000.0 must not become 10000.                                                  */
static bool edit_config(lr_text *out, const lr_map *map, const char *dtype, const char *added) {
    const char *text = (const char *)map->data, *copied;
    lr_json_scan s = {text, text, text + map->size};
    lr_text key = {0}, body = {0};
    bool found = false, good = lr_json_scan_take(&s, '{');
    copied = s.at;
    while (good && !lr_json_scan_peek(&s, '}')) {
        key.n = 0;
        good = lr_json_scan_string(&s, &key) && lr_json_scan_take(&s, ':');
        const char *value = s.at;
        bool is_dtype = dtype && good && key.text && (!strcmp(key.text, "dtype") || !strcmp(key.text, "torch_dtype"));
        good = good && lr_json_scan_skip(&s);
        if (good && is_dtype) {
            lr_text_add_bytes(&body, copied, (size_t)(value - copied));
            lr_text_add(&body, " \"%s\"", dtype);
            copied = s.at;
            found = true;
        }
        lr_json_scan_take(&s, ',');
    }
    lr_text_add_bytes(&body, copied, (size_t)(text + map->size - copied));
    lr_text_add(out, "{%s", added);
    if (dtype && !found) lr_text_add(out, "\n  \"torch_dtype\": \"%s\",", dtype);
    lr_text_add_bytes(out, body.text, body.n);
    good = good && !out->failed && !body.failed && !key.failed;
    lr_free(key.text);
    lr_free(body.text);
    return good;
}

static llmrun_status write_file(lr_output *out, const char *name, const void *bytes, uint64_t n, llmrun_error *err) {
    llmrun_status status = lr_output_begin(out, name, n, err);
    if (!status) status = lr_output_write(out, bytes, n, 0, err);
    return status ? status : lr_output_end(out, err);
}

static llmrun_status write_config(const lr_quantize *q, lr_output *out) {
    const lr_checkpoint *c = &q->e->checkpoint;
    lr_map map = {0};
    lr_text text = {0};
    lr_dtype type = q->e->binding.sources[q->e->binding.n - 1].tensor->dtype;
    for (size_t i = 0; i < q->e->binding.n; i++)
        if (q->e->binding.tensors[i].role == LR_WQ) type = q->e->binding.sources[i].tensor->dtype;
    const char *name = q->format == LR_F32 ? "float32" : q->format == LR_BF16 ? "bfloat16" : "float16";
    char added[300] = "";
    if (q->format == LR_NF4) /* what transformers must know; the rest are its defaults */
        snprintf(added, sizeof added, "\n  \"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, "
                 "\"bnb_4bit_quant_type\": \"nf4\", \"bnb_4bit_use_double_quant\": false, \"bnb_4bit_quant_storage\": \"uint8\", "
                 "\"bnb_4bit_compute_dtype\": \"%s\"},", torch_name(type));
    llmrun_status status = lr_map_open(&map, c->config.path, false, q->err);
    if (!status) status = lr_json_check(map.data, map.size, c->config.path, q->err);
    if (!status && !edit_config(&text, &map, q->format == LR_NF4 ? NULL : name, added))
        status = lr_fail_nomem(q->err, "config.json", map.size);
    if (!status) status = write_file(out, "config.json", text.text, text.n, q->err);
    lr_free(text.text);
    lr_map_close(&map);
    return status;
}

llmrun_status lr_quantize_copy_hf(const lr_quantize *q, lr_output *out) {
    llmrun_status status = write_config(q, out);
    for (size_t i = 2; lr_output_model_files[i] && !status; i++) { /* after config.json and model.safetensors */
        char *path = lr_path_join(q->e->checkpoint.dir, lr_output_model_files[i], q->err);
        lr_map map = {0};
        if (!path) return q->err ? q->err->status : LLMRUN_NOMEM;
        if (lr_path_exists(path)) {
            status = lr_map_open(&map, path, false, q->err);
            if (!status) status = write_file(out, lr_output_model_files[i], map.data, map.size, q->err);
            lr_map_close(&map);
        }
        lr_free(path);
    }
    return status;
}
