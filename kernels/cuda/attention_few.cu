/* Attention of a few rows of each sequence, as in decode: limited by reading the cache.
 *
 * A block takes 16 queries of one KV head (all heads that share it, then more rows) and one split of the positions.
 * Its four warps take 16 positions at a time.  Scores and weighted values are products on tensor cores, whose
 * fragments come straight from the cache by 16-byte loads: the sum over the dims of a head does not mind their order,
 * so a lane owns neighbouring dims of a K row; and a lane that owns the same dims of four V rows finds there the
 * columns of as many fragments as it has dims.  k_merge joins the splits in their order.
 * Source: Flash-Decoding (Dao et al., 2023).                                                                         */
#include "kernels/cuda/attention.cuh"

enum { QUERIES = 16, KEYS = 16, WARPS = 4, MERGE_COLUMNS = 128 };

/* K and V of 16 positions as one lane (g = lane / 4, t = lane % 4) loads them: of keys g and 8 + g the dims
 * 4 K_VEC u + K_VEC t .., of the keys 2t, 2t + 1, 2t + 8, 2t + 9 the values 8 V_VEC w + V_VEC g ..
 * Of rotated caches these are places (dim_of).  WHOLE: heads have DIM dims, not less.                                */
template <int FORMAT, int DIM, bool WHOLE> struct lane_cache {
    static constexpr bool Q8 = FORMAT == LR_Q8_0, Q4 = FORMAT == LR_KV_ROTATED;
    static constexpr int K_VEC = Q4 && DIM > 64 ? 32 : Q8 || Q4 ? 16 : 8;
    static constexpr int V_VEC = (Q8 || Q4) && DIM > 64 ? 16 : 8, BITS = Q4 ? 4 : Q8 ? 8 : 16;
    static constexpr int K_LOADS = DIM / (4 * K_VEC), K_WORDS = K_VEC * BITS / 32;
    static constexpr int V_LOADS = DIM / (8 * V_VEC), V_WORDS = V_VEC * BITS / 32;
    unsigned k[2][K_LOADS][K_WORDS], v[4][V_LOADS][V_WORDS];
    unsigned short k_scale[2][K_LOADS], v_scale[4][V_LOADS];

    template <int WORDS> GPU_FN void load(unsigned *to, const uint8_t *from) {
        if (WORDS == 4) {
            uint4 x = __ldg((const uint4 *)from);
            to[0] = x.x, to[1 % WORDS] = x.y, to[2 % WORDS] = x.z, to[3 % WORDS] = x.w;
        } else if (WORDS == 2) {
            uint2 x = __ldg((const uint2 *)from);
            to[0] = x.x, to[1 % WORDS] = x.y;
        } else {
            to[0] = __ldg((const unsigned *)from);
        }
    }
    /* Dims and keys that are not there are read as the last: queries have zeros there, weights are 0, and results of
     * such dims are dropped.                                                                                         */
    GPU_FN int within(int dim, int vec, int head_dim) { return WHOLE ? dim : min(dim, head_dim - vec); }
    /* 16 positions from the one in this slot on, n of which are there.                                               */
    __device__ __forceinline__ void load_k(const cache_head &cache, int slot, int n, int lane, int head_dim) {
        GPU_UNROLL for (int j = 0; j < 2; j++) {
            cache_row row = cache.row(cache.slot_after(slot, min(8 * j + lane / 4, n - 1)));
            GPU_UNROLL for (int u = 0; u < K_LOADS; u++) {
                int dim = within(4 * K_VEC * u + K_VEC * (lane % 4), K_VEC, head_dim);
                load<K_WORDS>(k[j][u], row.k + dim * BITS / 8);
                if (Q8 || Q4) k_scale[j][u] = __ldg((const unsigned short *)row.k_scales + dim / 32);
            }
        }
    }
    __device__ __forceinline__ void load_v(const cache_head &cache, int slot, int n, int lane, int head_dim) {
        GPU_UNROLL for (int c = 0; c < 4; c++) {
            int key = 2 * (lane % 4) + (c & 1) + 8 * (c >> 1);
            cache_row row = cache.row(cache.slot_after(slot, min(key, n - 1)));
            GPU_UNROLL for (int w = 0; w < V_LOADS; w++) {
                int dim = within(8 * V_VEC * w + V_VEC * (lane / 4), V_VEC, head_dim);
                load<V_WORDS>(v[c][w], row.k + cache.half + dim * BITS / 8);
                if (Q8 || Q4) v_scale[c][w] = __ldg((const unsigned short *)(row.k_scales + cache.half) + dim / 32);
            }
        }
    }
    /* Fragment of the m-th product over 16 dims of K, keys 8j ...                                                    */
    __device__ __forceinline__ void k_fragment(unsigned b[2], int j, int m) const {
        int u = m / (K_VEC / 4), i = m % (K_VEC / 4);
        if (Q8) {
            q8_values(b, k[j][u][i], q8_scale(k_scale[j][u]));
        } else if (Q4) {
            q4_values(b, k[j][u][i / 2] >> i % 2 * 16, q8_scale(k_scale[j][u]));
        } else {
            b[0] = k[j][u][2 * i % K_WORDS];
            b[1] = k[j][u][(2 * i + 1) % K_WORDS];
        }
    }
    /* Values V_VEC w' + 4 i .. + 3 of key c.                                                                         */
    __device__ __forceinline__ void v_values(unsigned x[2], int c, int w, int i) const {
        if (Q8) {
            q8_values(x, v[c][w][i % V_WORDS], q8_scale(v_scale[c][w]));
        } else if (Q4) {
            q4_values(x, v[c][w][i / 2] >> i % 2 * 16, q8_scale(v_scale[c][w]));
        } else {
            x[0] = v[c][w][2 * i % V_WORDS];
            x[1] = v[c][w][(2 * i + 1) % V_WORDS];
        }
    }
};

/* Where place d of query i lies among the fragments of the queries, in f16: the order of lane_cache::k_fragment.       */
template <int VEC> GPU_FN int query_place(int i, int d) {
    int m = d / (4 * VEC) * (VEC / 4) + d % VEC / 4, lane = i % 8 * 4 + d / VEC % 4;
    return ((m * 32 + lane) * 4 + d / 2 % 2 * 2 + i / 8) * 2;
}

template <int FORMAT, int DIM, bool WHOLE>
__global__ void __launch_bounds__(32 * WARPS, 2) k_few(split_pass a) {
    gpu_wait_for_queue();
    typedef lane_cache<FORMAT, DIM, WHOLE> lane_tile;
    constexpr int N = DIM / 8;               /* fragments of the result */
    constexpr bool AHEAD = DIM <= 128;       /* registers for loads of the next step beside those of this one */
    GPU_SHARED(uint4, queries, [DIM / 16][32]);
    GPU_SHARED(float, grow, [QUERIES]);
    GPU_SHARED(float, results, [2][4 * N][32]);
    GPU_SHARED(float, weights, [2][4][32]);
    int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5, g = lane >> 2, t = lane & 3;
    const lr_seq &seq = a.seqs[blockIdx.z];
    int group = a.n_heads / a.n_kv_heads, kv_head = blockIdx.x % a.n_kv_heads;
    int first = (int)(blockIdx.x / a.n_kv_heads) * QUERIES, split = blockIdx.y;
    split_range range(a, seq, split);
    int n_queries = range.rows * group;
    if (first >= n_queries || split >= range.count) return; /* the whole block */

    { /* the queries: eight threads each */
        int i = tid / 8, query = min(first + i, n_queries - 1), head_dim = a.head_dim;
        const float *q = a.q + (seq.row + a.first_row + query / group) * a.q_stride +
                         (int64_t)(kv_head * group + query % group) * head_dim;
        float most = 0, x[DIM / 8];
        GPU_UNROLL for (int j = 0; j < DIM / 8; j += 2) {
            float2 two = two_at<FORMAT>(q, 8 * j + tid % 8 * 2, head_dim);
            x[j] = two.x, x[j + 1] = two.y;
        }
        if (FORMAT == LR_KV_ROTATED) rotate_row<DIM / 8, 2, 8>(x, tid % 8, head_dim);
        GPU_UNROLL for (int j = 0; j < DIM / 8; j++) most = fmaxf(most, fabsf(x[j]));
        GPU_UNROLL for (int bit = 1; bit < 8; bit *= 2) most = fmaxf(most, __shfl_xor_sync(GPU_FULL_WARP, most, bit));
        query_scale by(most, a.scale);
        GPU_UNROLL for (int j = 0; j < DIM / 8; j += 2) {
            __half *at = (__half *)queries + query_place<lane_tile::K_VEC>(i, 8 * j + tid % 8 * 2);
            *(unsigned *)at = half2_bits(x[j] * by.shrink, x[j + 1] * by.shrink);
        }
        if (tid % 8 == 0) grow[i] = a.softcap > 0 ? to_tanh(by.grow, a.softcap) : by.grow;
    }
    __syncthreads();

    float o[N][4] = {}, most[2] = { -INFINITY, -INFINITY }, sum[2] = {}, to_score[2];
    GPU_UNROLL for (int r = 0; r < 2; r++) to_score[r] = a.softcap > 0 ? a.softcap : grow[g + 8 * r];
    int last[2]; /* positions of the lane's rows */
    GPU_UNROLL for (int r = 0; r < 2; r++)
        last[r] = seq.position + a.first_row + min(first + g + 8 * r, n_queries - 1) / group;
    /* positions [all_begin, all_end) are seen by all queries of the block */
    int first_position = seq.position + a.first_row + first / group;
    int last_position = seq.position + a.first_row + min(first + QUERIES, n_queries - 1) / group;
    int all_begin = first_seen(last_position, a.window), all_end = min(first_position + 1, range.end);
    cache_head cache(seq.kv, kv_head, FORMAT);
    lane_tile tile;
    int p = range.begin + KEYS * warp, slot = cache.slot(p);
    if (AHEAD && p < range.end) {
        tile.load_k(cache, slot, range.end - p, lane, a.head_dim);
        tile.load_v(cache, slot, range.end - p, lane, a.head_dim);
    }
    for (; p < range.end; p += KEYS * WARPS) {
        float s[2][4] = {};
        int left = range.end - p, left_next = left - KEYS * WARPS, next = cache.slot_after(slot, KEYS * WARPS);
        if (!AHEAD) tile.load_k(cache, slot, left, lane, a.head_dim);
        GPU_UNROLL for (int m = 0; m < DIM / 16; m++) {
            uint4 x = queries[m][lane];
            unsigned q[4] = { x.x, x.y, x.z, x.w }, k[2];
            GPU_UNROLL for (int j = 0; j < 2; j++) {
                tile.k_fragment(k, j, m);
                mma_m16n8k16_f16(s[j], q, k, s[j]);
            }
        }
        if (!AHEAD) tile.load_v(cache, slot, left, lane, a.head_dim);
        else if (left_next > 0) tile.load_k(cache, next, left_next, lane, a.head_dim);

        if (a.softcap > 0) {
            GPU_UNROLL for (int r = 0; r < 2; r++) GPU_UNROLL for (int i = 0; i < 4; i++) {
                float &x = s[i / 2][2 * r + i % 2];
                x = capped(x * grow[g + 8 * r]);
            }
        }
        if (p < all_begin || p + KEYS > all_end) {
            GPU_UNROLL for (int r = 0; r < 2; r++) {
                int from = first_seen(last[r], a.window), to = min(last[r], range.end - 1);
                GPU_UNROLL for (int i = 0; i < 4; i++) {
                    int key = p + i / 2 * 8 + 2 * t + i % 2;
                    float &x = s[i / 2][2 * r + i % 2];
                    bool seen = (key >= from) & (key <= to); /* no branches */
                    x = seen ? x : -INFINITY;
                }
            }
        }
        float shrink[2];
        GPU_UNROLL for (int r = 0; r < 2; r++) {
            float top = fmaxf(fmaxf(s[0][2 * r], s[0][2 * r + 1]), fmaxf(s[1][2 * r], s[1][2 * r + 1]));
            top = fmaxf(most[r], quad_max(top));
            float base = top == -INFINITY ? 0.0f : top; /* nothing seen yet: all weights are 0 */
            shrink[r] = exp2_approximate((most[r] - base) * to_score[r]);
            most[r] = top;
            sum[r] *= shrink[r];
            GPU_UNROLL for (int i = 0; i < 4; i++) {
                float &x = s[i / 2][2 * r + i % 2];
                x = exp2_approximate((x - base) * to_score[r]);
                sum[r] += x;
            }
        }
        if (__any_sync(GPU_FULL_WARP, (shrink[0] != 1.0f) | (shrink[1] != 1.0f))) {
            GPU_UNROLL for (int n = 0; n < N; n++) GPU_UNROLL for (int i = 0; i < 4; i++) o[n][i] *= shrink[i / 2];
        }

        unsigned w[4] = { half2_bits(s[0][0], s[0][1]), half2_bits(s[0][2], s[0][3]), half2_bits(s[1][0], s[1][1]),
                          half2_bits(s[1][2], s[1][3]) };
        GPU_UNROLL for (int n = 0; n < N; n += 4) { /* four dims of each key become four fragments */
            unsigned x[4][2];
            GPU_UNROLL for (int c = 0; c < 4; c++)
                tile.v_values(x[c], c, n / lane_tile::V_VEC, n % lane_tile::V_VEC / 4);
            GPU_UNROLL for (int e = 0; e < 4; e++) {
                unsigned pick = e % 2 ? 0x7632 : 0x5410;
                unsigned v[2] = { __byte_perm(x[0][e / 2], x[1][e / 2], pick),
                                  __byte_perm(x[2][e / 2], x[3][e / 2], pick) };
                mma_m16n8k16_f16(o[n + e], w, v, o[n + e]);
            }
        }
        if (AHEAD && left_next > 0) tile.load_v(cache, next, left_next, lane, a.head_dim);
        slot = next;
    }
    GPU_UNROLL for (int r = 0; r < 2; r++) {
        sum[r] = quad_sum(sum[r]);
        most[r] *= to_score[r];
    }

    /* warps 2 and 3 into 0 and 1, then 1 into 0 */
    auto give = [&](int to) {
        GPU_UNROLL for (int n = 0; n < N; n++) GPU_UNROLL for (int i = 0; i < 4; i++) results[to][4 * n + i][lane] =
            o[n][i];
        GPU_UNROLL for (int r = 0; r < 2; r++) {
            weights[to][r][lane] = most[r];
            weights[to][2 + r][lane] = sum[r];
        }
    };
    auto take = [&](int from_place) {
        float mine[2], other[2];
        GPU_UNROLL for (int r = 0; r < 2; r++) {
            float theirs = weights[from_place][r][lane], top = fmaxf(most[r], theirs);
            mine[r] = exp2_less(most[r], top);
            other[r] = exp2_less(theirs, top);
            most[r] = top;
            sum[r] = sum[r] * mine[r] + weights[from_place][2 + r][lane] * other[r];
        }
        GPU_UNROLL for (int n = 0; n < N; n++) GPU_UNROLL for (int i = 0; i < 4; i++) o[n][i] =
            o[n][i] * mine[i / 2] + results[from_place][4 * n + i][lane] * other[i / 2];
    };
    if (warp >= 2) give(warp - 2);
    __syncthreads();
    if (warp < 2) take(warp);
    __syncthreads();
    if (warp == 1) give(0);
    __syncthreads();
    if (warp) return;
    take(0);

    constexpr int VEC = lane_tile::V_VEC;
    GPU_UNROLL for (int r = 0; r < 2; r++) {
        if (FORMAT == LR_KV_ROTATED) { /* back, before the merge: a sum does not mind */
            float x[2 * N];
            GPU_UNROLL for (int n = 0; n < 2 * N; n++)
                x[n] = o[n / (2 * VEC) * VEC + n % VEC][2 * r + n / VEC % 2];
            rotate_row<2 * N, 2 * VEC, 4>(x, t, a.head_dim);
            GPU_UNROLL for (int n = 0; n < 2 * N; n++)
                o[n / (2 * VEC) * VEC + n % VEC][2 * r + n / VEC % 2] = x[n];
        }
        int query = first + g + 8 * r;
        if (query >= n_queries) continue;
        size_t row = (size_t)split * a.n_slots + blockIdx.z * a.rows + query / group;
        size_t at = row * a.n_heads + kv_head * group + query % group;
        if (t == 0) {
            a.stats[2 * at] = most[r];
            a.stats[2 * at + 1] = sum[r];
        }
        GPU_UNROLL for (int n = 0; n < N; n += 4) GPU_UNROLL for (int c = 0; c < 2; c++) {
            int place = n / VEC * 8 * VEC + (2 * t + c) * VEC + n % VEC, i = 2 * r + c;
            float *to = a.sums + at * a.head_dim + dim_of<FORMAT>(place);
            if (place >= a.head_dim) continue;
            if (FORMAT == LR_KV_ROTATED) {
                *(float2 *)to = make_float2(o[n][i], o[n + 1][i]);
                *(float2 *)(to + 16) = make_float2(o[n + 2][i], o[n + 3][i]);
            } else {
                *(float4 *)to = make_float4(o[n][i], o[n + 1][i], o[n + 2][i], o[n + 3][i]);
            }
        }
    }
}

/* ---- the merge ---- */

/* A block takes 128 columns of a row.                                                                                */
template <int FORMAT>
__global__ void __launch_bounds__(MERGE_COLUMNS) k_merge(split_pass a, float *y, int64_t y_stride, lr_act out) {
    gpu_wait_for_queue();
    int slot = blockIdx.y, column = blockIdx.x * MERGE_COLUMNS + threadIdx.x, cols = a.n_heads * a.head_dim;
    const lr_seq &seq = a.seqs[slot / a.rows];
    if (a.first_row + slot % a.rows >= seq.n) return; /* the whole block */
    int count = split_range(a, seq, 0).count;
    bool inside = column < cols;
    int head = inside ? column / a.head_dim : 0;
    size_t at = (size_t)slot * a.n_heads + head, stride = (size_t)a.n_slots * a.n_heads;
    int dim = inside ? column % a.head_dim : 0;
    float most = -INFINITY, sum = 0, value = 0;
    for (int s = 0; s < count; s++) most = fmaxf(most, a.stats[2 * (at + s * stride)]);
    for (int s = 0; s < count; s++) { /* a row may see nothing of a split: weight 0 */
        size_t part = at + s * stride;
        float weight = exp2_less(a.stats[2 * part], most);
        sum += weight * a.stats[2 * part + 1];
        value += weight * a.sums[part * a.head_dim + dim];
    }
    value = inside ? value / (sum + sink_weight(a, head, most)) : 0.0f;
    int64_t row = seq.row + a.first_row + slot % a.rows;
    if (y && inside) y[row * y_stride + column] = value;
    if (FORMAT == LR_ACT_F16) {
        value = within_f16(value); /* so it is but for values of a cache in f32 */
        if (column == 0) ((float *)out.d)[row] = 1;
    }
    put<FORMAT>(out, row, column, value, inside, 1.0f);
}

cudaError_t attention_merge(lr_device *d, const lr_attention_args *a, const split_pass &p, double context,
                            const lr_act *out) {
    static void (*const kernels[LR_N_ACT_FORMATS + 1])(split_pass, float *, int64_t, lr_act) = {
        k_merge<LR_ACT_F32>, k_merge<LR_ACT_BF16>, k_merge<LR_ACT_F16>, k_merge<LR_ACT_Q8>, k_merge<LR_ACT_NONE>,
    };
    unsigned cols = (unsigned)(p.n_heads * p.head_dim);
    dim3 grid((cols + MERGE_COLUMNS - 1) / MERGE_COLUMNS, (unsigned)p.n_slots);
    double splits = fmin(p.n_splits, ceil(context / SHARE_LEAST)); /* that are not empty; written, then read */
    double row_bytes = cols * (8.0 * splits + (a->out ? 4 : 0)) + (out ? act_row_bytes(out->format, cols) : 0);
    lr_act none = {};
    return GPU_LAUNCH_COST(p.n_slots * row_bytes, 0, kernels[out ? out->format : LR_N_ACT_FORMATS], grid,
                           dim3(MERGE_COLUMNS), 0, gpu_early_queue(d), p, a->out, a->out_stride,
                           out ? *out : none);
}

/* ---- host side ---- */

template <int FORMAT> static void (*few_kernel(int32_t head_dim))(split_pass) {
    return head_dim == 64    ? k_few<FORMAT, 64, true>
           : head_dim == 128 ? k_few<FORMAT, 128, true>
           : head_dim < 64   ? k_few<FORMAT, 64, false>
           : head_dim < 128  ? k_few<FORMAT, 128, false>
                             : k_few<FORMAT, 256, false>;
}

static cudaError_t few_rows(lr_device *d, const lr_attention_args *a, const split_pass &p, attention_cost cost) {
    if (attention_is_plain(a)) return attention_plain(d, a, p, nullptr, cost);
    void (*kernel)(split_pass) = a->kv_format == LR_F16          ? few_kernel<LR_F16>(a->head_dim)
                                 : a->kv_format == LR_KV_ROTATED ? few_kernel<LR_KV_ROTATED>(a->head_dim)
                                                                 : few_kernel<LR_Q8_0>(a->head_dim);
    int tiles = (p.rows * (a->n_heads / a->n_kv_heads) + QUERIES - 1) / QUERIES;
    dim3 grid((unsigned)(a->n_kv_heads * tiles), (unsigned)p.n_splits, (unsigned)p.n_seqs);
    return GPU_LAUNCH_COST(cost.bytes, cost.flops, kernel, grid, dim3(32 * WARPS), 0, gpu_early_queue(d), p);
}

cudaError_t gpu_attention_few(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out) {
    if (!lr_gpu_attention_takes(a->kv_format, a->head_dim) || !a->partial) return cudaErrorInvalidValue;
    attention_cost whole = cost_of_attention(a, s);
    double context = s->context > 0 ? s->context : s->n_ctx;
    if (a->window > 0) context = fmin(context, (double)(a->window + s->most_rows - 1));
    split_pass p = whole_pass(a, s);
    p.n_splits = lr_gpu_attention_splits(a->n_kv_heads, s->n_ctx);
    p.rows = (int32_t)lr_min(LR_GPU_FEW, s->most_rows);
    /* The partial results have room for LR_GPU_FEW rows: a launch takes as many sequences as that allows.            */
    int32_t together = (int32_t)lr_max(1, lr_min(LR_GPU_FEW, s->n) / p.rows);
    for (int32_t i = 0; i < s->n_seqs; i += together) {
        p.seqs = a->seqs + i;
        p.n_seqs = (int32_t)lr_min(together, s->n_seqs - i);
        p.n_slots = p.n_seqs * p.rows;
        p.sums = a->partial;
        p.stats = a->partial + (size_t)p.n_splits * p.n_slots * a->n_heads * a->head_dim;
        for (p.first_row = 0; p.first_row < s->most_rows; p.first_row += p.rows) { /* each reads the whole caches */
            attention_cost cost = { whole.bytes * p.n_seqs / s->n_seqs,
                                    whole.flops * p.n_slots / (double)(s->n_seqs * s->most_rows) };
            cudaError_t e = few_rows(d, a, p, cost);
            if (e == cudaSuccess) e = attention_merge(d, a, p, context, out);
            if (e != cudaSuccess) return e;
        }
    }
    return cudaSuccess;
}
