/* llmrun devices: what this machine can compute on.                                                                   */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

/* Value after "key<blanks>:" in a file of such lines, without the newline; false if absent.                           */
static bool find_line(const char *path, const char *key, char *value, size_t size) {
    char line[8192];
    bool found = false;
    FILE *f = fopen(path, "r");
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

static uint64_t memory_bytes(const char *key) {
    char value[64];
    return find_line("/proc/meminfo", key, value, sizeof value) ? strtoull(value, NULL, 10) * 1024 : 0;
}

/* The instruction sets that kernels ask for, of those the CPU has; "c" if none.                                       */
static void list_isa(char *out, size_t size) {
    static const char *const wanted[] = { "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq",
                                          "avx512_vnni", "avx512_bf16", "avx512_vbmi", "asimd" };
    char flags[8192] = "", word[40];
    size_t n = 0;
    if (!find_line("/proc/cpuinfo", "flags", flags + 1, sizeof flags - 2))
        find_line("/proc/cpuinfo", "Features", flags + 1, sizeof flags - 2);
    flags[0] = ' ';
    strcat(flags, " ");
    snprintf(out, size, "c");
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        snprintf(word, sizeof word, " %s ", wanted[i]);
        if (strstr(flags, word) && n < size) n += (size_t)snprintf(out + n, size - n, "%s%s", n ? " " : "", wanted[i]);
    }
}

int devices_main(cli_options *o) {
    char name[256] = "unknown processor", isa[256], total_text[32], free_text[32];
    int threads = machine_threads();
    uint64_t total = memory_bytes("MemTotal"), available = memory_bytes("MemAvailable");
    if (!find_line("/proc/cpuinfo", "model name", name, sizeof name))
        find_line("/proc/cpuinfo", "Model", name, sizeof name);
    list_isa(isa, sizeof isa);
    read_meter meter;
    double rate = 0;
    if (o->measure && read_meter_open(&meter, threads)) {
        rate = read_meter_rate(&meter);
        read_meter_close(&meter);
    }
    if (o->json) {
        printf("{\"devices\": [{\"kind\": \"cpu\", \"name\": ");
        json_string(stdout, name, strlen(name));
        printf(", \"threads\": %d, \"isa\": \"%s\", \"ram_total_bytes\": %llu, \"ram_available_bytes\": %llu", threads, isa,
               (unsigned long long)total, (unsigned long long)available);
        if (o->measure) {
            printf(", \"read_bytes_per_second\": ");
            json_number(stdout, rate);
        }
        printf("}], \"gpu_support\": false}\n");
    } else {
        printf("cpu  %s\n     %d threads; %s\n     RAM %s, %s available", name, threads, isa, size_text(total_text, total),
               size_text(free_text, available));
        if (o->measure) printf(", read at %.1f GB/s", rate * 1e-9);
        printf("\ngpu  this build computes on the CPU alone\n");
    }
    return finish_stdout();
}
