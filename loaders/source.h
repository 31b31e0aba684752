/* A matrix's values, wherever they lie in the files: a tensor, some rows of a fused one, columns of a transposed one.  */
#ifndef LR_SOURCE_H
#define LR_SOURCE_H

#include "loaders/loader.h"

typedef struct lr_packed lr_packed; /* weights that a quantizer packed: loaders/packed.h */

/* rows x cols values (a vector: cols 1), numbered row by row.                                                         */
typedef struct lr_source {
    const lr_tensor *tensor;    /* NULL: there is no file, as with a bare config.json */
    int64_t rows, cols;
    int64_t first, run, stride; /* row r is the tensor's row first + r / run * stride + r % run */
    int64_t pitch;              /* transposed: the tensor's columns.  Column c of row r is then the tensor's value
                                 * (first + r / run * stride + c) * pitch + shift + r % run * step.  Else 0 */
    int64_t shift, step;        /* step: the tensor's columns of rows of a run are so far apart */
    int64_t offset;             /* values of the tensor in front of all that */
    float plus, times;          /* the values are (stored + plus) * times */
    const lr_packed *packed;    /* or NULL */
    const lr_tensor *exponents; /* MXFP4 as gpt-oss has it: tensor holds blocks of 16 bytes, this their exponents.  Or NULL */
    const struct lr_source *parts; /* (n_parts) of equal shape, one below the other; tensor is the first one's.  Or NULL */
    int32_t n_parts;
} lr_source;

/* The whole tensor as rows of cols.                                                                                   */
lr_source lr_source_of(const lr_tensor *t, int64_t rows, int64_t cols);

/* n sources of equal shape one below the other; parts must live as long.                                             */
lr_source lr_source_stacked(const lr_source *parts, int32_t n);

/* Where the rows lie one after another in the file, in its element type; NULL: they do not.                           */
const uint8_t *lr_source_bytes(const lr_source *s);

/* Values [at, at + n) as floats; where the element type has blocks, both are multiples of a block.  False: there is no
 * conversion from the element type.                                                                                   */
LR_MUST_CHECK bool lr_source_floats(const lr_source *s, float *x, int64_t at, int64_t n);

bool lr_source_is_packed(const lr_source *s);
/* The run format that packed rows are kept in: same codes, same scales.  LR_FORMAT_NONE: there is none.               */
lr_format lr_source_packed_format(const lr_source *s);
/* Packed rows and columns as floats, x_stride apart; as rows of that format, see lr_packed_planes, whose result counts in
 * rows of this source.                                                                                                */
void lr_source_packed_floats(const lr_source *s, float *x, int64_t x_stride, int64_t row, int64_t n_rows, int64_t col,
                             int64_t n_cols);
int64_t lr_source_packed_planes(const lr_source *s, void *quants, void *scales, int64_t row, int64_t n_rows);
/* madvise for what holds values [at, at + n), where that is one range of the file.                                   */
void lr_source_advise(const lr_source *s, int64_t at, int64_t n, int advice);

#endif
