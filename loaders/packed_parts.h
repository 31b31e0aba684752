/* Inside of packed.h: what each way of packing tells about itself.                                                    */
#ifndef LR_PACKED_PARTS_H
#define LR_PACKED_PARTS_H

#include "loaders/packed.h"

/* What a code stands for, times the scale.                                                                           */
typedef enum lr_coding {
    LR_CODING_NF4,
    LR_CODING_FP4,
    LR_CODING_UNSIGNED, /* code - zero; 8 bits as a run format only with zeros of 128 */
    LR_CODING_SIGNED,   /* int8 */
    LR_CODING_E4M3,
    LR_CODING_E2M1 /* twice the values, half the scale */
} lr_coding;

/* Scale and zero of a value, and how many values from there on in its row have the same.                             */
typedef struct lr_packed_scale {
    float d;
    int32_t zero;
    int64_t n;
} lr_packed_scale;

/* A matrix that is being opened.                                                                                      */
typedef struct lr_packed_opener {
    const lr_packing *packing;
    const lr_checkpoint *c;
    const char *stem; /* "model.layers.0.mlp.up_proj" */
    llmrun_error *err;
} lr_packed_opener;

typedef struct lr_packed_kind {
    lr_coding coding;
    /* q[r * n_cols + i] = code at row + r, column perm[col + i], or col + i without perm */
    void (*codes)(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                  int64_t n_cols);
    lr_packed_scale (*scale)(const lr_packed *p, int64_t row, int64_t col); /* col: of the file */
} lr_packed_kind;

/* One for each way of packing: p->rows and cols are set; *found stays false where its tensors are not there.          */
typedef llmrun_status lr_packed_open_fn(lr_packed *p, bool *found, const lr_packed_opener *o);
lr_packed_open_fn lr_packed_open_bnb4, lr_packed_open_bnb8, lr_packed_open_gptq, lr_packed_open_awq, lr_packed_open_fp8,
    lr_packed_open_words, lr_packed_open_int8, lr_packed_open_ternary, lr_packed_open_compressed_e2m1,
    lr_packed_open_modelopt, lr_packed_open_nvfp4;

/* The tensor stem + end, or NULL.                                                                                     */
const lr_tensor *lr_packed_find(const lr_packed_opener *o, const char *end);
/* FORMAT unless t is there, is of one of the types (up to 3, LR_DT_UNKNOWN after the last) and has this shape: n_dims
 * numbers, LR_PACKED_ANY for any.  what: its name behind the stem.                                                    */
#define LR_PACKED_ANY UINT64_MAX
llmrun_status lr_packed_check(const lr_packed_opener *o, const lr_tensor *t, const char *what, const lr_dtype types[3],
                              int32_t n_dims, const uint64_t *shape);
/* Of this many values: rows x cols, or matrices one below the other with a dimension for them in front.               */
llmrun_status lr_packed_check_rows(const lr_packed_opener *o, const lr_tensor *t, const char *what,
                                   const lr_dtype types[3], int64_t rows, int64_t cols);
extern const lr_dtype lr_packed_floats_16_32[3], lr_packed_words[3];

/* Run format of codes with a scale and a zero for `group` columns.                                                    */
lr_format lr_packed_format_of(const lr_packed *p);
/* Order of columns that brings groups together, p->perm, from a group for each column; none where they are in order.
 * FORMAT: a group that is not there or of another size.                                                               */
llmrun_status lr_packed_sort(lr_packed *p, const lr_packed_opener *o);

/* Codes of a byte each, row after row.                                                                                */
void lr_packed_bytes(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                     int64_t n_cols);

/* lr_packed_planes of LR_CODING_E2M1: blocks, and factors of rows where the format has them.                          */
int64_t lr_packed_e2m1_planes(const lr_packed *p, uint8_t *quants, uint8_t *factors, int64_t row, int64_t n_rows);

float lr_packed_float_at(const lr_tensor *t, int64_t i); /* f32 f16 bf16 */
static inline uint32_t lr_packed_word_at(const lr_tensor *t, int64_t i) {
    uint32_t v;
    __builtin_memcpy(&v, t->data + 4 * i, sizeof v);
    return v;
}

#endif
