/* A model as Hugging Face lays it out: model.safetensors, config.json and the tokenizer's files.  nf4 as bitsandbytes
 * stores it, so that transformers loads it: codes of the flattened matrix, absmax, quant_map and quant_state; embedding,
 * head, norms and biases keep the type they have.                                                                    */
#include "runtime/quantize.h"

#include <stdio.h>
#include <string.h>

#include "loaders/json.h"
#include "loaders/path.h"

#define MAX_CONFIG ((size_t)16 << 20)

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
        const lr_tensor *t = b->files[i];
        const lr_plan_tensor *p = &b->tensors[i];
        lr_quantize_item item = {.src = t, .format = lr_format_of_dtype(t->dtype), .rows = p->rows, .cols = p->cols};
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

/* What transformers must know to load nf4; the rest are its defaults.                                                 */
static bool add_quantization(cJSON *config, const char *compute) {
    static const char text[] =
        "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, \"load_in_8bit\": false, "
        "\"bnb_4bit_quant_type\": \"nf4\", \"bnb_4bit_use_double_quant\": false, \"bnb_4bit_quant_storage\": \"uint8\"}";
    cJSON *added = cJSON_Parse(text);
    if (!added || !cJSON_AddStringToObject(added, "bnb_4bit_compute_dtype", compute) ||
        !cJSON_AddItemToObject(config, "quantization_config", added)) {
        cJSON_Delete(added);
        return false;
    }
    return true;
}

static bool set_dtype(cJSON *config, const char *name) {
    static const char *const keys[] = {"dtype", "torch_dtype"};
    bool found = false, done = true;
    for (size_t i = 0; i < LR_COUNT(keys); i++) {
        if (!lr_json_get(config, keys[i])) continue;
        cJSON *text = cJSON_CreateString(name);
        found = true;
        if (text && cJSON_ReplaceItemInObjectCaseSensitive(config, keys[i], text)) continue;
        cJSON_Delete(text);
        done = false;
    }
    return found ? done : cJSON_AddStringToObject(config, "torch_dtype", name) != NULL;
}

static llmrun_status write_file(lr_output *out, const char *name, const void *bytes, uint64_t n, llmrun_error *err) {
    llmrun_status status = lr_output_begin(out, name, n, err);
    if (!status) status = lr_output_write(out, bytes, n, 0, err);
    return status ? status : lr_output_end(out, err);
}

static llmrun_status write_config(const lr_quantize *q, lr_output *out) {
    const lr_checkpoint *c = &q->e->checkpoint;
    cJSON *config = NULL;
    char *text = NULL;
    lr_dtype type = q->e->binding.files[q->e->binding.n - 1]->dtype;
    for (size_t i = 0; i < q->e->binding.n; i++)
        if (q->e->binding.tensors[i].role == LR_WQ) type = q->e->binding.files[i]->dtype;
    const char *name = q->format == LR_F32 ? "float32" : q->format == LR_BF16 ? "bfloat16" : "float16";
    llmrun_status status = lr_json_read(&config, c->config.path, MAX_CONFIG, MAX_CONFIG, q->err);
    if (status) return status;
    bool made = q->format == LR_NF4 ? add_quantization(config, torch_name(type)) : set_dtype(config, name);
    if (made) text = cJSON_Print(config);
    status = text ? write_file(out, "config.json", text, strlen(text), q->err) : lr_fail_nomem(q->err, "config.json", 0);
    lr_free(text);
    lr_json_close(config);
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
