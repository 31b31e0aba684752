/* Number formats of weights, KV cache and activations: sizes, encoders, decoders.  One file per format.
 *
 * A matrix of a format has rows of cols values.  It is stored as two planes, quants first, scales after, each starting
 * at a multiple of LR_ALIGN.  This run layout is the same on CPU and GPU.  Two kinds of formats have no scale plane, so
 * that a matrix in a file serves as it is: plain ones (f32 f16 bf16), and the block formats of GGUF files, whose scales
 * lie inside the blocks.                                                                                              */
#ifndef LR_QUANT_H
#define LR_QUANT_H

#include "runtime/base.h"

typedef enum lr_format {
#define LR_FORMAT(id, name, block, quant_bytes, scale_bytes, bits, file) id,
#include "quant/formats.def"
#undef LR_FORMAT
    LR_N_FORMATS,
    LR_FORMAT_NONE = -1
} lr_format;

typedef struct lr_format_traits {
    const char *name;         /* "q8_0" */
    int32_t block;            /* values in a block; 1 for unquantized formats */
    int32_t quant_bytes;      /* of one block in the quants plane */
    int32_t scale_bytes;      /* of one block in the scales plane, 0 where there is none */
    int32_t bits;             /* nominal: 32, 16, 8, 6, 5, 4, 3, 2, 1 */
    /* Encodes n values (a multiple of block) of f32 into the two planes.  scales may be NULL when scale_bytes is 0.
     * Values must be finite (upload.c refuses others): NaN and infinity get codes without meaning.
     * NULL: a block format that is only read from files.                                                              */
    void (*encode)(void *quants, void *scales, const float *x, int64_t n);
    /* Decodes n values (a multiple of block).  Exact: what a kernel computes with is exactly this, but for the rounding
     * of a product with the row's factor.                                                                             */
    void (*decode)(float *x, const void *quants, const void *scales, int64_t n);
    int32_t row_bytes;        /* of each row in the scales plane: a factor of its values, f32; 0: none.  Then encode and
                               * decode take values of one row, and its factor as scales                               */
} lr_format_traits;

extern const lr_format_traits lr_formats[LR_N_FORMATS];

/* f32 f16 bf16.                                                                                                       */
static inline bool lr_format_is_plain(lr_format f) { return lr_formats[f].block == 1; }
/* Scales inside the blocks, as in GGUF files; nvfp4 has a factor for each row beside them.                            */
static inline bool lr_format_is_blocks(lr_format f) { return lr_formats[f].block > 1 && lr_formats[f].scale_bytes == 0; }

/* LR_FORMAT_NONE if unknown. */
lr_format lr_format_by_name(const char *name);

/* A matrix in the run layout.                                                                                        */
typedef struct lr_matrix {
    lr_format format;
    int64_t rows, cols;      /* y[rows] = W x[cols] */
    const void *quants;      /* plane of quants, row after row */
    const void *scales;      /* plane of scales, or NULL */
    size_t quants_stride;    /* bytes from row to row, quants */
    size_t scales_stride;    /* bytes from row to row, scales */
    const int32_t *perm;     /* (cols) or NULL: column i meets x[perm[i]] (GPTQ's act-order) */
} lr_matrix;

typedef struct lr_format_size {
    uint64_t bytes;          /* both planes, each rounded up to LR_ALIGN */
    uint64_t scales_offset;  /* of the scales plane */
    uint64_t quants_stride, scales_stride;
} lr_format_size;

/* Sizes of a rows x cols matrix.  False on overflow, or where cols is not a multiple of the block.                    */
LR_MUST_CHECK bool lr_format_measure(lr_format format, uint64_t rows, uint64_t cols, lr_format_size *out);

/* The format that a tensor with rows of cols values really gets when `want` is asked for: want if cols divides by its
 * block, else the same bits in blocks of 32 (iq4_nl), else q8_0, else f16.                                            */
lr_format lr_format_fallback(lr_format want, int64_t cols);

/* A matrix over memory at base that was sized by lr_format_measure.                                                   */
lr_matrix lr_matrix_at(lr_format format, int64_t rows, int64_t cols, const void *base);

/* Element types of tensors in files: those of safetensors, then the block types of GGUF.                             */
typedef enum lr_dtype {
    LR_DT_BOOL, LR_DT_U8, LR_DT_I8, LR_DT_F8_E4M3, LR_DT_F8_E5M2, LR_DT_F8_E8M0, LR_DT_I16, LR_DT_U16, LR_DT_F16,
    LR_DT_BF16, LR_DT_I32, LR_DT_U32, LR_DT_F32, LR_DT_I64, LR_DT_U64, LR_DT_F64, LR_DT_C64, LR_DT_F4, LR_DT_F6_E2M3,
    LR_DT_F6_E3M2, LR_DT_Q4_0, LR_DT_Q4_1, LR_DT_Q5_0, LR_DT_Q5_1, LR_DT_Q8_0, LR_DT_Q8_1, LR_DT_Q2_K, LR_DT_Q3_K,
    LR_DT_Q4_K, LR_DT_Q5_K, LR_DT_Q6_K, LR_DT_Q8_K, LR_DT_IQ2_XXS, LR_DT_IQ2_XS, LR_DT_IQ3_XXS, LR_DT_IQ1_S,
    LR_DT_IQ4_NL, LR_DT_IQ3_S, LR_DT_IQ2_S, LR_DT_IQ4_XS, LR_DT_IQ1_M, LR_DT_TQ1_0, LR_DT_TQ2_0, LR_DT_MXFP4,
    LR_DT_NVFP4, LR_DT_Q1_0, LR_DT_Q2_0, LR_N_DTYPES, LR_DT_UNKNOWN = -1
} lr_dtype;
/* block: values that share their bytes, 1 for all but GGUF's block types.  bits: of a block.                          */
extern const struct lr_dtype_traits { const char *name; int32_t bits, block; } lr_dtypes[LR_N_DTYPES];

/* Bytes of n values; n a multiple of the block, no overflow.                                                          */
static inline uint64_t lr_dtype_bytes(lr_dtype dtype, uint64_t n) {
    return n / (uint64_t)lr_dtypes[dtype].block * (uint64_t)lr_dtypes[dtype].bits / 8;
}

/* The run format whose quants plane is exactly this file type (f32 f16 bf16 and blocks), else LR_FORMAT_NONE.         */
lr_format lr_format_of_dtype(lr_dtype dtype);

/* Converts n values of a file type (f32 f16 bf16 f64 f8, or n / block blocks that are a format) to f32; src may be
 * unaligned.  False: no such conversion.                                                                              */
LR_MUST_CHECK bool lr_dtype_to_f32(float *x, lr_dtype dtype, const void *src, int64_t n);

/* f16 and bf16, round to nearest even; NaN stays NaN.                                                                */
uint16_t lr_f32_to_f16(float x);
float lr_f16_to_f32(uint16_t h);
uint16_t lr_f32_to_bf16(float x);
static inline float lr_bf16_to_f32(uint16_t h) {
    union { uint32_t u; float f; } v = { .u = (uint32_t)h << 16 };
    return v.f;
}

extern const int8_t lr_iq4_nl_values[16]; /* value of each code, times the block scale */
extern const float lr_nf4_values[16], lr_fp4_values[16];
float lr_f8_e4m3_to_f32(uint8_t bits);

/* Scale and zero of a block of u4 in one word: the bits of d without the lowest 8, which hold z.                      */
static inline float lr_u4_d(uint32_t word) {
    union { uint32_t u; float f; } v = { .u = word & ~(uint32_t)255 };
    return v.f;
}
static inline int lr_u4_z(uint32_t word) { return (int)(word & 255); }
static inline uint32_t lr_u4_scale(float d, int z) {
    union { float f; uint32_t u; } v = { .f = d };
    return (v.u & ~(uint32_t)255) | (uint32_t)z;
}

#endif
