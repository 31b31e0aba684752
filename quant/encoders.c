/* The portable set of encoders, and the choice among the sets.                                                       */
#define LR_ENCODERS_NAME lr_encoders_c
#define LR_ENCODERS_ISA "c"
#include "quant/encoders_body.h"

int lr_encoders_list(const lr_encoders *list[3]) {
    int n = 0;
    list[n++] = &lr_encoders_c;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) /* these come with F16C */
        list[n++] = &lr_encoders_avx2;
    if (n == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16") &&
        __builtin_cpu_supports("avx512vbmi"))
        list[n++] = &lr_encoders_avx512;
#endif
    return n;
}

const lr_encoders *lr_encoders_best(void) {
    const lr_encoders *list[3];
    return list[lr_encoders_list(list) - 1];
}
