/* CPU kernels: what their files share.
 *
 * A family of ops has one fill function per instruction set; table.c calls them lowest level first, so a fill function
 * sets only the ops that it has and leaves the rest as the level below set them.  A file's suffix (_avx2, _avx512)
 * picks its compiler flags: only functions of such files may be called behind the check in table.c.                   */
#ifndef LR_KERNELS_CPU_H
#define LR_KERNELS_CPU_H

#include "kernels/kernels.h"

/* embed, norm, pack, rope, kv_write, glu, softcap */
void lr_elementwise_fill_c(lr_ops *ops);
void lr_elementwise_fill_avx2(lr_ops *ops);
void lr_elementwise_fill_avx512(lr_ops *ops);
size_t lr_elementwise_scratch_bytes(int64_t max_cols, int64_t n);
/* pack with lr_pack_args.perm: each row is put together in scratch and packed from there.                             */
void lr_pack_permuted(lr_kernel pack, const lr_pack_args *a, int64_t i0, int64_t i1, void *scratch);

/* delta_conv, delta_rule */
void lr_delta_fill_c(lr_ops *ops);
void lr_delta_fill_avx2(lr_ops *ops);
void lr_delta_fill_avx512(lr_ops *ops);

/* attention, attention_merge */
void lr_attention_fill_c(lr_ops *ops);
void lr_attention_fill_avx2(lr_ops *ops);
void lr_attention_fill_avx512(lr_ops *ops);
size_t lr_attention_scratch_bytes(int64_t n, int32_t n_heads, int32_t head_dim);

/* matmul_few: weights are read once, up to LR_FEW_TOKENS columns of activations are dotted with each.  The portable
 * one also fills matmul_many.                                                                                         */
enum { LR_FEW_TOKENS = 8 };
void lr_gemv_fill_c(lr_ops *ops);
void lr_gemv_fill_avx2(lr_ops *ops);
void lr_gemv_fill_avx512(lr_ops *ops);
size_t lr_gemv_scratch_bytes(int64_t max_cols, int64_t n);

#define LR_FORMAT(id, format, block, quant_bytes, scale_bytes, bits, file)                     \
    void lr_matmul_##file##_avx2(const void *args, int64_t i0, int64_t i1, void *scratch); \
    void lr_matmul_##file##_avx512(const void *args, int64_t i0, int64_t i1, void *scratch);
#include "quant/formats.def"
#undef LR_FORMAT

/* matmul_many */
void lr_gemm_fill_avx2(lr_ops *ops);
void lr_gemm_fill_avx512(lr_ops *ops);
size_t lr_gemm_scratch_bytes(int64_t max_cols, int64_t n);

/* Stores one result of a matmul.                                                                                     */
static inline void lr_matmul_store(const lr_matmul_args *a, int64_t t, int64_t r, float sum) {
    float *y = a->y + t * a->y_stride + r;
    if (a->bias) sum += a->bias[r];
    *y = a->accumulate ? *y + sum : sum;
}

/* Rows of a matrix.                                                                                                  */
static inline const uint8_t *lr_row_quants(const lr_matrix *w, int64_t r) {
    return (const uint8_t *)w->quants + (size_t)r * w->quants_stride;
}
static inline const uint8_t *lr_row_scales(const lr_matrix *w, int64_t r) {
    return w->scales ? (const uint8_t *)w->scales + (size_t)r * w->scales_stride : NULL;
}
/* What a kernel that knows no more than the quants has to multiply a row's sums with.                                */
static inline float lr_row_factor(const lr_matrix *w, int64_t r) {
    float factor = 1;
    if (lr_formats[w->format].row_bytes) __builtin_memcpy(&factor, lr_row_scales(w, r), sizeof factor);
    return factor;
}

#endif
