/* Latent attention: all heads share one row of the cache, whose first values are V too.
 *
 * A block takes 16 queries (32 or 64 in long passes) and walks positions in tiles of 32, which come to shared memory
 * once for all of them: f16 asynchronously into the other of two stages, q8_0 by way of registers.  Its warps share the
 * scores of a tile; then each turns all of them into weights, the same in every warp, and sums the values of columns of
 * its own, so that no results are joined.  Few rows: a block has a split of the positions, attention_merge joins them.
 * Sources: DeepSeek-V2, arXiv:2405.04434; FlashAttention-2, arXiv:2307.08691; Flash-Decoding (Dao et al., 2023).      */
#include "kernels/cuda/attention.cuh"

enum { LANES = 32, KEYS = 32, V_MOST = 512, DIM_MOST = 576, SCORES_PITCH = KEYS + 4 };

/* Values from row to row in shared memory: whole fragments of 32, and no bank conflicts.                              */
static __host__ __device__ __forceinline__ int pitch_of(int dim) { return (dim + 31) / 32 * 32 + 8; }

/* PARTS: of 16 queries.  y: rows of results, or NULL: p.sums and p.stats get those of the block's split.  dim: values of
 * a row of the cache; p.head_dim: of them, those that are V.                                                         */
template <int FORMAT, int PARTS, int WARPS>
__global__ void __launch_bounds__(LANES *WARPS)
    k_attention_latent(split_pass a, int dim, float *y, int64_t y_stride, int stages) {
    constexpr bool Q8 = FORMAT == LR_Q8_0;
    constexpr int QUERIES = 16 * PARTS, COLUMNS = V_MOST / WARPS, N = COLUMNS / 8; /* of a warp */
    constexpr int ROWS = KEYS / WARPS, TURNS = (DIM_MOST / 16 + LANES - 1) / LANES; /* q8_0: loads of a lane */
    GPU_DYN_SHARED(__half, queries); /* [QUERIES][pitch] */
    GPU_SHARED(float, grow, [QUERIES]);
    int pitch = pitch_of(dim), padded = pitch - 8;
    __half *tiles = queries + QUERIES * pitch;                     /* [stages][KEYS][pitch] */
    float *scores = (float *)(tiles + stages * KEYS * pitch);      /* [QUERIES][SCORES_PITCH] */
    int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, g = lane >> 2, t = lane & 3;
    const lr_seq &seq = a.seqs[blockIdx.z];
    int split = blockIdx.y, block = y ? (int)(gridDim.x - 1 - blockIdx.x) : (int)blockIdx.x; /* the longest first */
    split_range range(a, seq, split);
    int first = block * QUERIES, n_queries = range.rows * a.n_heads;
    if (first >= n_queries || split >= range.count) return; /* the whole block */

    for (int i = warp; i < QUERIES; i += WARPS) {
        int query = min(first + i, n_queries - 1);
        const float *q = a.q + (seq.row + a.first_row + query / a.n_heads) * a.q_stride +
                         (int64_t)(query % a.n_heads) * dim;
        float most = 0;
        for (int d = lane; d < dim; d += LANES) most = fmaxf(most, fabsf(q[d]));
        query_scale by(warp_max(most), a.scale);
        for (int d = 2 * lane; d < padded; d += 2 * LANES) {
            float2 x = d < dim ? *(const float2 *)(q + d) : make_float2(0, 0);
            *(unsigned *)(queries + i * pitch + d) = half2_bits(x.x * by.shrink, x.y * by.shrink);
        }
        if (lane == 0) grow[i] = by.grow;
    }
    for (int i = warp; i < stages * KEYS; i += WARPS) /* what no row of the cache reaches */
        if (dim + lane < padded) tiles[i * pitch + dim + lane] = __float2half_rn(0.0f);
    __syncthreads();

    int last[PARTS][2]; /* positions of the lane's rows */
    float to_score[PARTS][2], most[PARTS][2], sum[PARTS][2] = {}, o[PARTS][N][4] = {};
    auto position_of = [&](int query) { return seq.position + a.first_row + min(query, n_queries - 1) / a.n_heads; };
    GPU_UNROLL for (int part = 0; part < PARTS; part++) GPU_UNROLL for (int r = 0; r < 2; r++) {
        last[part][r] = position_of(first + 16 * part + 8 * r + g);
        to_score[part][r] = grow[16 * part + 8 * r + g];
        most[part][r] = -INFINITY;
    }
    int all_seen = position_of(first) + 1, end = min(range.end, position_of(first + QUERIES - 1) + 1);

    /* Positions [p, p + KEYS), those beyond the last as that one; slot: of the first.                                */
    cache_head cache(seq.kv, 0, FORMAT);
    uint4 raw[Q8 ? ROWS : 1][TURNS];
    unsigned short scale[Q8 ? ROWS : 1][TURNS];
    auto fetch = [&](int stage, int p, int slot) {
        GPU_UNROLL for (int i = 0; i < ROWS; i++) {
            int key = warp + WARPS * i;
            cache_row row = cache.row(cache.slot_after(slot, min(key, end - 1 - p)));
            if constexpr (Q8) {
                GPU_UNROLL for (int j = 0; j < TURNS; j++) {
                    int piece = lane + LANES * j;
                    if (16 * piece >= dim) break;
                    raw[i][j] = __ldg((const uint4 *)row.k + piece);
                    scale[i][j] = __ldg((const unsigned short *)row.k_scales + piece / 2);
                }
            } else {
                __half *to = tiles + (stage * KEYS + key) * pitch;
                for (int piece = lane; 8 * piece < dim; piece += LANES)
                    cp_async16(to + 8 * piece, row.k + 16 * piece, true);
            }
        }
        cp_async_commit();
    };
    auto decode = [&] {
        if constexpr (Q8) {
            GPU_UNROLL for (int i = 0; i < ROWS; i++) GPU_UNROLL for (int j = 0; j < TURNS; j++) {
                int piece = lane + LANES * j;
                if (16 * piece >= dim) break;
                uint4 x = raw[i][j], *to = (uint4 *)(tiles + (warp + WARPS * i) * pitch + 16 * piece);
                __half2 d = q8_scale(scale[i][j]);
                unsigned v[8];
                q8_values(v, x.x, d), q8_values(v + 2, x.y, d), q8_values(v + 4, x.z, d), q8_values(v + 6, x.w, d);
                to[0] = make_uint4(v[0], v[1], v[2], v[3]);
                to[1] = make_uint4(v[4], v[5], v[6], v[7]);
            }
        }
    };

    bool ahead = Q8 || stages > 1;
    int p = range.begin, stage = 0, slot = cache.slot(p);
    if (ahead && p < end) fetch(0, p, slot);
    for (; p < end; p += KEYS) {
        if (!ahead) {
            __syncthreads(); /* all are done with the tile before */
            fetch(0, p, slot);
        }
        cp_async_wait<0>();
        __syncthreads();
        if (Q8) {
            decode();
            __syncthreads();
        }
        slot = cache.slot_after(slot, KEYS < end - p ? KEYS : 0);
        int next = Q8 || !ahead ? 0 : stage ^ 1;
        if (ahead && p + KEYS < end) fetch(next, p + KEYS, slot);
        const __half *tile = tiles + stage * KEYS * pitch;
        stage = next;

        /* Scores of 16 queries and 8 positions at a time.                                                            */
        constexpr int MINE = 4 * PARTS / WARPS, APART = WARPS / 4;
        int octet = warp % 4;
        float s[MINE][4] = {};
        for (int d = 0; d < padded; d += 32) {
            unsigned k[4];
            ldmatrix_x4(k, tile + (8 * octet + (lane & 7)) * pitch + d + (lane >> 3) * 8);
            GPU_UNROLL for (int i = 0; i < MINE; i++) GPU_UNROLL for (int h = 0; h < 2; h++) {
                unsigned q[4];
                ldmatrix_x4(q, queries + (16 * (warp / 4 + APART * i) + (lane & 15)) * pitch + d + 16 * h +
                                   (lane >> 4) * 8);
                mma_m16n8k16_f16(s[i], q, k + 2 * h, s[i]);
            }
        }
        GPU_UNROLL for (int i = 0; i < MINE; i++) GPU_UNROLL for (int r = 0; r < 2; r++)
            *(float2 *)(scores + (16 * (warp / 4 + APART * i) + 8 * r + g) * SCORES_PITCH + 8 * octet + 2 * t) =
                make_float2(s[i][2 * r], s[i][2 * r + 1]);
        __syncthreads();

        unsigned w[PARTS][KEYS / 16][4]; /* weights, as fragments */
        bool some_hidden = p + KEYS > min(all_seen, end);
        GPU_UNROLL for (int part = 0; part < PARTS; part++) {
            float shrink[2];
            GPU_UNROLL for (int r = 0; r < 2; r++) {
                float x[KEYS / 4], top = most[part][r];
                GPU_UNROLL for (int j = 0; j < KEYS / 8; j++) {
                    float2 two = *(const float2 *)(scores + (16 * part + 8 * r + g) * SCORES_PITCH + 8 * j + 2 * t);
                    x[2 * j] = two.x;
                    x[2 * j + 1] = two.y;
                }
                if (some_hidden) {
                    GPU_UNROLL for (int i = 0; i < KEYS / 4; i++) {
                        int key = p + i / 2 * 8 + 2 * t + i % 2;
                        x[i] = key <= last[part][r] && key < end ? x[i] : -INFINITY;
                    }
                }
                GPU_UNROLL for (int i = 0; i < KEYS / 4; i++) top = fmaxf(top, x[i]);
                top = quad_max(top);
                float base = top == -INFINITY ? 0.0f : top, unit = to_score[part][r], total = 0;
                shrink[r] = exp2_approximate((most[part][r] - base) * unit);
                most[part][r] = top;
                GPU_UNROLL for (int i = 0; i < KEYS / 4; i++) {
                    x[i] = exp2_approximate((x[i] - base) * unit);
                    total += x[i];
                }
                sum[part][r] = sum[part][r] * shrink[r] + total;
                GPU_UNROLL for (int j = 0; j < KEYS / 8; j++)
                    w[part][j / 2][j % 2 * 2 + r] = half2_bits(x[2 * j], x[2 * j + 1]);
            }
            if (__any_sync(GPU_FULL_WARP, (shrink[0] != 1.0f) | (shrink[1] != 1.0f))) {
                GPU_UNROLL for (int n = 0; n < N; n++) GPU_UNROLL for (int i = 0; i < 4; i++)
                    o[part][n][i] *= shrink[i / 2];
            }
        }
        GPU_UNROLL for (int n = 0; n < N; n += 2) {
            int column = warp * COLUMNS + 8 * n;
            if (column >= a.head_dim) break; /* the whole warp */
            GPU_UNROLL for (int j = 0; j < KEYS / 16; j++) {
                unsigned v[4];
                ldmatrix_x4_trans(v, tile + (16 * j + (lane & 15)) * pitch + column + (lane >> 4) * 8);
                GPU_UNROLL for (int part = 0; part < PARTS; part++) {
                    mma_m16n8k16_f16(o[part][n], w[part][j], v, o[part][n]);
                    mma_m16n8k16_f16(o[part][n + 1], w[part][j], v + 2, o[part][n + 1]);
                }
            }
        }
    }

    GPU_UNROLL for (int part = 0; part < PARTS; part++) GPU_UNROLL for (int r = 0; r < 2; r++) {
        float total = quad_sum(sum[part][r]), factor = y ? 1.0f / total : 1.0f;
        int query = first + 16 * part + 8 * r + g, row = query / a.n_heads, head = query % a.n_heads;
        if (query >= n_queries) continue;
        size_t at = ((size_t)split * a.n_slots + blockIdx.z * a.rows + row) * a.n_heads + head;
        float *to = y ? y + (seq.row + row) * y_stride + (int64_t)head * a.head_dim : a.sums + at * a.head_dim;
        if (!y && warp == 0 && t == 0) {
            a.stats[2 * at] = most[part][r] * to_score[part][r];
            a.stats[2 * at + 1] = total;
        }
        GPU_UNROLL for (int n = 0; n < N; n++) {
            int column = warp * COLUMNS + 8 * n + 2 * t;
            if (column >= a.head_dim) break;
            *(float2 *)(to + column) = make_float2(o[part][n][2 * r] * factor, o[part][n][2 * r + 1] * factor);
        }
    }
}

/* ---- host side ---- */

struct latent_shape {
    void (*kernel)(split_pass, int, float *, int64_t, int);
    int queries, warps, stages;
    size_t bytes;
};

template <int FORMAT, int PARTS, int WARPS> static latent_shape shape_of(int dim, int stages) {
    size_t row = (size_t)pitch_of(dim) * sizeof(__half), queries = 16 * PARTS;
    size_t bytes = queries * row + (size_t)stages * KEYS * row + queries * SCORES_PITCH * sizeof(float);
    return { k_attention_latent<FORMAT, PARTS, WARPS>, 16 * PARTS, WARPS, stages, bytes };
}

/* Many: the first that shared memory has room for.                                                                   */
template <int FORMAT> static latent_shape choose(const lr_device *d, int dim, bool many) {
    int most = 48 << 10, stages = FORMAT == LR_Q8_0 || d->arch < 800 ? 1 : 2;
    if (cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, d->index) != cudaSuccess)
        most = 48 << 10;
    const latent_shape shapes[] = { shape_of<FORMAT, 4, 8>(dim, stages), shape_of<FORMAT, 2, 8>(dim, stages),
                                    shape_of<FORMAT, 2, 8>(dim, 1), shape_of<FORMAT, 1, 4>(dim, stages) };
    for (int i = many ? 0 : 3; i < 4; i++)
        if (shapes[i].bytes + 256 <= (size_t)most) return shapes[i];
    return shape_of<FORMAT, 1, 4>(dim, 1);
}

/* Results to y, or of each split to p->sums and p->stats.                                                            */
static cudaError_t start(lr_device *d, const lr_attention_args *a, const split_pass &p, bool many, float *y,
                         int64_t y_stride, attention_cost cost) {
    latent_shape s =
        a->kv_format == LR_F16 ? choose<LR_F16>(d, a->head_dim, many) : choose<LR_Q8_0>(d, a->head_dim, many);
    cudaError_t e = cudaSuccess;
    if (s.bytes > 48 << 10)
        e = cudaFuncSetAttribute(s.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)s.bytes);
    if (e != cudaSuccess) return e;
    int64_t queries = (int64_t)p.rows * a->n_heads;
    dim3 grid((unsigned)((queries + s.queries - 1) / s.queries), (unsigned)p.n_splits, (unsigned)p.n_seqs);
    return GPU_LAUNCH_COST(cost.bytes, cost.flops, s.kernel, grid, dim3((unsigned)(LANES * s.warps)), s.bytes,
                           d->queue[LR_QUEUE_COMPUTE], p, (int)a->head_dim, y, y_stride, s.stages);
}

static cudaError_t few(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, split_pass p,
                       attention_cost whole, const lr_act *out) {
    double context = s->context > 0 ? s->context : s->n_ctx;
    /* The partial results have room for the rows of the pass: a launch takes as many sequences as that allows.       */
    int32_t together = (int32_t)lr_max(1, s->n / p.rows);
    cudaError_t e = cudaSuccess;
    p.n_splits = lr_gpu_attention_splits(1, s->n_ctx);
    for (int32_t i = 0; i < s->n_seqs && e == cudaSuccess; i += together) {
        p.seqs = a->seqs + i;
        p.n_seqs = (int32_t)lr_min(together, s->n_seqs - i);
        p.n_slots = p.n_seqs * p.rows;
        p.sums = a->partial;
        p.stats = a->partial + (size_t)p.n_splits * p.n_slots * a->n_heads * p.head_dim;
        double part = (double)p.n_seqs / s->n_seqs;
        e = start(d, a, p, false, nullptr, 0, { whole.bytes * part, whole.flops * part });
        if (e == cudaSuccess) e = attention_merge(d, a, p, context, out);
    }
    return e;
}

cudaError_t gpu_attention_latent(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out) {
    bool plain = !a->window && !a->sinks && !(a->softcap > 0), is_few = s->n <= LR_GPU_FEW;
    bool packs = out && out->format != LR_ACT_F32;
    bool fits = (a->kv_format == LR_F16 || a->kv_format == LR_Q8_0) && a->head_dim <= DIM_MOST && a->v_dim <= V_MOST &&
                a->head_dim % (a->kv_format == LR_Q8_0 ? 32 : 16) == 0 && a->v_dim % 16 == 0;
    if (!plain || !fits || (is_few ? !a->partial : packs && !a->out)) return cudaErrorInvalidValue;
    split_pass p = whole_pass(a, s);
    p.head_dim = a->v_dim;
    double n = (double)s->n, context = s->context > 0 ? s->context : s->n_ctx;
    double value = a->kv_format == LR_F16 ? 2 : 34.0 / 32;
    double seen = context - (double)(s->most_rows - 1) / 2, both = a->head_dim + a->v_dim;
    attention_cost cost = { value * a->head_dim * context * s->n_seqs + 4 * n * a->n_heads * both,
                            2 * n * a->n_heads * both * seen };
    if (is_few) return few(d, a, s, p, cost, out);
    float *y = a->out ? a->out : (float *)out->values;
    cudaError_t e = start(d, a, p, true, y, a->out ? a->out_stride : out->cols, cost);
    if (e != cudaSuccess || !a->out || !out) return e;
    lr_pack_args pack = {};
    pack.x = a->out;
    pack.out = *out;
    return gpu_pack(d, &pack);
}
