/* What the files of llmrun compare share: the rows that were measured, and their three reports.                       */
#ifndef COMPARE_H
#define COMPARE_H

#include "runtime/cli/cli.h"
#include "runtime/cli/compare_stats.h"

/* One way to run the model, and what was measured with it.                                                            */
typedef struct compare_row {
    char quant[24], kv[8];      /* as asked for; after the run what it was */
    bool failed;
    char failure[512];          /* why there are no figures */
    double bits_per_weight;
    uint64_t weight_bytes;
    uint64_t host_planned, host_peak; /* mapped weights counted in both; host_peak 0: the system does not say */
    uint64_t gpu_planned, gpu_peak;   /* of all GPUs together */
    double load_seconds;
    double prefill, decode;     /* tokens per second */
    char formats[160];          /* "q4_k 56, q8_0 1, f32 17": tensors in each format */
    int32_t n_fell_back;        /* tensors that run in another format, as their rows do not divide into blocks */
    char fell_back[200];        /* which: "wo w_down as f16" */
    figures figures;
} compare_row;

enum { MOST_COMPARE_ROWS = 64 };

typedef struct compare_report {
    const char *model, *text;   /* text: the name of its file, or "bundled" */
    char family[32], isa[16];
    uint64_t n_params;
    int32_t n_vocab, window, n_threads, n_gpus;
    size_t text_bytes, n_tokens, n_scored, n_windows; /* n_tokens: text tokens used, of text_tokens */
    size_t text_tokens;
    uint64_t kept_bytes;        /* what the reference's logits took */
    compare_row reference;
    compare_row rows[MOST_COMPARE_ROWS];
    int32_t n_rows;
} compare_report;

void compare_print_table(const compare_report *r, FILE *to);
void compare_print_json(const compare_report *r, FILE *to);
void compare_print_html(const compare_report *r, FILE *to);

#endif
