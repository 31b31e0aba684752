/* What fewer bits cost, tensor by tensor: a text runs through the model once as it is, then once for each matrix with that
 * one rounded as its 4-bit format would, and the divergence of the logits is what the matrix costs.  Kept as a small file
 * in the cache directory; the planner mixes precisions by it (plan_mix.h).                                            */
#ifndef LR_SENSITIVITY_H
#define LR_SENSITIVITY_H

#include "runtime/engine.h"

typedef struct lr_sensitivity {
    lr_plan_cost *costs;    /* (n) of a binding's tensors; of gate and up at gate: they are rounded together */
    size_t n;
    int32_t n_tokens;       /* of text that all this was measured on */
    char reference[16];     /* precision that it was measured against, "f32" */
    double all[LR_RUNG_FILE]; /* KL of the whole model in that format: the costs are scaled to sum up to these */
    double alone;           /* sum of the tensors' own in q4_k, unscaled: as all of them at once if errors just added up */
} lr_sensitivity;

/* Measures o->model on a text, on the CPU, against f32 where that fits o->ram_bytes, else against the file's precision.
 * Progress is reported as "sensitivity".  UNSUPPORTED: no tokenizer, or weights that a quantizer packed.
 * Cost: 2048 tokens for each matrix of each layer, gate and up counted once; memory of the model in f32, and 32 K logits
 * a token.                         [errors: as llmrun_engine_open, and ARG UNSUPPORTED CANCELLED] */
llmrun_status lr_sensitivity_measure(lr_sensitivity *s, const llmrun_options *o, const char *text, llmrun_error *err);
void lr_sensitivity_close(lr_sensitivity *s); /* accepts a zeroed one */

/* ---- sensitivity_file.c ---- */

/* One JSON document: what the file holds.                                                                             */
void lr_sensitivity_json(const lr_sensitivity *s, const llmrun_engine *e, lr_text *out);
void lr_sensitivity_text(const lr_sensitivity *s, const llmrun_engine *e, lr_text *out); /* a table: layers, roles */
/* Writes the file of e's model, whole or not at all.                                                  [errors: IO NOMEM] */
llmrun_status lr_sensitivity_write(const lr_sensitivity *s, const char *dir, const llmrun_engine *e, llmrun_error *err);
/* Reads it.  False: there is none, or it is damaged or of another model, which one line says.  e: prepared.            */
LR_MUST_CHECK bool lr_sensitivity_read(lr_sensitivity *s, const char *dir, const llmrun_engine *e);
/* The document of n bytes.  [errors: FORMAT NOMEM] */
llmrun_status lr_sensitivity_parse(lr_sensitivity *s, const char *text, size_t n, const llmrun_engine *e, llmrun_error *err);

#endif
