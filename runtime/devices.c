/* llmrun_devices: the CPU and the GPUs of this machine, in two documents.                                              */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/backends.h"
#include "runtime/engine.h"
#include "runtime/host.h"
#include "runtime/rates.h"
#include "runtime/threads.h"

/* ---- the CPU ---- */

/* Value after "key<blanks>:" in a file of such lines, without the newline; false if absent.                           */
static bool find_line(const char *path, const char *key, char *value, size_t size) {
    char line[8192];
    bool found = false;
    FILE *f = fopen(path, "re");
    if (!f) return false;
    while (!found && fgets(line, sizeof line, f)) {
        size_t n = strlen(key);
        const char *at = line + n;
        if (strncmp(line, key, n) != 0) continue;
        while (isblank((unsigned char)*at)) at++;
        if (*at != ':') continue;
        at++;
        while (isblank((unsigned char)*at)) at++;
        snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
        found = true;
    }
    fclose(f);
    return found;
}

/* The instruction sets that kernels ask for, of those the CPU has; "c" if none.                                       */
static void list_isa(char *out, size_t size) {
    static const char *const wanted[] = { "avx2",     "fma",         "f16c",        "avx512f",     "avx512bw", "avx512vl",
                                          "avx512dq", "avx512_vnni", "avx512_bf16", "avx512_vbmi", "asimd" };
    char flags[8192] = "", word[40];
    size_t n = 0;
    if (!find_line("/proc/cpuinfo", "flags", flags + 1, sizeof flags - 2))
        find_line("/proc/cpuinfo", "Features", flags + 1, sizeof flags - 2);
    flags[0] = ' ';
    strcat(flags, " ");
    snprintf(out, size, "c");
    for (size_t i = 0; i < LR_COUNT(wanted); i++) {
        snprintf(word, sizeof word, " %s ", wanted[i]);
        if (strstr(flags, word) && n < size) n += (size_t)snprintf(out + n, size - n, "%s%s", n ? " " : "", wanted[i]);
    }
}

static void add_rate(lr_text *json, lr_text *text, const char *key, const char *what, double rate, double unit,
                     const char *unit_name) {
    if (rate > 0) {
        lr_text_add(json, ", \"%s\": %.4g", key, rate);
        lr_text_add(text, ", %s %.3g %s", what, rate / unit, unit_name);
    } else {
        lr_text_add(json, ", \"%s\": null", key);
    }
}

static void add_cpu(const llmrun_options *o, const char *dir, lr_text *json, lr_text *text) {
    char name[256] = "unknown processor", isa[256], value[64], total_text[32], free_text[32];
    lr_ops ops;
    lr_report report = { o->log, o->progress, o->user };
    int32_t threads = o->n_threads ? o->n_threads : lr_threads_default();
    lr_rates rates = { 0 };
    uint64_t total = find_line("/proc/meminfo", "MemTotal", value, sizeof value) ? strtoull(value, NULL, 10) * 1024 : 0;
    uint64_t available = lr_host_memory_available();
    if (!find_line("/proc/cpuinfo", "model name", name, sizeof name)) find_line("/proc/cpuinfo", "Model", name, sizeof name);
    list_isa(isa, sizeof isa);
    if (lr_cpu_ops(&ops, "auto")) rates = lr_rates_cpu_again(&ops, threads, dir, &report);
    lr_text_add(json, "{\"kind\": \"cpu\", \"name\": ");
    lr_text_add_json(json, name);
    lr_text_add(json, ", \"threads\": %d, \"isa\": \"%s\", \"ram_total_bytes\": %llu, \"ram_available_bytes\": %llu",
                threads, isa, (unsigned long long)total, (unsigned long long)available);
    lr_text_add(text, "cpu    %s\n       %d threads; %s\n       RAM %s, %s available", name, threads, isa,
                lr_size_gib(total_text, total), lr_size_gib(free_text, available));
    add_rate(json, text, "read_bytes_per_second", "reads weights at", rates.read_bytes_per_s, 1e9, "GB/s");
    add_rate(json, text, "flops_per_second", "computes", rates.flops_per_s, 1e12, "TFLOP/s");
    lr_text_add(json, "}");
    lr_text_add(text, "\n");
}

/* ---- GPUs ---- */

static llmrun_status add_gpu(const lr_backend *b, int32_t i, const char *dir, const lr_report *report, lr_text *json,
                             lr_text *text, llmrun_error *err) {
    lr_device_info info;
    llmrun_status status = b->info(i, &info, err);
    if (status) return status;
    lr_rates rates = lr_rates_gpu(b, i, &info, dir, report);
    char total[32], available[32], used[32], overhead[32];
    lr_text_add(json, ", {\"kind\": \"%s\", \"index\": %d, \"name\": ", b->name, i);
    lr_text_add_json(json, info.name);
    lr_text_add(json, ", \"compute_capability\": \"%d.%d\", \"total_bytes\": %llu, \"free_bytes\": %llu, "
                "\"used_by_others_bytes\": %llu, \"overhead_bytes\": %llu", info.major, info.minor,
                (unsigned long long)info.total_bytes, (unsigned long long)info.free_bytes,
                (unsigned long long)(info.total_bytes - info.free_bytes), (unsigned long long)info.overhead_bytes);
    lr_text_add(text, "GPU %d  %s (%s), compute capability %d.%d\n       %s, %s free, %s used by others; a run adds about "
                "%s beside its plan", i, info.name, b->name, info.major, info.minor,
                lr_size_gib(total, info.total_bytes), lr_size_gib(available, info.free_bytes),
                lr_size_gib(used, info.total_bytes - info.free_bytes), lr_size_gib(overhead, info.overhead_bytes));
    add_rate(json, text, "read_bytes_per_second", "memory", rates.read_bytes_per_s, 1e9, "GB/s");
    add_rate(json, text, "flops_per_second", "f16", rates.flops_per_s, 1e12, "TFLOP/s");
    add_rate(json, text, "link_bytes_per_second", "link", rates.link_bytes_per_s, 1e9, "GB/s");
    lr_text_add(json, "}");
    lr_text_add(text, "\n");
    return LLMRUN_OK;
}

static llmrun_status add_gpus(const llmrun_options *o, const char *dir, lr_text *json, lr_text *text,
                              llmrun_error *err) {
    const char *device = o->device ? o->device : "auto";
    bool sim = strcmp(device, "sim") == 0;
    const lr_backend *b = NULL;
    llmrun_error why = { .message = "not asked for" };
    lr_report report = { o->log, o->progress, o->user };
    llmrun_status status = LLMRUN_OK;
    bool wanted = strcmp(device, "cpu") != 0;
    bool works = wanted && lr_backend_load(&b, sim ? "sim" : "cuda", sim ? lr_backend_sim_gpus(o) : NULL, &why) == LLMRUN_OK;
    if (sim && why.status == LLMRUN_ARG) return lr_fail(err, LLMRUN_ARG, "%s", why.message);
    int32_t n = works ? b->count() : 0;
    for (int32_t i = 0; i < n && !status; i++) status = add_gpu(b, i, dir, &report, json, text, err);
    if (works && !n) lr_fail(&why, LLMRUN_DEVICE, "no CUDA device was found");
    if (!n) lr_text_add(text, "GPU    none: %s\n", why.message);
    lr_text_add(json, "], \"gpu_support\": %s, \"gpu_reason\": ", n ? "true" : "false");
    lr_text_add_json(json, n ? NULL : why.message);
    return status;
}

llmrun_status llmrun_devices(const llmrun_options *o, char **json, char **text, llmrun_error *err) {
    if (json) *json = NULL;
    if (text) *text = NULL;
    if (!o || o->struct_size < sizeof *o)
        return lr_fail(err, LLMRUN_ARG, "options were not filled by llmrun_options_default");
    lr_text j = { 0 }, t = { 0 };
    char *dir = lr_engine_cache_dir(o);
    lr_text_add(&j, "{\"devices\": [");
    add_cpu(o, dir, &j, &t);
    llmrun_status status = add_gpus(o, dir, &j, &t, err);
    lr_text_add(&j, "}\n");
    if (!status && (j.failed || t.failed)) status = lr_fail_nomem(err, "devices", j.n + t.n);
    if (!status && json) {
        *json = j.text;
        j.text = NULL;
    }
    if (!status && text) {
        *text = t.text;
        t.text = NULL;
    }
    lr_free(j.text);
    lr_free(t.text);
    lr_free(dir);
    return status;
}
