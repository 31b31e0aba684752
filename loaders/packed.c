/* Packed matrices: what config.json says of them, which way of packing is at hand, and the two ways out, as floats and as
 * planes of a run format.                                                                                             */
#include "loaders/packed_parts.h"

#include <stdio.h>
#include <string.h>

#include "quant/blocks.h"

/* ---- config.json ---- */

/* What most matrices of such a checkpoint run as.                                                                    */
static lr_format likely_format(const char *method, const lr_config *c) {
    const char *kind = lr_config_string(c, "quantization_config.format");
    const char *four = lr_config_string(c, "quantization_config.bnb_4bit_quant_type");
    const char *bits_key = "quantization_config.bits", *group_key = "quantization_config.group_size";
    int64_t bits, group;
    if (strcmp(method, "bitsandbytes") == 0) {
        if (lr_config_bool(c, "quantization_config.load_in_8bit", false)) return LR_I8;
        return four && strcmp(four, "fp4") == 0 ? LR_FP4 : LR_NF4;
    }
    if (strcmp(method, "mxfp4") == 0) return LR_FORMAT_NONE;
    if (strstr(method, "fp8")) return LR_FP8;
    if (strcmp(method, "modelopt") == 0) {
        const char *algorithm = lr_config_string(c, "quantization_config.quant_algo");
        if (algorithm && strcmp(algorithm, "FP8") == 0) return LR_FP8;
        return algorithm && strcmp(algorithm, "NVFP4") == 0 ? LR_NVFP4 : LR_FORMAT_NONE;
    }
    if (strcmp(method, "compressed-tensors") == 0) {
        if (kind && (strcmp(kind, "float-quantized") == 0 || strcmp(kind, "naive-quantized") == 0)) return LR_FP8;
        if (kind && strcmp(kind, "nvfp4-pack-quantized") == 0) return LR_NVFP4;
        if (kind && strcmp(kind, "mxfp4-pack-quantized") == 0) return LR_BLOCK_MXFP4;
        if (kind && strcmp(kind, "mixed-precision") == 0) return LR_FORMAT_NONE;
        bits_key = "quantization_config.config_groups.group_0.weights.num_bits";
        group_key = "quantization_config.config_groups.group_0.weights.group_size";
    }
    if (lr_config_int(c, bits_key, 1, 16, 4, &bits, NULL) || lr_config_int(c, group_key, -1, 1 << 20, -1, &group, NULL))
        return LR_FORMAT_NONE;
    if (bits > 4) return bits == 8 ? LR_I8 : LR_FORMAT_NONE;
    return group <= 0 || group % 128 == 0 ? LR_U4 : LR_U4_32;
}

llmrun_status lr_packing_read(lr_packing *p, const lr_config *config, llmrun_error *err) {
    /* A value that must not be there, and a list of those that may: NULL-terminated. */
    static const struct {
        const char *method, *key, *known[10];
    } words[] = {
        { NULL,
          "quant_method",
          { "bitsandbytes", "gptq", "awq", "fp8", "fbgemm_fp8", "compressed-tensors", "mxfp4", "modelopt" } },
        { "gptq", "checkpoint_format", { "gptq", "gptq_v2" } },
        { "gptq", "format", { "gptq", "gptq_v2" } },
        { "awq", "version", { "gemm", "GEMM" } },
        { "compressed-tensors",
          "format",
          { "pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "nvfp4-pack-quantized",
            "mxfp4-pack-quantized", "mixed-precision", "dense" } },
        { "modelopt", "quant_algo", { "NVFP4", "FP8", "MIXED_PRECISION" } },
    };
    static const struct {
        const char *method, *key, *known; /* of one digit each */
    } numbers[] = {
        { "gptq", "bits", "2, 3, 4, 8" },
        { "awq", "bits", "4" },
    };
    char key[80], shown[80];
    *p = (lr_packing){ .path = config->path, .format = LR_FORMAT_NONE };
    for (size_t i = 0; i < LR_COUNT(words); i++) {
        if (words[i].method && (!p->method || strcmp(p->method, words[i].method) != 0)) continue;
        snprintf(key, sizeof key, "quantization_config.%s", words[i].key);
        const char *word = lr_config_string(config, key);
        if (!word) continue;
        size_t k = 0;
        while (words[i].known[k] && strcmp(words[i].known[k], word) != 0) k++;
        if (!words[i].known[k])
            return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s \"%s\" is not supported; known: %s%s%s%s", config->path,
                           key, lr_printable(shown, sizeof shown, word, strlen(word)), words[i].known[0],
                           words[i].known[1] ? ", " : "", words[i].known[1] ? words[i].known[1] : "",
                           words[i].known[2] ? " ..." : "");
        if (i == 0) p->method = words[i].known[k];
        if (strcmp(word, "gptq_v2") == 0) p->zeros_as_are = true;
    }
    for (size_t i = 0; i < LR_COUNT(numbers); i++) {
        if (!p->method || strcmp(p->method, numbers[i].method) != 0) continue;
        snprintf(key, sizeof key, "quantization_config.%s", numbers[i].key);
        const lr_value *v = lr_config_find(config, key);
        if (!v || v->type != LR_VALUE_NUMBER) continue;
        bool known = false;
        for (const char *digit = numbers[i].known; *digit; digit++) known |= *digit >= '0' && v->number == *digit - '0';
        if (known) continue;
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s %g is not supported; known: %s", config->path, key,
                       v->number, numbers[i].known);
    }
    if (p->method) p->format = likely_format(p->method, config);
    return LLMRUN_OK;
}

/* ---- one matrix ---- */

const lr_dtype lr_packed_floats_16_32[3] = { LR_DT_F16, LR_DT_BF16, LR_DT_F32 };
const lr_dtype lr_packed_words[3] = { LR_DT_I32, LR_DT_U32, LR_DT_UNKNOWN };

const lr_tensor *lr_packed_find(const lr_packed_opener *o, const char *end) {
    char name[256];
    int n = snprintf(name, sizeof name, "%s%s", o->stem, end);
    return n > 0 && n < (int)sizeof name ? lr_checkpoint_find(o->c, name) : NULL;
}

llmrun_status lr_packed_check(const lr_packed_opener *o, const lr_tensor *t, const char *what, const lr_dtype types[3],
                              int32_t n_dims, const uint64_t *shape) {
    char want[120] = "", got[120] = "";
    if (!t) return lr_fail(o->err, LLMRUN_FORMAT, "%s: tensor \"%s%s\" is missing", o->c->dir, o->stem, what);
    const char *path = o->c->files[t->file].path;
    bool known = false, fits = t->n_dims == n_dims;
    for (int i = 0; i < 3; i++) known |= types[i] != LR_DT_UNKNOWN && types[i] == t->dtype;
    if (!known)
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s%s: expected type %s, got %s", path, o->stem, what,
                       lr_dtypes[types[0]].name, t->dtype < 0 ? "unknown" : lr_dtypes[t->dtype].name);
    for (int32_t i = 0; i < n_dims && fits; i++) fits = shape[i] == LR_PACKED_ANY || shape[i] == t->shape[i];
    if (fits) return LLMRUN_OK;
    for (int32_t i = 0, n = 0; i < n_dims && n < 100; i++)
        n += snprintf(want + n, sizeof want - (size_t)n, shape[i] == LR_PACKED_ANY ? "%sany" : "%s%llu", i ? "," : "",
                      (unsigned long long)shape[i]);
    for (int32_t i = 0, n = 0; i < t->n_dims && n < 90; i++)
        n += snprintf(got + n, sizeof got - (size_t)n, "%s%llu", i ? "," : "", (unsigned long long)t->shape[i]);
    return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s%s: expected shape [%s], got [%s]", path, o->stem, what, want, got);
}

llmrun_status lr_packed_check_rows(const lr_packed_opener *o, const lr_tensor *t, const char *what,
                                   const lr_dtype types[3], int64_t rows, int64_t cols) {
    uint64_t n = t->n_dims == 3 ? t->shape[0] : 0;
    uint64_t shape[3] = { n, n ? (uint64_t)rows / n : 0, (uint64_t)cols };
    if (n && (uint64_t)rows % n == 0) return lr_packed_check(o, t, what, types, 3, shape);
    return lr_packed_check(o, t, what, types, 2, (uint64_t[]){ (uint64_t)rows, (uint64_t)cols });
}

llmrun_status lr_packed_open(lr_packed *out, bool *found, const lr_packing *packing, const lr_checkpoint *c,
                             const char *name, int64_t rows, int64_t cols, llmrun_error *err) {
    static lr_packed_open_fn *const kinds[] = { lr_packed_open_bnb4, lr_packed_open_bnb8,  lr_packed_open_gptq,
                                                lr_packed_open_awq,  lr_packed_open_words, lr_packed_open_fp8,
                                                lr_packed_open_int8, lr_packed_open_ternary,
                                                lr_packed_open_compressed_e2m1, lr_packed_open_modelopt,
                                                lr_packed_open_nvfp4 };
    char stem[256];
    size_t n = strlen(name), end = strlen(".weight");
    *out = (lr_packed){ 0 };
    *found = false;
    if (rows <= 0 || cols <= 1 || rows > INT32_MAX || cols > INT32_MAX || n < end || n - end >= sizeof stem ||
        strcmp(name + n - end, ".weight") != 0)
        return LLMRUN_OK;
    memcpy(stem, name, n - end);
    stem[n - end] = 0;
    lr_packed_opener o = { .packing = packing, .c = c, .stem = stem, .err = err };
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < LR_COUNT(kinds) && !status && !*found; i++) {
        *out = (lr_packed){ .rows = rows, .cols = cols, .format = LR_FORMAT_NONE, .group_rows = 1 };
        status = kinds[i](out, found, &o);
    }
    if (status || !*found) lr_packed_close(out);
    return status;
}

void lr_packed_close(lr_packed *p) {
    lr_free(p->perm);
    *p = (lr_packed){ 0 };
}

lr_format lr_packed_format_of(const lr_packed *p) {
    bool whole = p->group % p->cols == 0; /* one scale for a row */
    bool by_64 = p->cols % 64 == 0 && (whole || p->group % 64 == 0);
    lr_dtype scales = p->t[LR_PACKED_SCALES]->dtype;
    switch (p->kind->coding) {
        case LR_CODING_UNSIGNED:
            if (p->bits == 8) return by_64 ? LR_I8 : LR_FORMAT_NONE;
            if (scales == LR_DT_F32) return LR_FORMAT_NONE; /* lr_u4_scale would round them */
            if (p->cols % 128 == 0 && (whole || p->group % 128 == 0)) return LR_U4;
            return p->cols % 32 == 0 && (whole || p->group % 32 == 0) ? LR_U4_32 : LR_FORMAT_NONE;
        case LR_CODING_SIGNED: return by_64 ? LR_I8 : LR_FORMAT_NONE;
        case LR_CODING_E4M3: return by_64 ? LR_FP8 : LR_FORMAT_NONE;
        case LR_CODING_NF4: return p->cols % 64 == 0 && p->group % 64 == 0 ? LR_NF4 : LR_FORMAT_NONE;
        case LR_CODING_E2M1: return p->format; /* the file's own blocks, or none */
        case LR_CODING_FP4: return p->cols % 64 == 0 && p->group % 64 == 0 ? LR_FP4 : LR_FORMAT_NONE;
    }
    return LR_FORMAT_NONE;
}

llmrun_status lr_packed_sort(lr_packed *p, const lr_packed_opener *o) {
    const lr_tensor *order = p->t[LR_PACKED_ORDER];
    int64_t n_groups = (p->cols + p->group - 1) / p->group;
    bool sorted = true;
    for (int64_t i = 0; i < p->cols; i++) {
        int32_t g = (int32_t)lr_packed_word_at(order, i);
        if (g < 0 || g >= n_groups)
            return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: element %lld: expected a group below %lld, got %d",
                           o->c->files[order->file].path, order->name, (long long)i, (long long)n_groups, g);
        sorted = sorted && g == i / p->group;
    }
    if (sorted) return LLMRUN_OK;
    int64_t *next = lr_zalloc((size_t)n_groups, sizeof *next);
    p->perm = lr_zalloc((size_t)p->cols, sizeof *p->perm);
    llmrun_status status = LLMRUN_OK;
    if (!next || !p->perm) status = lr_fail_nomem(o->err, "order of columns", (size_t)p->cols * sizeof *p->perm);
    for (int64_t i = 0; i < p->cols && !status; i++) {
        int64_t g = lr_packed_word_at(order, i), at = g * p->group + next[g]++;
        if (next[g] > p->group || at >= p->cols)
            status = lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: group %lld has more than its %lld columns",
                             o->c->files[order->file].path, order->name, (long long)g, (long long)p->group);
        else
            p->perm[at] = (int32_t)i;
    }
    lr_free(next);
    return status;
}

void lr_packed_bytes(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                     int64_t n_cols) {
    (void)perm;
    for (int64_t r = 0; r < n_rows; r++)
        memcpy(q + r * n_cols, p->t[LR_PACKED_CODES]->data + (row + r) * p->cols + col, (size_t)n_cols);
}

float lr_packed_float_at(const lr_tensor *t, int64_t i) {
    float x;
    uint16_t h;
    if (t->dtype == LR_DT_F32) return memcpy(&x, t->data + 4 * i, sizeof x), x;
    memcpy(&h, t->data + 2 * i, sizeof h);
    return t->dtype == LR_DT_F16 ? lr_f16_to_f32(h) : lr_bf16_to_f32(h);
}

/* ---- ways out ---- */

static float value_of(lr_coding coding, uint8_t code, int32_t zero) {
    switch (coding) {
        case LR_CODING_NF4: return lr_nf4_values[code & 15];
        case LR_CODING_FP4: return lr_fp4_values[code & 15];
        case LR_CODING_UNSIGNED: return (float)(code - zero);
        case LR_CODING_SIGNED: return (float)((int8_t)code - zero);
        case LR_CODING_E4M3: return lr_f8_e4m3_to_f32(code);
        case LR_CODING_E2M1: return lr_mxfp4_values[code & 15];
    }
    return 0;
}

void lr_packed_floats(const lr_packed *p, float *x, int64_t x_stride, int64_t row, int64_t n_rows, int64_t col,
                      int64_t n_cols) {
    uint8_t q[LR_PACKED_TILE_ROWS * LR_PACKED_TILE_COLS];
    for (int64_t r = 0; r < n_rows; r += LR_PACKED_TILE_ROWS)
        for (int64_t c = 0; c < n_cols; c += LR_PACKED_TILE_COLS) {
            int64_t rows = lr_min(LR_PACKED_TILE_ROWS, n_rows - r), cols = lr_min(LR_PACKED_TILE_COLS, n_cols - c);
            p->kind->codes(p, q, row + r, rows, NULL, col + c, cols);
            for (int64_t i = 0; i < rows; i++) {
                float *to = x + (r + i) * x_stride + c;
                const uint8_t *code = q + i * cols;
                for (int64_t k = 0, n; k < cols; k += n) {
                    lr_packed_scale s = p->kind->scale(p, row + r + i, col + c + k);
                    n = lr_min(s.n, cols - k);
                    for (int64_t j = k; j < k + n; j++) to[j] = s.d * value_of(p->kind->coding, code[j], s.zero);
                }
            }
        }
}

/* A block of codes, in the order of the format (formats.def).                                                        */
static void put_block(lr_format format, uint8_t *to, const uint8_t *q) {
    int half = format == LR_U4_32 ? 16 : 32, block = lr_formats[format].block;
    if (lr_formats[format].bits == 8) {
        memcpy(to, q, (size_t)block);
        return;
    }
    for (; block > 0; block -= 2 * half, q += 2 * half, to += half)
        for (int i = 0; i < half; i++) to[i] = (uint8_t)(q[i] | q[i + half] << 4);
}

/* The first code of a block that is NaN, or its first where the scale is not finite; -1: none.                       */
static int64_t bad_code(lr_coding coding, const uint8_t *q, int64_t n, float d) {
    if (!(d - d == 0)) return 0;
    for (int64_t i = 0; i < n && coding == LR_CODING_E4M3; i++)
        if ((q[i] & 0x7f) == 0x7f) return i;
    return -1;
}

int64_t lr_packed_planes(const lr_packed *p, void *quants, void *scales, int64_t row, int64_t n_rows) {
    if (p->kind->coding == LR_CODING_E2M1) return lr_packed_e2m1_planes(p, quants, scales, row, n_rows);
    uint8_t q[LR_PACKED_TILE_ROWS * LR_PACKED_TILE_COLS];
    const lr_format_traits *f = &lr_formats[p->format];
    bool has_zeros = f->bits == 4 && p->kind->coding == LR_CODING_UNSIGNED;
    uint8_t flip = f->bits == 8 && p->kind->coding == LR_CODING_UNSIGNED ? 128 : 0; /* around 128 to int8 */
    int64_t blocks = p->cols / f->block, bad = -1;
    for (int64_t r = 0; r < n_rows; r += LR_PACKED_TILE_ROWS)
        for (int64_t c = 0; c < p->cols; c += LR_PACKED_TILE_COLS) {
            int64_t rows = lr_min(LR_PACKED_TILE_ROWS, n_rows - r), cols = lr_min(LR_PACKED_TILE_COLS, p->cols - c);
            p->kind->codes(p, q, row + r, rows, p->perm, c, cols);
            for (int64_t i = 0; i < rows * cols; i++) q[i] ^= flip;
            for (int64_t i = 0; i < rows; i++)
                for (int64_t k = 0; k < cols; k += f->block) {
                    int64_t at = c + k, block = (r + i) * blocks + at / f->block;
                    lr_packed_scale s = p->kind->scale(p, row + r + i, p->perm ? p->perm[at] : at);
                    int64_t wrong = bad_code(p->kind->coding, q + i * cols + k, f->block, s.d);
                    uint32_t word = lr_u4_scale(s.d, s.zero & 255);
                    put_block(p->format, (uint8_t *)quants + block * f->quant_bytes, q + i * cols + k);
                    memcpy((char *)scales + 4 * block, has_zeros ? (void *)&word : &s.d, 4);
                    if (wrong < 0 || bad >= 0) continue;
                    bad = (row + r + i) * p->cols + (p->perm ? p->perm[at + wrong] : at + wrong);
                }
        }
    return bad;
}
