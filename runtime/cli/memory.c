/* Memory after a run, region by region: planned, peak and budget of each GPU and of the host.                         */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

/* A row of the table: one region, or neighbours that differ in the last number of their names alone.                  */
typedef struct row {
    char before[48], after[48]; /* the name around that number */
    long first, last;           /* -1: there is none */
    uint64_t planned, peak;
} row;

static row row_of(const llmrun_region *r) {
    row x = { .first = -1, .last = -1, .planned = r->bytes, .peak = r->peak_bytes };
    size_t end = strlen(r->name), begin;
    while (end > 0 && !isdigit((unsigned char)r->name[end - 1])) end--;
    for (begin = end; begin > 0 && isdigit((unsigned char)r->name[begin - 1]);) begin--;
    if (end > begin) x.first = x.last = strtol(r->name + begin, NULL, 10);
    else begin = end = strlen(r->name);
    snprintf(x.before, sizeof x.before, "%.*s", (int)begin, r->name);
    snprintf(x.after, sizeof x.after, "%s", r->name + end);
    return x;
}

static bool joins(const row *a, const row *b) {
    return a->first >= 0 && b->first > a->last && !strcmp(a->before, b->before) && !strcmp(a->after, b->after);
}

static void print_row(const row *x) {
    char name[160], planned[32], peak[32];
    int n = snprintf(name, sizeof name, "%s", x->before);
    if (x->first >= 0) n += snprintf(name + n, sizeof name - (size_t)n, "%ld", x->first);
    if (x->last > x->first) n += snprintf(name + n, sizeof name - (size_t)n, "-%ld", x->last);
    snprintf(name + n, sizeof name - (size_t)n, "%s", x->after);
    fprintf(stderr, "stats:   %-24s %10s %10s\n", name, size_text(planned, x->planned), size_text(peak, x->peak));
}

static void print_place(const llmrun_engine *e, int32_t gpu) {
    llmrun_memory m = { .struct_size = sizeof m };
    llmrun_region r = { .struct_size = sizeof r };
    char planned[32], peak[32], budget[32];
    row now = { 0 };
    if (llmrun_engine_memory(e, gpu, &m) != LLMRUN_OK) return;
    fprintf(stderr, "stats: %-26s %10s %10s %10s\n", m.name, "planned", "peak", "budget");
    for (size_t i = 0; llmrun_engine_region(e, gpu, i, &r) == LLMRUN_OK; i++) {
        row next = row_of(&r);
        if (!r.bytes) continue;
        if (joins(&now, &next)) {
            now.last = next.last;
            now.planned += next.planned;
            now.peak += next.peak;
            continue;
        }
        if (now.planned) print_row(&now);
        now = next;
    }
    if (now.planned) print_row(&now);
    fprintf(stderr, "stats:   %-24s %10s %10s %10s\n", gpu < 0 ? "all; peak: the process" : "all",
            size_text(planned, m.planned_bytes), size_text(peak, m.peak_bytes), size_text(budget, m.budget_bytes));
}

void print_memory(const llmrun_engine *e) {
    llmrun_model_info info = { .struct_size = sizeof info };
    llmrun_engine_info(e, &info);
    for (int32_t gpu = 0; gpu < info.n_gpus; gpu++) print_place(e, gpu);
    print_place(e, -1);
}
