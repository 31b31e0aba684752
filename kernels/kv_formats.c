/* The formats that a KV cache can have, and their names.                                                             */
#include "kernels/kernels.h"

#include <string.h>

static const struct {
    lr_format format;
    const char *name;
} cache_formats[] = { { LR_F32, "f32" }, { LR_F16, "f16" }, { LR_Q8_0, "q8_0" }, { LR_KV_ROTATED, "q4_rot" } };

const char *lr_kv_name(lr_format format) {
    for (size_t i = 0; i < LR_COUNT(cache_formats); i++)
        if (cache_formats[i].format == format) return cache_formats[i].name;
    return NULL;
}

lr_format lr_kv_by_name(const char *name) {
    for (size_t i = 0; i < LR_COUNT(cache_formats); i++)
        if (strcmp(cache_formats[i].name, name) == 0) return cache_formats[i].format;
    return LR_FORMAT_NONE;
}
