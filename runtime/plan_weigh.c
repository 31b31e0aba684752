/* Planner, weights: the format each tensor runs in, whether it is used from the file or converted, and the totals.   */
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

lr_group lr_plan_group(const lr_hparams *h, lr_role role) {
    static const lr_group groups[LR_N_ROLES] = {
        [LR_EMBED] = LR_GROUP_EMBED,        [LR_POSITIONS] = LR_GROUP_EMBED,
        [LR_ATTN_NORM] = LR_GROUP_ATTN,     [LR_B_ATTN_NORM] = LR_GROUP_ATTN, [LR_ATTN_POST_NORM] = LR_GROUP_ATTN,
        [LR_WQ] = LR_GROUP_ATTN,            [LR_WK] = LR_GROUP_ATTN,          [LR_WV] = LR_GROUP_ATTN,
        [LR_WO] = LR_GROUP_ATTN,            [LR_BQ] = LR_GROUP_ATTN,          [LR_BK] = LR_GROUP_ATTN,
        [LR_BV] = LR_GROUP_ATTN,            [LR_BO] = LR_GROUP_ATTN,          [LR_Q_NORM] = LR_GROUP_ATTN,
        [LR_K_NORM] = LR_GROUP_ATTN,        [LR_SINKS] = LR_GROUP_ATTN,
        [LR_WQ_A] = LR_GROUP_ATTN,          [LR_Q_A_NORM] = LR_GROUP_ATTN,    [LR_WKV_A] = LR_GROUP_ATTN,
        [LR_KV_A_NORM] = LR_GROUP_ATTN,     [LR_WK_B] = LR_GROUP_ATTN,        [LR_WV_B] = LR_GROUP_ATTN,
        [LR_WQ_GATE] = LR_GROUP_ATTN,       [LR_DELTA_Q] = LR_GROUP_ATTN,     [LR_DELTA_K] = LR_GROUP_ATTN,
        [LR_DELTA_V] = LR_GROUP_ATTN,       [LR_DELTA_Z] = LR_GROUP_ATTN,     [LR_DELTA_B] = LR_GROUP_ATTN,
        [LR_DELTA_A] = LR_GROUP_ATTN,       [LR_DELTA_OUT] = LR_GROUP_ATTN,   [LR_DELTA_CONV] = LR_GROUP_ATTN,
        [LR_DELTA_DT] = LR_GROUP_ATTN,      [LR_DELTA_RATE] = LR_GROUP_ATTN,  [LR_DELTA_NORM] = LR_GROUP_ATTN,
        [LR_FFN_NORM] = LR_GROUP_GATE_UP,   [LR_B_FFN_NORM] = LR_GROUP_GATE_UP,
        [LR_W_GATE] = LR_GROUP_GATE_UP,     [LR_W_UP] = LR_GROUP_GATE_UP,
        [LR_B_GATE] = LR_GROUP_GATE_UP,     [LR_B_UP] = LR_GROUP_GATE_UP,
        [LR_W_DOWN] = LR_GROUP_DOWN,        [LR_B_DOWN] = LR_GROUP_DOWN,      [LR_FFN_POST_NORM] = LR_GROUP_DOWN,
        [LR_W_GATE_SHARED] = LR_GROUP_GATE_UP, [LR_W_UP_SHARED] = LR_GROUP_GATE_UP,
        [LR_W_DOWN_SHARED] = LR_GROUP_GATE_UP, [LR_SHARED_GATE] = LR_GROUP_GATE_UP,
        [LR_ROUTER] = LR_GROUP_DOWN,        [LR_B_ROUTER] = LR_GROUP_DOWN,
        [LR_W_GATE_EXPERTS] = LR_GROUP_DOWN, [LR_W_UP_EXPERTS] = LR_GROUP_DOWN, [LR_W_DOWN_EXPERTS] = LR_GROUP_DOWN,
        [LR_B_GATE_EXPERTS] = LR_GROUP_DOWN, [LR_B_UP_EXPERTS] = LR_GROUP_DOWN, [LR_B_DOWN_EXPERTS] = LR_GROUP_DOWN,
        [LR_OUT_NORM] = LR_GROUP_HEAD,      [LR_B_OUT_NORM] = LR_GROUP_HEAD,
        [LR_HEAD] = LR_GROUP_HEAD,          [LR_B_HEAD] = LR_GROUP_HEAD,
    };
    return h->parallel && groups[role] < LR_N_GROUPS ? LR_GROUP_ATTN : groups[role];
}

size_t lr_plan_part_of(const lr_plan_input *in, bool tied, const lr_plan_tensor *t) {
    lr_group g = lr_plan_group(in->model, t->role);
    if (g == LR_GROUP_EMBED && !tied) return lr_plan_part_index(in, -1, LR_GROUP_EMBED);
    return t->layer < 0 || g >= LR_N_GROUPS ? lr_plan_part_index(in, -1, LR_GROUP_HEAD)
                                            : lr_plan_part_index(in, t->layer, g);
}

/* Tables of which a token reads one row.                                                                              */
static bool is_table(const lr_plan_tensor *t, bool tied) {
    return (t->role == LR_EMBED && !tied) || t->role == LR_POSITIONS;
}

uint64_t lr_plan_token_share(const lr_plan_input *in, bool tied, const lr_plan_tensor *t, uint64_t amount) {
    if (is_table(t, tied)) return amount / (uint64_t)t->rows;
    return t->experts ? amount / (uint64_t)t->experts * (uint64_t)in->model->n_experts_used : amount;
}

/* Precision of the file: f32 runs as f16, and so does what no kernel reads (f64, f8).                                */
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
    if (is_table(t, tied) && mappable) return t->file_format;
    if (t->role == LR_POSITIONS) return kept_format(t);
    if (quant == LR_FORMAT_NONE) return kept_format(t);
    if (tied && (t->role == LR_EMBED || t->role == LR_HEAD) && lr_formats[quant].bits == 4) quant = LR_Q8_0;
    return already_as_small(t, quant) ? t->file_format : quant;
}

static bool gpu_takes(lr_format f) {
    return lr_gpu_act(f, 1) != LR_ACT_NONE && lr_gpu_act(f, LR_GPU_FEW + 1) != LR_ACT_NONE;
}

/* What a GPU runs instead of a format that it has no kernel for.                                                     */
static lr_format gpu_format(lr_format f, int64_t cols) {
    if (gpu_takes(f)) return f;
    int bits = lr_formats[f].bits;
    lr_format want = bits <= 4 ? LR_Q4_K : bits <= 8 ? LR_Q8_0 : LR_F16;
    return lr_format_fallback(want, cols);
}

bool lr_plan_place(const lr_plan_input *in, bool tied, lr_format quant, const lr_plan_tensor *t, bool on_gpu,
                   lr_plan_placement *out) {
    memset(out, 0, sizeof *out);
    if (in->formats) quant = in->formats[t - in->tensors];
    lr_format want = wanted_format(in, tied, quant, t);
    out->format = lr_format_fallback(want, t->cols);
    out->fell_back = out->format != want;
    if (out->fell_back && lr_format_is_plain(out->format)) out->format = kept_format(t);

    if (on_gpu) out->format = gpu_format(out->format, t->cols);
    if (t->permuted && out->format == t->file_format)
        out->order_bytes = (uint64_t)lr_max(1, t->experts) * (uint64_t)t->cols * sizeof(int32_t);
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

/* Source bytes of a tensor that is converted; types no kernel reads count as two bytes a value.                      */
static uint64_t source_bytes(const lr_plan_tensor *t, uint64_t values) {
    if (t->file_format == LR_FORMAT_NONE) return 2 * values;
    const lr_format_traits *f = &lr_formats[t->file_format];
    return values / (uint64_t)f->block * (uint64_t)f->quant_bytes;
}

/* Adds a row length to those that matmuls of that format read; the set of it alone.  A fourth one widens the third.  */
static lr_plan_widths width_of(lr_plan_weights *w, lr_format f, int64_t cols) {
    int i = f * LR_PLAN_WIDTHS, last = i + LR_PLAN_WIDTHS - 1;
    while (i < last && w->cols[i] && w->cols[i] != cols) i++;
    w->cols[i] = lr_max(w->cols[i], cols);
    return (lr_plan_widths)1 << i;
}

/* Row lengths of a matrix that matmuls read.  A conversion to f16 may turn out to need bf16 (values out of range):
 * inputs must have room for either kernel.                                                                           */
static lr_plan_widths widths_of(lr_plan_weights *w, const lr_plan_tensor *t, const lr_plan_placement *p) {
    lr_plan_widths set = is_vector(t) ? 0 : width_of(w, p->format, t->cols);
    return set && p->converted && p->format == LR_F16 ? set | width_of(w, LR_BF16, t->cols) : set;
}

/* Matrices of latent attention of which each head has rows of its own.                                                */
static bool is_of_heads(lr_role role) { return role == LR_WK_B || role == LR_WV_B; }

/* Packed inputs of a tensor on a GPU.  Experts leave their hidden values in a room of their own; shared ones with a
 * gate pack theirs behind it, and so does a w_down that wants them in an order of its own.                           */
static void add_gpu_widths(lr_plan_weights *w, const lr_hparams *h, lr_plan_part *part, const lr_plan_tensor *t,
                           const lr_plan_placement *gpu) {
    bool down = t->role == LR_W_DOWN || t->role == LR_W_DOWN_SHARED, apart = down && gpu->order_bytes;
    bool hidden = (part->is_layer && t->role == LR_W_DOWN) || (t->role == LR_W_DOWN_SHARED && !w->shared_gate);
    if (t->experts && is_vector(t)) return;
    if (t->role == LR_W_DOWN_EXPERTS) {
        part->experts_out |= (uint64_t)1 << gpu->format;
    } else if (is_of_heads(t->role)) {
        int64_t head = t->role == LR_WK_B ? h->n_nope + h->n_rot : h->kv_rank;
        if (lr_gpu_act(gpu->format, 1) == LR_ACT_Q8) part->heads_row = lr_max(part->heads_row, h->n_heads * head);
    } else {
        *(apart ? &part->gpu_apart : hidden ? &part->gpu_hidden : &part->gpu_widths) |= widths_of(w, t, gpu);
    }
}

/* GPUs take gate and up of experts in one format.                                                                    */
static void add_experts(const lr_plan_input *in, lr_plan_part *part, const lr_plan_tensor *t,
                        const lr_plan_placement *host, const lr_plan_placement *gpu) {
    bool is_in = t->role == LR_W_GATE_EXPERTS || t->role == LR_W_UP_EXPERTS;
    part->experts_read += lr_plan_token_share(in, false, t, host->bytes);
    part->is_experts = true;
    part->streams = false;
    part->gpu_takes &= t->experts <= LR_GPU_EXPERTS_MOST &&
                       (!is_in || part->experts_in == LR_FORMAT_NONE || part->experts_in == gpu->format);
    if (is_in) part->experts_in = gpu->format;
    part->experts_ordered |= gpu->order_bytes > 0;
}

/* host, gpu: the tensor as it would run on either.                                                                   */
static void add_to_part(lr_plan_weights *w, const lr_plan_input *in, lr_plan_part *part, const lr_plan_tensor *t,
                        const lr_plan_placement *host, const lr_plan_placement *gpu, bool matmul) {
    part->gpu += lr_plan_gpu_bytes(gpu);
    part->gpu_read += lr_plan_token_share(in, w->tied, t, gpu->bytes);
    part->read += lr_plan_token_share(in, w->tied, t, host->bytes);
    *(host->converted ? &part->block : &part->mapped) += host->bytes;
    if (matmul && !t->experts) part->widths |= widths_of(w, t, host);
    part->streams &= host->format == gpu->format;
    part->is_layer = in->model->parallel && t->layer >= 0;
    if (matmul) add_gpu_widths(w, in->model, part, t, gpu);
    part->longest_row = lr_max(part->longest_row, is_vector(t) ? t->rows : t->cols);
    if (matmul) part->params += lr_plan_token_share(in, w->tied, t, (uint64_t)t->rows * (uint64_t)t->cols);
    if (!is_vector(t)) part->gpu_takes &= gpu_takes(gpu->format);
    if (t->experts) add_experts(in, part, t, host, gpu);
}

static bool weigh(const lr_plan_input *in, lr_format quant, lr_plan_weights *out) {
    lr_plan_weights w = { .parts = out->parts, .tied = lr_plan_tied(in) };
    bool tied = w.tied;
    for (size_t i = 0; i < in->n_tensors; i++) w.shared_gate |= in->tensors[i].role == LR_SHARED_GATE;
    for (size_t i = 0; i < in->n_tensors; i++) {
        const lr_plan_tensor *t = &in->tensors[i];
        lr_plan_placement p, gpu;
        if (!lr_plan_place(in, tied, quant, t, false, &p)) return false;
        bool rows_only = is_table(t, tied);
        uint64_t values = (uint64_t)t->rows * (uint64_t)t->cols; /* no overflow: its bytes were measured */
        uint64_t *place = p.converted ? &w.block : rows_only ? &w.mapped_rows : &w.mapped;
        *place += p.bytes;
        w.total += p.bytes;
        w.per_token += lr_plan_token_share(in, tied, t, p.bytes);
        w.n_params += values;
        if (p.converted) w.source += source_bytes(t, values);
        if (!rows_only) w.n_matmul_params += lr_plan_token_share(in, tied, t, values);
        if (t->experts) w.experts_read += lr_plan_token_share(in, tied, t, p.bytes);
        else if (!rows_only) w.widths |= widths_of(&w, t, &p);
        w.max_cols = lr_max(w.max_cols, t->cols);
        if (w.parts) {
            if (!lr_plan_place(in, tied, quant, t, true, &gpu)) return false;
            add_to_part(&w, in, &w.parts[lr_plan_part_of(in, tied, t)], t, &p, &gpu, !rows_only);
            if (!rows_only) w.gpu_total += lr_plan_gpu_bytes(&gpu);
        }
        if (w.total > LR_PLAN_MOST || w.source > LR_PLAN_MOST || w.n_params > LR_PLAN_MOST) return false;
    }
    *out = w;
    return true;
}

static size_t n_groups(const lr_plan_input *in) { return (size_t)in->model->n_layers * LR_N_GROUPS; }

static const lr_plan_part nothing = { .gpu_takes = true, .streams = true, .experts_in = LR_FORMAT_NONE };

/* Room for parts and places, which only GPUs need.                                                                   */
static bool make_room(lr_plan_scale *scale, const lr_plan_input *in, lr_plan_weights *w) {
    size_t n = n_groups(in), n_parts = n + 2;
    if (!scale->places.group) scale->places.group = lr_zalloc(2 * n, sizeof *scale->places.group);
    if (scale->places.group) scale->places.stream = scale->places.group + n;
    if (!w->parts) w->parts = lr_zalloc(n_parts, sizeof *w->parts);
    for (size_t i = 0; w->parts && i < n_parts; i++) w->parts[i] = nothing;
    return scale->places.group && w->parts;
}

const lr_plan_weights *lr_plan_weighed(lr_plan_scale *scale, const lr_plan_input *in, lr_format quant) {
    int i = quant + 1;
    lr_plan_weights *w = &scale->weights[i];
    if (scale->no_memory) return NULL;
    if (!scale->done[i] || (in->n_gpus && !w->parts)) {
        if (in->n_gpus && !make_room(scale, in, w)) {
            scale->no_memory = true;
            return NULL;
        }
        scale->ok[i] = weigh(in, quant, w);
        scale->done[i] = true;
    }
    return scale->ok[i] ? w : NULL;
}

void lr_plan_scale_close(lr_plan_scale *scale) {
    lr_free(scale->places.group);
    for (size_t i = 0; i < LR_COUNT(scale->weights); i++) lr_free(scale->weights[i].parts);
    *scale = (lr_plan_scale){ 0 };
}
