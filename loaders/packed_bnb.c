/* bitsandbytes.  4 bits: X.weight holds codes of the flattened matrix, the earlier value of a pair in the high nibble;
 * X.weight.absmax a scale for each blocksize values, as codes of 8 bits where it is quantized itself (nested_*);
 * X.weight.quant_state.bitsandbytes__nf4 or __fp4 a JSON text.  int8: X.weight, and X.SCB with the largest magnitude of
 * each row, which is code 127.                                                                                       */
#include "loaders/packed_parts.h"

#include "loaders/json.h"

/* ---- 4 bits ---- */

static void codes_4(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                    int64_t n_cols) {
    const uint8_t *bytes = p->t[LR_PACKED_CODES]->data;
    (void)perm;
    for (int64_t r = row; r < row + n_rows; r++)
        for (int64_t i = r * p->cols + col, end = i + n_cols; i < end; i++)
            *q++ = i % 2 ? bytes[i / 2] & 15 : bytes[i / 2] >> 4;
}

static lr_packed_scale scale_4(const lr_packed *p, int64_t row, int64_t col) {
    int64_t at = row * p->cols + col, block = at / p->group;
    const lr_tensor *absmax = p->t[LR_PACKED_SCALES];
    lr_packed_scale s = { .n = (block + 1) * p->group - at };
    if (!p->nested_group) {
        s.d = lr_packed_float_at(absmax, block);
    } else {
        s.d = lr_packed_float_at(p->t[LR_PACKED_NESTED_VALUES], absmax->data[block]) *
              lr_packed_float_at(p->t[LR_PACKED_NESTED_SCALES], block / p->nested_group);
        s.d += p->nested_offset;
    }
    return s;
}

static const lr_packed_kind nf4 = { LR_CODING_NF4, codes_4, scale_4 }, fp4 = { LR_CODING_FP4, codes_4, scale_4 };

static llmrun_status fail_state(const lr_packed_opener *o, const lr_tensor *state, const char *key) {
    return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: \"%s\" is not what the tensors say", o->c->files[state->file].path,
                   state->name, key);
}

static llmrun_status read_state(lr_packed *p, const lr_packed_opener *o, const lr_tensor *t) {
    cJSON *json = NULL;
    int64_t group = 0, rows = 0, cols = 0, nested = 0;
    if (t->dtype != LR_DT_U8 || t->bytes > 4096) return fail_state(o, t, "quant_state");
    llmrun_status status = lr_json_parse(&json, t->data, t->bytes, 64, t->name, o->err);
    if (status) return status;
    const cJSON *shape = lr_json_get(json, "shape"), *offset = lr_json_get(json, "nested_offset");
    if (!lr_json_int(lr_json_get(json, "blocksize"), 2, 1 << 20, &group))
        status = fail_state(o, t, "blocksize");
    else if (cJSON_GetArraySize(shape) != 2 || !lr_json_int(cJSON_GetArrayItem(shape, 0), p->rows, p->rows, &rows) ||
             !lr_json_int(cJSON_GetArrayItem(shape, 1), p->cols, p->cols, &cols))
        status = fail_state(o, t, "shape");
    else if (p->t[LR_PACKED_NESTED_SCALES] &&
             (!lr_json_int(lr_json_get(json, "nested_blocksize"), 1, 1 << 20, &nested) || !cJSON_IsNumber(offset)))
        status = fail_state(o, t, "nested_blocksize");
    p->group = group;
    p->nested_group = nested;
    p->nested_offset = nested && !status ? (float)offset->valuedouble : 0;
    lr_json_close(json);
    return status;
}

/* Is the file's table of values the one that the format has?                                                         */
static llmrun_status check_values(const lr_packed *p, const lr_packed_opener *o, const float want[16]) {
    const lr_tensor *t = p->t[LR_PACKED_VALUES];
    for (int i = 0; i < 16 && t; i++) {
        float d = lr_packed_float_at(t, i) - want[i];
        if (!(d < 1e-7f && d > -1e-7f))
            return lr_fail(o->err, LLMRUN_UNSUPPORTED, "%s: %s: value %d is not that of the format",
                           o->c->files[t->file].path, t->name, i);
    }
    return LLMRUN_OK;
}

llmrun_status lr_packed_open_bnb4(lr_packed *p, bool *found, const lr_packed_opener *o) {
    static const lr_dtype f32[3] = { LR_DT_F32, LR_DT_UNKNOWN, LR_DT_UNKNOWN },
                          u8[3] = { LR_DT_U8, LR_DT_UNKNOWN, LR_DT_UNKNOWN };
    const lr_tensor *state = lr_packed_find(o, ".weight.quant_state.bitsandbytes__nf4");
    bool is_nf4 = state != NULL;
    if (!state) state = lr_packed_find(o, ".weight.quant_state.bitsandbytes__fp4");
    if (!state) return LLMRUN_OK;
    *found = true;
    p->kind = is_nf4 ? &nf4 : &fp4;
    p->bits = 4;
    p->t[LR_PACKED_CODES] = lr_packed_find(o, ".weight");
    p->t[LR_PACKED_SCALES] = lr_packed_find(o, ".weight.absmax");
    p->t[LR_PACKED_VALUES] = lr_packed_find(o, ".weight.quant_map");
    p->t[LR_PACKED_NESTED_SCALES] = lr_packed_find(o, ".weight.nested_absmax");
    p->t[LR_PACKED_NESTED_VALUES] = lr_packed_find(o, ".weight.nested_quant_map");
    p->t[LR_PACKED_STATE] = state;
    llmrun_status status = read_state(p, o, state);
    if (status) return status;
    uint64_t n = (uint64_t)p->rows * (uint64_t)p->cols, n_blocks = (n + (uint64_t)p->group - 1) / (uint64_t)p->group;
    const lr_tensor *codes = p->t[LR_PACKED_CODES];
    if (!codes || codes->bytes != (n + 1) / 2) /* of any type: its bytes count */
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s.weight: expected %llu bytes of codes, got %llu",
                       o->c->files[state->file].path, o->stem, (unsigned long long)((n + 1) / 2),
                       (unsigned long long)(codes ? codes->bytes : 0));
    status = lr_packed_check(o, p->t[LR_PACKED_SCALES], ".weight.absmax", p->nested_group ? u8 : f32, 1, &n_blocks);
    uint64_t n_nested = p->nested_group ? (n_blocks + (uint64_t)p->nested_group - 1) / (uint64_t)p->nested_group : 0;
    if (!status && n_nested)
        status = lr_packed_check(o, p->t[LR_PACKED_NESTED_SCALES], ".weight.nested_absmax", f32, 1, &n_nested);
    if (!status && n_nested)
        status =
            lr_packed_check(o, p->t[LR_PACKED_NESTED_VALUES], ".weight.nested_quant_map", f32, 1, &(uint64_t){ 256 });
    if (!status && p->t[LR_PACKED_VALUES])
        status = lr_packed_check(o, p->t[LR_PACKED_VALUES], ".weight.quant_map", f32, 1, &(uint64_t){ 16 });
    if (!status) status = check_values(p, o, is_nf4 ? lr_nf4_values : lr_fp4_values);
    if (!status) p->format = lr_packed_format_of(p);
    return status;
}

/* ---- int8 ---- */

static lr_packed_scale scale_8(const lr_packed *p, int64_t row, int64_t col) {
    return (lr_packed_scale){ .d = lr_packed_float_at(p->t[LR_PACKED_SCALES], row) / 127, .n = p->cols - col };
}

static const lr_packed_kind int8 = { LR_CODING_SIGNED, lr_packed_bytes, scale_8 };

llmrun_status lr_packed_open_bnb8(lr_packed *p, bool *found, const lr_packed_opener *o) {
    static const lr_dtype i8[3] = { LR_DT_I8, LR_DT_UNKNOWN, LR_DT_UNKNOWN },
                          f32[3] = { LR_DT_F32, LR_DT_F16, LR_DT_BF16 };
    const lr_tensor *layout = lr_packed_find(o, ".weight_format");
    p->t[LR_PACKED_SCALES] = lr_packed_find(o, ".SCB");
    if (!p->t[LR_PACKED_SCALES]) return LLMRUN_OK;
    *found = true;
    p->kind = &int8;
    p->bits = 8;
    p->group = p->cols;
    p->t[LR_PACKED_CODES] = lr_packed_find(o, ".weight");
    p->t[LR_PACKED_EXTRA] = layout;
    if (layout && (layout->bytes != 1 || layout->data[0] != 0))
        return lr_fail(o->err, LLMRUN_UNSUPPORTED, "%s: %s: tiled for one kind of GPU; expected 0 (rows)",
                       o->c->files[layout->file].path, layout->name);
    llmrun_status status = lr_packed_check(o, p->t[LR_PACKED_SCALES], ".SCB", f32, 1, &(uint64_t){ (uint64_t)p->rows });
    if (!status)
        status = lr_packed_check(o, p->t[LR_PACKED_CODES], ".weight", i8, 2,
                                 (uint64_t[]){ (uint64_t)p->rows, (uint64_t)p->cols });
    if (!status) p->format = lr_packed_format_of(p);
    return status;
}
