/* Matrices that a quantizer packed into several tensors (codes, scales, zeros ...), as Hugging Face checkpoints have
 * them: bitsandbytes, GPTQ, AWQ, FP8, compressed-tensors, ModelOpt; and GGUF's ternary types.  Which tensors are there
 * decides for each matrix how it is packed; those without companions are plain.  Layouts: the comment of each packed_*.c.        */
#ifndef LR_PACKED_H
#define LR_PACKED_H

#include "loaders/source.h"

/* What config.json's quantization_config says of all matrices.                                                       */
typedef struct lr_packing {
    const char *method; /* "gptq"; NULL: the checkpoint is not quantized */
    const char *path;   /* of config.json */
    bool zeros_as_are;  /* gptq_v2; else one is added to stored zeros */
    lr_format format;   /* that most matrices should have: for plans of a bare config.json; or LR_FORMAT_NONE */
} lr_packing;

/* UNSUPPORTED names the key and value that this version cannot run.                       [errors: UNSUPPORTED]      */
llmrun_status lr_packing_read(lr_packing *p, const lr_config *config, llmrun_error *err);

enum {
    LR_PACKED_CODES,
    LR_PACKED_SCALES,
    LR_PACKED_ZEROS,
    LR_PACKED_ORDER,
    LR_PACKED_NESTED_SCALES,
    LR_PACKED_NESTED_VALUES,
    LR_PACKED_VALUES,
    LR_PACKED_STATE,
    LR_PACKED_EXTRA,
    LR_PACKED_N_TENSORS
};

/* One matrix; points into the checkpoint.                                                                            */
struct lr_packed {
    const struct lr_packed_kind *kind;
    int64_t rows, cols;
    lr_format format;     /* run format that holds the same codes and scales; LR_FORMAT_NONE: none does */
    int32_t bits;         /* of a code */
    int64_t group;        /* columns that share a scale; bitsandbytes 4-bit: values, row after row */
    int64_t group_rows;   /* rows that share a scale */
    int64_t nested_group; /* scales that share a scale of their own, or 0 */
    float nested_offset;
    int32_t zero_more; /* added to stored zeros */
    int32_t *perm;     /* (cols) or NULL: run format has file column perm[i] at i, so that groups lie together */
    const lr_tensor *t[LR_PACKED_N_TENSORS]; /* NULL where there is none */
};

/* Is there a packed matrix in place of the tensor `name` (".weight" at its end)?  Then *found, and out is filled.  Every
 * shape and type is checked.  Reads no weights, but GPTQ's order of columns.
 * [errors: FORMAT UNSUPPORTED NOMEM]                                                                                 */
llmrun_status lr_packed_open(lr_packed *out, bool *found, const lr_packing *packing, const lr_checkpoint *c,
                             const char *name, int64_t rows, int64_t cols, llmrun_error *err);
void lr_packed_close(lr_packed *p);

enum { LR_PACKED_TILE_ROWS = 16, LR_PACKED_TILE_COLS = 256 }; /* what the functions below like best */

/* x[r * x_stride + c] = value (row + r, col + c), exact, in the file's order of columns.                              */
void lr_packed_floats(const lr_packed *p, float *x, int64_t x_stride, int64_t row, int64_t n_rows, int64_t col,
                      int64_t n_cols);

/* Rows [row, row + n_rows) as p->format: quants and scales point to the first of them.  Returns the number (in the matrix,
 * row by row) of the first value that is not finite, or -1.                                                          */
int64_t lr_packed_planes(const lr_packed *p, void *quants, void *scales, int64_t row, int64_t n_rows);

/* gpt-oss experts: n blocks of 32 values, 16 bytes with byte t = values 2t, 2t + 1 (low, high), and an exponent each, to
 * n blocks of LR_BLOCK_MXFP4.                                                                                        */
void lr_packed_mxfp4(uint8_t *out, const uint8_t *blocks, const uint8_t *exponents, int64_t n);

#endif
