/* Matrices as quantizers pack them.  The bytes are a recipe: number of rows and columns, tensors (name, type, shape), then
 * data that is dealt out to them again and again.  Each tensor is a heap block of exactly its size.  A matrix that is
 * accepted is decoded as a whole, by floats and as planes of its run format, which must agree.                         */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/packed.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MOST_TENSORS = 12, MOST_BYTES = 1 << 16, MOST_VALUES = 1 << 15 };

static const char *const names[] = {
    "x.weight", "x.weight.absmax", "x.weight.quant_map", "x.weight.nested_absmax", "x.weight.nested_quant_map",
    "x.weight.quant_state.bitsandbytes__nf4", "x.weight.quant_state.bitsandbytes__fp4", "x.SCB", "x.weight_format",
    "x.qweight", "x.qzeros", "x.scales", "x.g_idx", "x.weight_packed", "x.weight_scale", "x.weight_zero_point",
    "x.weight_g_idx", "x.weight_shape", "x.weight_scale_inv", "x.input_scale",
    "x.weight_global_scale", "x.weight_scale_2", "x.scale",
};
static const lr_dtype types[] = { LR_DT_U8,  LR_DT_I8,  LR_DT_I32, LR_DT_F16, LR_DT_BF16, LR_DT_F32, LR_DT_I64, LR_DT_U32,
                                  LR_DT_F8_E4M3, LR_DT_F8_E5M2, LR_DT_TQ1_0, LR_DT_TQ2_0,
                                  LR_DT_F8_E8M0, LR_DT_NVFP4 };

typedef struct recipe {
    const uint8_t *at, *end;
} recipe;

static int take(recipe *r) { return r->at < r->end ? *r->at++ : 0; }

/* 1 .. 32, then multiples of 32 up to 1024.                                                                            */
static int64_t size_of(int byte) { return byte < 32 ? byte + 1 : (byte & 31) * 32 + 32; }

static uint8_t *data_of(recipe *r, const uint8_t *first, size_t n) {
    uint8_t *data = malloc(n ? n : 1);
    for (size_t i = 0; data && i < n; i++) {
        if (r->at == r->end) r->at = first;
        data[i] = r->at < r->end ? *r->at++ : 0;
    }
    return data;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const lr_tensor *)a)->name, ((const lr_tensor *)b)->name);
}

static bool equal(float a, float b) { return a == b || (a != a && b != b); }

static void check_planes(const lr_packed *p, const float *x) {
    lr_format_size size;
    if (!lr_format_measure(p->format, (uint64_t)p->rows, (uint64_t)p->cols, &size)) abort();
    uint8_t *planes = aligned_alloc(64, lr_aligned(size.bytes + 64));
    float *row = malloc((size_t)p->cols * sizeof *row);
    if (!planes || !row) abort();
    int64_t bad = lr_packed_planes(p, planes, planes + size.scales_offset, 0, p->rows);
    if (bad >= p->rows * p->cols) abort();
    for (int64_t r = 0; r < p->rows; r++) {
        lr_formats[p->format].decode(row, planes + (uint64_t)r * size.quants_stride,
                                     planes + size.scales_offset + (uint64_t)r * size.scales_stride, p->cols);
        for (int64_t c = 0; c < p->cols && bad < 0; c++)
            if (!equal(row[c], x[r * p->cols + (p->perm ? p->perm[c] : c)])) abort();
    }
    free(planes);
    free(row);
}

static void decode(const lr_packed *p) {
    int64_t n = p->rows * p->cols, odd = p->cols > 7 ? 7 : 1;
    float *x = malloc((size_t)n * sizeof *x), *part = malloc((size_t)(p->rows * odd) * sizeof *part);
    if (!x || !part) abort();
    lr_packed_floats(p, x, p->cols, 0, p->rows, 0, p->cols);
    lr_packed_floats(p, part, odd, 0, p->rows, p->cols - odd, odd); /* a window has the same values */
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t c = 0; c < odd; c++)
            if (!equal(part[r * odd + c], x[(r + 1) * p->cols - odd + c])) abort();
    if (p->format != LR_FORMAT_NONE) check_planes(p, x);
    free(x);
    free(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[] = "fuzz.safetensors", dir[] = "fuzz";
    recipe r = { bytes, bytes + n };
    lr_tensor tensors[MOST_TENSORS];
    lr_map file = { .path = path, .heap = true, .fd = -1 };
    lr_checkpoint c = { .tensors = tensors, .files = &file, .n_files = 1, .dir = dir };
    lr_packing packing = { .method = "gptq", .path = path, .zeros_as_are = take(&r) & 1, .format = LR_FORMAT_NONE };
    int64_t rows = size_of(take(&r)), cols = size_of(take(&r));
    int wanted = take(&r) % (MOST_TENSORS + 1);
    while (rows * cols > MOST_VALUES) rows = (rows + 1) / 2;
    for (int i = 0; i < wanted; i++) {
        lr_tensor t = { .name = names[take(&r) % LR_COUNT(names)], .dtype = types[take(&r) % LR_COUNT(types)] };
        uint64_t values = 1;
        t.n_dims = take(&r) % 4;
        for (int d = 0; d < t.n_dims; d++) values *= t.shape[d] = (uint64_t)size_of(take(&r)) - (d == 0 && take(&r) == 255);
        t.bytes = lr_dtype_bytes(t.dtype, values);
        uint64_t inner = t.n_dims ? t.shape[t.n_dims - 1] : 1; /* readers see to it that blocks divide rows */
        if (t.bytes <= MOST_BYTES && inner % (uint64_t)lr_dtypes[t.dtype].block == 0) tensors[c.n_tensors++] = t;
    }
    const uint8_t *data = r.at;
    for (size_t i = 0; i < c.n_tensors; i++)
        if (!(tensors[i].data = data_of(&r, data, tensors[i].bytes))) abort();
    qsort(tensors, c.n_tensors, sizeof *tensors, by_name);
    lr_packed p;
    bool found, twice = false;
    llmrun_error err = { 0 };
    for (size_t i = 1; i < c.n_tensors; i++) twice |= strcmp(tensors[i - 1].name, tensors[i].name) == 0;
    if (!twice) {
        llmrun_status status = lr_packed_open(&p, &found, &packing, &c, "x.weight", rows, cols, &err);
        if (status != LLMRUN_OK && status != LLMRUN_FORMAT && status != LLMRUN_UNSUPPORTED) abort();
        if (status && strlen(err.message) < 10) abort();
        if (!status && found) decode(&p);
        if (!status && found) lr_packed_close(&p);
    }
    for (size_t i = 0; i < c.n_tensors; i++) free((void *)(uintptr_t)tensors[i].data);
    return 0;
}
