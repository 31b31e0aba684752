/* The header of a safetensors file, for tensors that are written behind it.                                          */
#include <string.h>

#include "loaders/write.h"

/* Places the tensors of one element size.                                                                            */
static bool place(lr_out_tensor *tensors, size_t n, int32_t bits, lr_text *json, uint64_t *at) {
    bool fits = true;
    for (size_t i = 0; i < n && fits; i++) {
        lr_out_tensor *t = &tensors[i];
        if (lr_dtypes[t->dtype].bits != bits) continue;
        t->offset = *at;
        fits = lr_add_u64(*at, t->bytes, at);
        lr_text_add(json, ",");
        lr_text_add_json(json, t->name);
        lr_text_add(json, ":{\"dtype\":\"%s\",\"shape\":[", lr_dtypes[t->dtype].name);
        for (int32_t d = 0; d < t->n_dims; d++) lr_text_add(json, "%s%llu", d ? "," : "", (unsigned long long)t->shape[d]);
        lr_text_add(json, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->offset, (unsigned long long)*at);
    }
    return fits;
}

llmrun_status lr_safetensors_layout(lr_out_tensor *tensors, size_t n, lr_text *header, uint64_t *file_bytes,
                                    llmrun_error *err) {
    static const int32_t sizes[] = {32, 16, 8};
    uint64_t data = 0, length;
    bool fits = true;
    *header = (lr_text){0};
    lr_text_add_bytes(header, (const char[8]){0}, 8);
    lr_text_add(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < LR_COUNT(sizes) && fits; i++) fits = place(tensors, n, sizes[i], header, &data);
    lr_text_add(header, "}");
    while (header->n % 8 && !header->failed) lr_text_add(header, " ");
    if (header->failed) return lr_fail_nomem(err, "safetensors header", header->n);
    length = header->n - 8;
    memcpy(header->text, &length, sizeof length);
    for (size_t i = 0; i < n; i++) tensors[i].offset += header->n;
    if (fits && lr_add_u64(header->n, data, file_bytes)) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_FORMAT, "safetensors: the size of all tensors overflows 64 bits");
}
