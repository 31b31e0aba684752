/* Planner, weights: the format each tensor runs in, whether it is used from the file or converted, and the totals.    */
#include <string.h>

#include "runtime/plan_layout.h"

static bool is_vector(const lr_plan_tensor *t) { return t->cols == 1; }

bool lr_plan_tied(const lr_plan_input *in) {
    bool embed = false, head = false;
    for (size_t i = 0; i < in->n_tensors; i++) {
        embed |= in->tensors[i].role == LR_EMBED;
        head |= in->tensors[i].role == LR_HEAD;
    }
    return !(embed && head);
}

/* Precision of the file: f32 runs as f16, and so does what no kernel reads (f64, f8).                                 */
static lr_format kept_format(const lr_plan_tensor *t) {
    return t->file_format == LR_FORMAT_NONE || t->file_format == LR_F32 ? LR_F16 : t->file_format;
}

/* A quantized file format of no more bits than those asked for stays: quantizing again would only lose.              */
static bool already_as_small(const lr_plan_tensor *t, lr_format quant) {
    return t->file_format != LR_FORMAT_NONE && !lr_format_is_plain(t->file_format) && !lr_format_is_plain(quant) &&
           lr_formats[t->file_format].bits <= lr_formats[quant].bits;
}

/* The format to ask for, before the fallback for row lengths that do not divide.
 *   norms, biases          f32: a few KB, and every kernel reads them so
 *   embedding, own head    one row a token: stays in the file where that is possible
 *   embedding, tied        is the head as well: quantized like it, but 4-bit leaves it at 8-bit, because its error
 *                          enters twice, at the first and at the last step                                           */
static lr_format wanted_format(const lr_plan_input *in, bool tied, lr_format quant, const lr_plan_tensor *t) {
    if (is_vector(t)) return LR_F32;
    bool mappable = in->use_mmap && t->aligned && t->file_format != LR_FORMAT_NONE;
    if (t->role == LR_EMBED && !tied && mappable) return t->file_format;
    if (quant == LR_FORMAT_NONE) return kept_format(t);
    if (tied && (t->role == LR_EMBED || t->role == LR_HEAD) && lr_formats[quant].bits == 4) quant = LR_Q8_0;
    return already_as_small(t, quant) ? t->file_format : quant;
}

bool lr_plan_place(const lr_plan_input *in, bool tied, lr_format quant, const lr_plan_tensor *t,
                   lr_plan_placement *out) {
    memset(out, 0, sizeof *out);
    lr_format want = wanted_format(in, tied, quant, t);
    out->format = lr_format_fallback(want, t->cols);
    out->fell_back = out->format != want;
    if (out->fell_back && lr_format_is_plain(out->format)) out->format = kept_format(t);

    out->converted = out->format != t->file_format || !t->aligned || !in->use_mmap;
    out->tier = !out->converted || in->cached ? LR_TIER_MAPPED : LR_TIER_RESIDENT;
    if (out->converted) {
        lr_format_size size;
        if (!lr_format_measure(out->format, (uint64_t)t->rows, (uint64_t)t->cols, &size)) return false;
        out->bytes = size.bytes;
    } else {
        const lr_format_traits *f = &lr_formats[out->format]; /* plain, or blocks: bytes without a scale plane */
        uint64_t values;
        if (!lr_mul_u64((uint64_t)t->rows, (uint64_t)t->cols, &values)) return false;
        if (!lr_mul_u64(values / (uint64_t)f->block, (uint64_t)f->quant_bytes, &out->bytes)) return false;
    }
    return out->bytes <= LR_PLAN_MOST;
}

/* Source bytes of a tensor that is converted; types no kernel reads count as two bytes a value.                       */
static uint64_t source_bytes(const lr_plan_tensor *t, uint64_t values) {
    if (t->file_format == LR_FORMAT_NONE) return 2 * values;
    const lr_format_traits *f = &lr_formats[t->file_format];
    return values / (uint64_t)f->block * (uint64_t)f->quant_bytes;
}

static void widen(int64_t *widest, int64_t cols) { *widest = lr_max(*widest, cols); }

/* A conversion to f16 may turn out to need bf16 (values out of range): inputs must have room for either kernel.       */
bool lr_plan_weigh(const lr_plan_input *in, lr_format quant, lr_plan_weights *out) {
    lr_plan_weights w = { 0 };
    bool tied = lr_plan_tied(in);
    for (size_t i = 0; i < in->n_tensors; i++) {
        const lr_plan_tensor *t = &in->tensors[i];
        lr_plan_placement p;
        if (!lr_plan_place(in, tied, quant, t, &p)) return false;
        bool rows_only = t->role == LR_EMBED && !tied;
        uint64_t values = (uint64_t)t->rows * (uint64_t)t->cols; /* no overflow: its bytes were measured */
        uint64_t *place = p.converted ? &w.block : rows_only ? &w.mapped_rows : &w.mapped;
        *place += p.bytes;
        w.total += p.bytes;
        w.by_format[p.format] += p.bytes;
        w.per_token += rows_only ? p.bytes / (uint64_t)t->rows : p.bytes;
        w.n_params += values;
        if (!is_vector(t)) w.matrix_by_format[p.format] += p.bytes;
        if (p.converted) w.source += source_bytes(t, values);
        if (!rows_only) {
            w.n_matmul_params += values;
            if (!is_vector(t)) widen(&w.matmul_cols[p.format], t->cols);
            if (!is_vector(t) && p.converted && p.format == LR_F16) widen(&w.matmul_cols[LR_BF16], t->cols);
        }
        widen(&w.max_cols, t->cols);
        if (w.total > LR_PLAN_MOST || w.source > LR_PLAN_MOST || w.n_params > LR_PLAN_MOST) return false;
    }
    *out = w;
    return true;
}

const lr_plan_weights *lr_plan_weighed(lr_plan_scale *scale, const lr_plan_input *in, lr_format quant) {
    int i = quant + 1;
    if (!scale->done[i]) {
        scale->ok[i] = lr_plan_weigh(in, quant, &scale->weights[i]);
        scale->done[i] = true;
    }
    return scale->ok[i] ? &scale->weights[i] : NULL;
}
