/* What the files of llmrun compare share: the rows that were measured, their three reports, and what an interrupted
 * comparison leaves for the next one.                                                                                 */
#ifndef COMPARE_H
#define COMPARE_H

#include "runtime/cli/cli.h"
#include "runtime/cli/compare_stats.h"

enum { MOST_COMPARE_ROWS = 64, MOST_COMPARE_LAYERS = 256 };

/* One way to run the model, and what was measured with it.                                                            */
typedef struct compare_row {
    char quant[24], kv[8];      /* as asked for; after the run what it was; of a file its name */
    char file[512];             /* another file of the same model that is run as it is; "": the model in the format quant */
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
    float layer_errors[MOST_COMPARE_LAYERS]; /* see compare_layers.c */
} compare_row;

typedef struct compare_report {
    const char *model, *text;   /* text: the name of its file, or "bundled" */
    char family[32], isa[16];
    uint64_t n_params;
    int32_t n_vocab, window, n_threads, n_gpus;
    size_t text_bytes, n_tokens, n_scored, n_windows; /* n_tokens: text tokens used, of text_tokens */
    size_t text_tokens;
    uint64_t kept_bytes;        /* what the reference's logits took */
    int32_t n_layers, layer_tokens; /* of layer_errors; 0: not measured */
    compare_row reference;
    compare_row rows[MOST_COMPARE_ROWS];
    int32_t n_rows;
} compare_report;

void compare_print_table(const compare_report *r, FILE *to);
void compare_print_json(const compare_report *r, FILE *to);
void compare_print_html(const compare_report *r, FILE *to);
void compare_print_layers(const compare_report *r, FILE *to); /* a part of the page */

/* ---- the work, as far as it is done ---- */

/* What the reference's layers made of a few tokens.                                                                   */
typedef struct layer_streams {
    int32_t n_layers, n, dim;
    float *x;                   /* (n_layers + 1, n, dim): after the embedding, after each layer; NULL: not measured */
} layer_streams;

typedef struct compare_state {
    compare_report report;
    int32_t *ids;               /* (n_ids) windows of report.window ids, the last may be shorter */
    size_t n_ids;
    kept_logits kept;           /* of the reference */
    comparison comparison;      /* of the row underway */
    layer_streams streams;
    int32_t n_done;             /* rows done, the reference counted */
    size_t at;                  /* ids of the row underway whose windows are done */
} compare_state;

void compare_state_close(compare_state *s);
/* Writes the state to path: whole or not at all.  key: what it belongs to.  0, or an errno.                           */
int compare_state_save(const compare_state *s, const char *path, uint64_t key);
/* Reads it back.  s->report names model and text already and keeps them; the rest is replaced.  A state of another key is
 * left alone.                                                                                                         */
typedef enum compare_found { FOUND_NONE, FOUND_STATE, FOUND_DAMAGED } compare_found;
compare_found compare_state_load(compare_state *s, const char *path, uint64_t key);
uint64_t compare_hash(uint64_t h, const void *bytes, size_t n); /* FNV-1a; start with COMPARE_HASH_START */
#define COMPARE_HASH_START 0xcbf29ce484222325u

/* ---- compare_mixed.c ---- */

bool compare_is_mixed(const char *mode); /* "mixed", "mixed:5" */
/* Where a mode mixes precisions: measures what fewer bits cost each tensor, unless that was done before.  *hash gets a
 * number that stands for the result, 0 if no mode needs it.  0 or an exit code.                                      */
int compare_measure_mixed(cli_options *o, const cli_text *text, uint64_t *hash);
int compare_sensitivity(cli_options *o, const cli_text *text); /* --sensitivity: measures anew, prints */

/* compare_layers.c: what each layer of a row makes of what the reference had before it.  reference: its streams are kept
 * (no memory, or too many layers: then nothing is measured).  logits (n_vocab).                                       */
llmrun_status compare_layers(compare_state *s, llmrun_session *session, const llmrun_model_info *info, bool reference,
                             float *logits, float *errors, llmrun_error *err);

#endif
