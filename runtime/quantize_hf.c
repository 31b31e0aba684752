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

/* What bitsandbytes quantizes: the linear layers, but those that config.json's llm_int8_skip_modules names (write_config). */
static bool is_linear(const lr_plan_tensor *p) {
    return p->layer >= 0 && p->cols > 1 && p->role != LR_ROUTER && p->role != LR_SHARED_GATE;
}

static llmrun_status add_nf4(lr_quantize *q, const char *tensor, const lr_quantize_item *item) {
    const lr_tensor *t = item->src.tensor;
    char name[300], state[256];
    uint64_t shape[] = {(uint64_t)item->rows, (uint64_t)item->cols};
    int length = snprintf(state, sizeof state,
                          "{\"quant_type\": \"nf4\", \"blocksize\": %d, \"dtype\": \"%s\", \"shape\": [%lld, %lld]}",
                          lr_formats[LR_NF4].block, torch_name(t->dtype), (long long)item->rows, (long long)item->cols);
    if (t->n_dims != 2 || (item->src.packed && item->cols % lr_formats[LR_NF4].block))
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "tensor \"%s\": bitsandbytes has no layout for it; f16 or GGUF has", t->name);
    llmrun_status status = lr_quantize_add_item(q, tensor, item, 2, shape);
    snprintf(name, sizeof name, "%s.quant_map", tensor);
    if (!status) status = lr_quantize_add_ready(q, name, LR_DT_F32, LR_COUNT(lr_nf4_values), lr_nf4_values);
    snprintf(name, sizeof name, "%s.quant_state.bitsandbytes__nf4", tensor);
    return status ? status : lr_quantize_add_ready(q, name, LR_DT_U8, (uint64_t)length, state);
}

/* The name without what a quantizer made of its end.                                                                  */
static void plain_name(char *out, size_t size, const char *name) {
    static const char *const ends[] = {".qweight", ".weight_packed"};
    size_t n = strlen(name);
    snprintf(out, size, "%s", name);
    for (size_t i = 0; i < LR_COUNT(ends); i++) {
        size_t k = strlen(ends[i]);
        if (n > k && n < size && strcmp(name + n - k, ends[i]) == 0) snprintf(out + n - k, size - (n - k), ".weight");
    }
}

/* A whole tensor of the model, whatever matrices it holds; packed ones by their values.                                */
static llmrun_status add_tensor(lr_quantize *q, size_t i, const lr_source *s) {
    const lr_plan_tensor *p = &q->e->binding.tensors[i];
    const lr_tensor *t = s->tensor;
    int32_t n_dims = s->packed ? 2 : t->n_dims;
    uint64_t shape[8] = {0}, rows = 1;
    char name[256];
    if (s->exponents || n_dims > 3)
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "tensor \"%s\": a directory has no other layout for it; give a name that ends "
                       "in .gguf", t->name);
    memcpy(shape, t->shape, sizeof shape);
    if (s->packed) shape[0] = (uint64_t)s->packed->rows, shape[1] = (uint64_t)s->packed->cols;
    for (int32_t d = 0; d + 1 < n_dims; d++) rows *= shape[d];
    bool vector = n_dims < 2;
    lr_quantize_item item = {.rows = (int64_t)(vector ? lr_max((int64_t)shape[0], 1) : (int64_t)rows),
                             .cols = vector ? 1 : (int64_t)shape[n_dims - 1],
                             .weights = q->importance.n && !s->pitch ? q->importance.columns[i] : NULL};
    item.src = lr_source_of(t, item.rows, item.cols);
    item.src.packed = s->packed;
    item.format = vector ? lr_format_of_dtype(t->dtype) : q->format;
    plain_name(name, sizeof name, t->name);
    if (q->format != LR_NF4) return lr_quantize_add_item(q, name, &item, n_dims, shape);
    item.format = LR_NF4;
    if (is_linear(p) && !s->pitch) return add_nf4(q, name, &item);
    if (is_linear(p))
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "tensor \"%s\": bitsandbytes has no layout for transposed matrices; f16 or GGUF "
                       "has", t->name);
    item.format = lr_format_of_dtype(t->dtype);
    return lr_quantize_add_item(q, name, &item, n_dims, shape);
}

llmrun_status lr_quantize_list_hf(lr_quantize *q) {
    const lr_binding *b = &q->e->binding;
    const lr_checkpoint *c = &q->e->checkpoint;
    llmrun_status status = LLMRUN_OK;
    if (c->gguf.n_values)
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "%s: a GGUF model is written as GGUF only; give a name that ends in .gguf",
                       c->files[0].path);
    bool *done = lr_zalloc(c->n_tensors + 1, sizeof *done); /* fused tensors are in several places of the binding */
    if (!done) return lr_fail_nomem(q->err, "tensor table", c->n_tensors);
    for (size_t i = 0; i < b->n && !status; i++) {
        const lr_source *parts = b->sources[i].parts ? b->sources[i].parts : &b->sources[i];
        for (int32_t k = 0; k < lr_max(b->sources[i].n_parts, 1) && !status; k++) {
            size_t at = (size_t)(parts[k].tensor - c->tensors);
            if (!done[at]) status = add_tensor(q, i, &parts[k]);
            done[at] = true;
        }
    }
    lr_free(done);
    return status;
}

/* ---- beside the weights ---- */

/* config.json with another type of weights (dtype NULL: unchanged), with members added in front and without what it said
 * of packed weights.  All other text stays as it is: a number that is written 10000.0 must not become 10000.           */
static bool edit_config(lr_text *out, const lr_map *map, const char *dtype, const char *added) {
    const char *text = (const char *)map->data, *copied;
    lr_json_scan s = {text, text, text + map->size};
    lr_text key = {0}, body = {0};
    bool found = false, good = lr_json_scan_take(&s, '{');
    copied = s.at;
    while (good && !lr_json_scan_peek(&s, '}')) {
        const char *member = s.at;
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
        bool more = lr_json_scan_take(&s, ',');
        if (!good || !key.text || strcmp(key.text, "quantization_config")) continue;
        lr_text_add_bytes(&body, copied, (size_t)(member - copied));
        while (!more && body.n && body.text[body.n - 1] != ',') body.n--;
        if (!more && body.n) body.n--; /* it was the last */
        copied = s.at;
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
    char added[400] = "";
    bool experts = q->e->binding.hparams.n_experts > 0;
    if (q->format == LR_NF4) /* what transformers must know; the rest are its defaults */
        snprintf(added, sizeof added, "\n  \"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, "
                 "\"bnb_4bit_quant_type\": \"nf4\", \"bnb_4bit_use_double_quant\": false, \"bnb_4bit_quant_storage\": \"uint8\", "
                 "%s\"bnb_4bit_compute_dtype\": \"%s\"},",
                 experts ? "\"llm_int8_skip_modules\": [\"gate\", \"shared_expert_gate\", \"lm_head\"], " : "", torch_name(type));
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
