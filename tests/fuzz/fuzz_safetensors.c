/* Any bytes as a safetensors file.  The file is a heap block of exactly its size, and every byte of every accepted
 * tensor is read, so that one wrong range is a sanitizer report.                                                     */
#include <stdlib.h>
#include <string.h>

#include "loaders/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static volatile size_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[] = "fuzz.safetensors";
    uint8_t *file = malloc(n ? n : 1);
    if (!file) return 0;
    memcpy(file, bytes, n);
    lr_map m = { .data = file, .size = n, .path = path, .heap = true, .fd = -1 };
    lr_tensor *tensors = NULL;
    size_t n_tensors = 0, cap = 0;
    llmrun_error err;
    llmrun_status status = lr_safetensors_read(&m, 0, &tensors, &n_tensors, &cap, &err);
    if (status != LLMRUN_OK && status != LLMRUN_FORMAT) abort(); /* nothing else can be wrong with bytes */
    if (status == LLMRUN_FORMAT && (n_tensors != 0 || strlen(err.message) == 0)) abort();
    uint64_t total = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        const lr_tensor *t = &tensors[i];
        uint8_t sum = (uint8_t)strlen(t->name);
        for (int32_t d = 0; d < t->n_dims; d++) sum ^= (uint8_t)t->shape[d];
        for (uint64_t k = 0; k < t->bytes; k++) sum ^= t->data[k];
        sink = sum;
        total += t->bytes;
    }
    if (status == LLMRUN_OK && total > n) abort(); /* overlapping tensors */
    lr_tensors_free(tensors, n_tensors);
    free(file);
    return 0;
}
