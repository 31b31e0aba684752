/* The CPU's table of kernels: portable C first, overwritten upward by what this CPU has.                              */
#include "kernels/cpu/cpu.h"

#include <string.h>

/* ---- levels: each needs exactly what the Makefile lets the compiler use in files of that suffix ---- */

static bool has_c(void) { return true; }

#if defined(__x86_64__)
#include <cpuid.h>

static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}
static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16") &&
           __builtin_cpu_supports("avx512vbmi");
}
#endif

static void fill_c(lr_ops *ops) {
    lr_elementwise_fill_c(ops);
    lr_delta_fill_c(ops);
    lr_attention_fill_c(ops);
    lr_gemv_fill_c(ops);
}

#if defined(__x86_64__)
static void fill_avx2(lr_ops *ops) {
    lr_elementwise_fill_avx2(ops);
    lr_delta_fill_avx2(ops);
    lr_attention_fill_avx2(ops);
    lr_gemv_fill_avx2(ops);
    lr_gemm_fill_avx2(ops);
}
static void fill_avx512(lr_ops *ops) {
    lr_elementwise_fill_avx512(ops);
    lr_delta_fill_avx512(ops);
    lr_attention_fill_avx512(ops);
    lr_gemv_fill_avx512(ops);
    lr_gemm_fill_avx512(ops);
}
#endif

static const struct {
    const char *isa;
    bool (*has)(void);
    void (*fill)(lr_ops *ops);
} levels[] = {
    { "c", has_c, fill_c },
#if defined(__x86_64__)
    { "avx2", has_avx2, fill_avx2 },
    { "avx512", has_avx512, fill_avx512 },
#endif
};

int lr_cpu_isa_list(const char *names[3]) {
    int n = 0;
    for (size_t i = 0; i < LR_COUNT(levels) && levels[i].has(); i++) names[n++] = levels[i].isa;
    return n;
}

/* ---- the table ---- */

/* Upper bound over the levels, so that a plan does not depend on --cpu-isa.                                          */
static size_t scratch_bytes(int64_t max_cols, int64_t n, int32_t n_heads, int32_t head_dim) {
    const size_t need[] = {
        lr_elementwise_scratch_bytes(max_cols, n),
        lr_attention_scratch_bytes(n, n_heads, head_dim),
        lr_gemv_scratch_bytes(max_cols, n),
        lr_gemm_scratch_bytes(max_cols, n),
    };
    size_t most = 0;
    for (size_t i = 0; i < LR_COUNT(need); i++)
        if (need[i] > most) most = need[i];
    return most;
}

bool lr_cpu_ops(lr_ops *ops, const char *isa) {
    const char *names[3];
    int n = lr_cpu_isa_list(names), top = n - 1;
    if (strcmp(isa, "auto") != 0)
        while (top >= 0 && strcmp(names[top], isa) != 0) top--;
    if (top < 0) return false;

    *ops = (lr_ops){ .isa = names[top], .few_tokens = LR_FEW_TOKENS, .scratch_bytes = scratch_bytes };
    for (int i = 0; i <= top; i++) levels[i].fill(ops);
    return true;
}
