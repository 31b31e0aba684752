/* Fuzzes the vocabulary in a GGUF's metadata.                                                                        */
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return fuzz_tokenizer(data, size, "GGUF\3\0\0\0", 8); }
