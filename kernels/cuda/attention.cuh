/* What the attention kernels share: where the rows of a cache lie, what a row of queries sees, queries and cache rows
 * as f16.
 *
 * Query i of a sequence and KV head is head i % group of row i / group: the query heads of a KV head stand side by
 * side, so that K and V are read once for all of them.
 * Scores are kept in f32 and in base 2: exp2(s) with s = q k * scale * log2(e); so are softcaps.                     */
#ifndef LR_ATTENTION_CUH
#define LR_ATTENTION_CUH

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/tile.cuh"

/* ---- what a row sees ---- */

GPU_FN int first_seen(int position, int window) { return window > 0 && position >= window ? position - window + 1 : 0; }

/* ---- rows of one head of a cache ---- */

struct cache_row {
    const uint8_t *k, *k_scales; /* V: .. + cache_head.half */
};

struct cache_head {
    const uint8_t *base, *scales; /* of row 0 in page 0 */
    const int32_t *pages;
    uint64_t page_bytes, half;
    int row_bytes, row_scales, page_slots, n_slots;

    __device__ __forceinline__ cache_head(const lr_kv_layer &kv, int head, int format) {
        row_bytes = format == LR_F32          ? 4 * kv.head_dim
                    : format == LR_F16        ? 2 * kv.head_dim
                    : format == LR_KV_ROTATED ? kv.head_dim / 2
                                              : kv.head_dim;
        row_scales = format == LR_Q8_0 || format == LR_KV_ROTATED ? kv.head_dim / 16 : 0;
        page_slots = kv.page_slots;
        n_slots = kv.n_slots;
        page_bytes = kv.page_bytes;
        half = page_bytes / 2;
        pages = kv.pages;
        size_t plane = (size_t)kv.n_kv_heads * page_slots * row_bytes, first = (size_t)head * page_slots;
        base = kv.base + first * row_bytes;
        scales = kv.base + ((plane + LR_ALIGN - 1) & ~(size_t)(LR_ALIGN - 1)) + first * row_scales;
    }
    __device__ __forceinline__ int slot(int position) const { return position % n_slots; }
    /* The slot of the position that is i after the one in slot s; i < n_slots, for what a row sees is in the ring.   */
    __device__ __forceinline__ int slot_after(int s, int i) const { return s + i < n_slots ? s + i : s + i - n_slots; }
    __device__ __forceinline__ cache_row row(int s) const {
        size_t page = 0;
        if (pages || page_slots < n_slots) {
            page = s / page_slots;
            s -= (int)page * page_slots;
            if (pages) page = pages[page];
        }
        page *= page_bytes;
        return { base + page + (size_t)s * row_bytes, scales + page + (size_t)s * row_scales };
    }
};

/* ---- f16 ---- */

GPU_FN unsigned half2_bits(float a, float b) { return tile_bits(__floats2half2_rn(a, b)); }
GPU_FN float within_f16(float x) { return fminf(fmaxf(x, -65504.0f), 65504.0f); }

/* Scale of a block of q8_0, twice.  Products with 127 stay in the range of f16: larger values are cut.               */
GPU_FN __half2 q8_scale(unsigned short bits) {
    float d = __half2float(__ushort_as_half(bits));
    return __half2half2(__float2half_rn(fminf(d, 515.5f)));
}
/* Four int8 times d.                                                                                                 */
GPU_FN void q8_values(unsigned out[2], unsigned q, __half2 d) {
    q ^= 0x80808080u; /* + 128 */
    out[0] = tile_bits(__hmul2(tile_bytes(q, 0x4140, TILE_1152), d));
    out[1] = tile_bits(__hmul2(tile_bytes(q, 0x4342, TILE_1152), d));
}

/* ---- rotated caches: kernels/cpu/rotate.h ---- */

/* The values that four codes of iq4_nl, the low half of q, stand for, times d.  A byte has a value of the lower half of
 * a block and one of the upper, and so the kernels go through the values of a row by places: dim_of.                 */
GPU_FN void q4_values(unsigned out[2], unsigned q, __half2 d) {
    unsigned b = tile_lookup(0x3f2d1801u, 0x766a5d4fu, 0xa6998d81u, 0xf1d9c5b5u, q); /* + 128 */
    out[0] = tile_bits(__hmul2(tile_bytes(b, 0x4240, TILE_1152), d));
    out[1] = tile_bits(__hmul2(tile_bytes(b, 0x4341, TILE_1152), d));
}
/* The dim at a place of a row.  Even places and those behind them are neighbours.                                    */
template <int FORMAT> GPU_FN int dim_of(int place) {
    if (FORMAT != LR_KV_ROTATED) return place;
    return (place & ~31) | (place & 28) >> 1 | (place & 2) << 3 | (place & 1);
}
template <int FORMAT> GPU_FN float2 two_at(const float *row, int place, int head_dim) {
    return place < head_dim ? *(const float2 *)(row + dim_of<FORMAT>(place)) : make_float2(0, 0);
}
/* Rotates a row of head_dim values of which LANES lanes have COUNT each, value i at the place
 * i / LOW * LOW * LANES + lane * LOW + i % LOW.  Places stand for dims: they are the dims with other bits in the same
 * block, which the transform does not mind.                                                                          */
template <int COUNT, int LOW, int LANES> GPU_FN void rotate_row(float (&x)[COUNT], int lane, int head_dim) {
    const float root = 0.70710678f;
    GPU_UNROLL for (int away = 1; away < COUNT * LANES; away *= 2) {
        int end = head_dim & -2 * away; /* of the blocks that are as large */
        GPU_UNROLL for (int i = 0; i < COUNT; i++) {
            bool inside = i / LOW * LOW * LANES + lane * LOW + i % LOW < end;
            if (away >= LOW && away < LOW * LANES) {
                int bit = away / LOW;
                float other = __shfl_xor_sync(GPU_FULL_WARP, x[i], bit);
                if (inside) x[i] = (lane & bit ? other - x[i] : x[i] + other) * root;
            } else if (!(i & (away < LOW ? away : away / LANES)) && inside) {
                float &a = x[i], &b = x[i + (away < LOW ? away : away / LANES)], sum = a + b;
                b = (a - b) * root;
                a = sum * root;
            }
        }
    }
}

/* Queries go to f16 divided by a power of two that leaves their largest magnitude in [1, 2), whatever it was; scores
 * are multiplied by it again in f32.  most: that magnitude.                                                          */
struct query_scale {
    float shrink, grow;
    __device__ __forceinline__ query_scale(float most, float scale) {
        int exponent = (__float_as_int(most) >> 23 & 255) - 127;
        exponent = exponent < -100 ? -100 : exponent > 100 ? 100 : exponent;
        shrink = copysignf(__int_as_float((127 - exponent) << 23), scale);
        grow = __int_as_float((127 + exponent) << 23) * fabsf(scale) * 1.44269504f; /* never negative */
    }
};

/* With a softcap, products times to_tanh(grow) go through capped() and come out as scores divided by the cap: tanh(v),
 * where x = 2 log2(e) v.  Its error is absolute, about 2^-22.                                                        */
GPU_FN float to_tanh(float grow, float softcap) { return grow * (2 * 1.44269504f / softcap); }
GPU_FN float capped(float x) { return 1.0f - __fdividef(2.0f, 1.0f + exp2_approximate(x)); }

/* ---- running softmax of one row ---- */

/* exp2(a - b) where both may be -infinity (nothing seen yet): 0.                                                     */
GPU_FN float exp2_less(float a, float b) { return b == -INFINITY ? 0.0f : exp2f(a - b); }
/* Over the four lanes that share a row of a fragment.                                                                */
GPU_FN float quad_max(float v) {
    v = fmaxf(v, __shfl_xor_sync(GPU_FULL_WARP, v, 1));
    return fmaxf(v, __shfl_xor_sync(GPU_FULL_WARP, v, 2));
}
GPU_FN float quad_sum(float v) {
    v += __shfl_xor_sync(GPU_FULL_WARP, v, 1);
    return v + __shfl_xor_sync(GPU_FULL_WARP, v, 2);
}

/* ---- the context in splits: see attention_few.cu ---- */

/* One launch: some rows of some sequences.  Partial results of row first_row + r of sequence i are those of slot
 * i * rows + r; n_slots = rows x sequences.                                                                          */
struct split_pass {
    const float *q;
    const lr_seq *seqs;
    float *sums;   /* (n_splits, n_slots, n_heads, head_dim): weighted values, not divided by the sum of weights */
    float *stats;  /* (n_splits, n_slots, n_heads, 2): largest score, sum of weights */
    int64_t q_stride;
    int32_t n_seqs, n_heads, n_kv_heads, head_dim, window, first_row, rows, n_slots, n_splits;
    float scale;
    float softcap;      /* in base 2; 0: none */
    const float *sinks; /* (n_heads), not in base 2; NULL: none */
};
/* The weight of a head's sink, where `most` is the largest score, in base 2.                                         */
GPU_FN float sink_weight(const split_pass &a, int head, float most) {
    return a.sinks ? exp2f(__ldg(a.sinks + head) * 1.44269504f - most) : 0.0f;
}

enum { SHARE_LEAST = 64 }; /* positions of a split */

/* The positions of one split, of those that the rows of the launch see together; the cut depends on their number.    */
struct split_range {
    int begin, end, rows, count; /* count: splits that are not empty */
    __device__ __forceinline__ split_range(const split_pass &a, const lr_seq &seq, int split) {
        int left = (int)seq.n - a.first_row;
        rows = left < a.rows ? left : a.rows;
        int from = first_seen(seq.position + a.first_row, a.window), to = seq.position + a.first_row + rows;
        int share = ((to - from + a.n_splits - 1) / a.n_splits + 15) & ~15;
        if (share < SHARE_LEAST) share = SHARE_LEAST;
        count = (to - from + share - 1) / share;
        begin = from + split * share;
        end = to - begin < share ? to : begin + share;
    }
};

/* ---- host side ---- */

/* What attention costs on the clock of the simulator.                                                                */
struct attention_cost {
    double bytes, flops;
};
/* Attention in f32 arithmetic, for caches in f32 and for rows that are not whole pieces of 16 bytes; of p->n_splits
 * splits, or where p->sums is NULL of everything at once, into y and out as gpu_attention_many.                      */
cudaError_t attention_plain(lr_device *d, const lr_attention_args *a, const split_pass &p, const lr_act *out,
                            attention_cost cost);
/* Joins the splits of p into a->out and out.  context: positions that the rows see together, for the clock of the
 * simulator.                                                                                                         */
cudaError_t attention_merge(lr_device *d, const lr_attention_args *a, const split_pass &p, double context,
                            const lr_act *out);
static inline bool attention_is_plain(const lr_attention_args *a) {
    return a->kv_format == LR_F32 || (a->kv_format == LR_F16 && a->head_dim % 8);
}

/* A pass without splits.                                                                                             */
static inline split_pass whole_pass(const lr_attention_args *a, const lr_pass_shape *s) {
    split_pass p = {};
    p.q = a->q;
    p.q_stride = a->q_stride;
    p.seqs = a->seqs;
    p.n_seqs = s->n_seqs;
    p.n_heads = a->n_heads;
    p.n_kv_heads = a->n_kv_heads;
    p.head_dim = a->head_dim;
    p.window = a->window;
    p.scale = a->scale;
    p.softcap = a->softcap * 1.44269504f;
    p.sinks = a->sinks;
    p.rows = (int32_t)s->most_rows;
    p.n_splits = 1;
    return p;
}

static inline attention_cost cost_of_attention(const lr_attention_args *a, const lr_pass_shape *s) {
    double context = s->context > 0 ? s->context : s->n_ctx, n = (double)s->n, q_dim = (double)a->n_heads * a->head_dim;
    double before = (double)(s->most_rows - 1); /* the rows of a sequence start so many positions apart */
    double seen = a->window > 0 && a->window < context ? a->window : context - before / 2;
    double read = a->window > 0 && a->window + before < context ? a->window + before : context;
    double value = a->kv_format == LR_F32 ? 4 : a->kv_format == LR_F16 ? 2 : a->kv_format == LR_Q8_0 ? 34.0 / 32 : 18.0 / 32;
    return { 2 * value * a->head_dim * a->n_kv_heads * read * s->n_seqs + 8 * n * q_dim, 4 * n * q_dim * seen };
}

#endif
