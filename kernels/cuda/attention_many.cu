/* Attention of many rows, as in prefill: flash attention on tensor cores.
 *
 * A block takes 64 (128 where registers allow) queries of one KV head and walks the positions that they see in tiles.
 * Each warp keeps its queries' results in registers; scores become weights in registers too, as the next product's
 * fragment.  f16 caches are copied asynchronously to the other of two stages while a tile is worked on.  Of quantized
 * caches the bytes are copied, and become the one f16 tile when its time has come.  Tiles start at multiples of their length,
 * so that a row's result does not depend on which rows share its block or its pass.
 * Sources: FlashAttention-2, Dao, arXiv:2307.08691; online softmax, Milakov and Gimelshein, arXiv:1805.02867.        */
#include "kernels/cuda/attention.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS };

template <int FORMAT, int DIM> struct shape {
    static constexpr bool Q8 = FORMAT == LR_Q8_0, Q4 = FORMAT == LR_KV_ROTATED, DECODED = Q8 || Q4;
    static constexpr int PARTS = DIM > 128 ? 1 : 2;             /* of 16 queries each, for a warp */
    static constexpr int QUERIES = 16 * PARTS * WARPS;
    static constexpr int KEYS = DIM > (Q8 ? 96 : 128) ? 16 : DIM > 64 ? 32 : 64;
    static constexpr int PITCH = DIM + 8;                       /* of a row in shared memory: no bank conflicts */
    static constexpr int PIECE = Q4 ? 32 : Q8 ? 16 : 8;         /* values in 16 bytes of the cache */
    static constexpr int ROW_PIECES = DIM / PIECE, PIECES = KEYS * ROW_PIECES;
    static constexpr int TURNS = (PIECES + THREADS - 1) / THREADS;
    static constexpr int TILE_BYTES = KEYS * PITCH * 2;         /* K or V */
    static size_t shared_bytes(int stages) {
        return QUERIES * PITCH * 2 + 2 * (DECODED ? TILE_BYTES + PIECES * 16 : (size_t)stages * TILE_BYTES);
    }
};

/* stages: of f16 tiles; 1 where shared memory has no room for two.                                                   */
template <int FORMAT, int DIM>
__global__ void __launch_bounds__(THREADS)
    k_many(split_pass a, float *y, int64_t y_stride, lr_act out, int stages) {
    typedef shape<FORMAT, DIM> S;
    constexpr int PARTS = S::PARTS, KEYS = S::KEYS, PITCH = S::PITCH, N = DIM / 8;
    GPU_DYN_SHARED(__half, queries);                      /* [QUERIES][PITCH] */
    __half *tiles = queries + S::QUERIES * PITCH;         /* [stages][K, V][KEYS][PITCH] */
    uint4 *bytes = (uint4 *)(tiles + 2 * KEYS * PITCH);   /* quantized: [K, V][PIECES] as in the cache */
    int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5, g = lane >> 2, t = lane & 3;
    const lr_seq &seq = a.seqs[blockIdx.z];
    int group = a.n_heads / a.n_kv_heads, kv_head = blockIdx.y, n_queries = (int)seq.n * group;
    int block_first = (int)(gridDim.x - 1 - blockIdx.x) * S::QUERIES; /* the longest first */
    if (block_first >= n_queries) return;                             /* the whole block */

    /* A warp's own queries.  Lane quads take one each; what lies behind the last is a copy of it, never written.     */
    int first = block_first + warp * 16 * PARTS;
    __half *mine = queries + warp * 16 * PARTS * PITCH;
    float to_score[PARTS][2];
    int last[PARTS][2]; /* positions of the lane's rows */
    GPU_UNROLL for (int part = 0; part < PARTS; part++) GPU_UNROLL for (int r = 0; r < 2; r++) {
        int place = 16 * part + 8 * r + g, query = min(first + place, n_queries - 1), row = query / group;
        const float *q = a.q + (seq.row + row) * a.q_stride + (int64_t)(kv_head * group + query % group) * a.head_dim;
        float most = 0, x[DIM / 4];
        GPU_UNROLL for (int i = 0; i < DIM / 4; i += 2) {
            float2 two = two_at<FORMAT>(q, i / 4 * 16 + 4 * t + i % 4, a.head_dim);
            x[i] = two.x, x[i + 1] = two.y;
        }
        if (S::Q4) rotate_row<DIM / 4, 4, 4>(x, t, a.head_dim);
        GPU_UNROLL for (int i = 0; i < DIM / 4; i++) most = fmaxf(most, fabsf(x[i]));
        query_scale by(quad_max(most), a.scale);
        GPU_UNROLL for (int i = 0; i < DIM / 4; i += 4)
            *(uint2 *)(mine + place * PITCH + 4 * i + 4 * t) =
                make_uint2(half2_bits(x[i] * by.shrink, x[i + 1] * by.shrink),
                           half2_bits(x[i + 2] * by.shrink, x[i + 3] * by.shrink));
        to_score[part][r] = a.softcap > 0 ? to_tanh(by.grow, a.softcap) : by.grow;
        last[part][r] = seq.position + row;
    }

    /* positions that any query of the block sees, of the warp, and that all of the warp see */
    auto position_of = [&](int query) { return seq.position + min(query, n_queries - 1) / group; };
    int begin = first_seen(position_of(block_first), a.window), end = position_of(block_first + S::QUERIES - 1) + 1;
    int warp_last = position_of(first + 16 * PARTS - 1), warp_begin = first_seen(position_of(first), a.window);
    int all_begin = first_seen(warp_last, a.window), all_last = position_of(first);
    bool idle = first >= n_queries;

    /* Positions [p, p + KEYS) on their way to shared memory.  Those outside of [begin, end), which nobody sees, are
     * read as the nearest inside; slot is that of the first inside.                                                  */
    cache_head cache(seq.kv, kv_head, FORMAT);
    unsigned scales[S::TURNS]; /* of the pieces in flight: of K, of V << 16 */
    auto fetch = [&](int stage, int p, int slot) {
        int inside = max(p, begin);
        GPU_UNROLL for (int i = 0; i < S::TURNS; i++) {
            int piece = tid + i * THREADS, key = piece / S::ROW_PIECES, at = piece % S::ROW_PIECES * S::PIECE;
            if (S::PIECES % THREADS && piece >= S::PIECES) break;
            cache_row row = cache.row(cache.slot_after(slot, max(min(p + key, end - 1) - inside, 0)));
            bool valid = at < a.head_dim; /* else zeros */
            const uint8_t *k = row.k + (valid ? at * 16 / S::PIECE : 0);
            if (S::DECODED) {
                cp_async16(bytes + piece, k, valid);
                cp_async16(bytes + S::PIECES + piece, k + cache.half, valid);
                const uint8_t *d = row.k_scales + (valid ? at / 32 * 2 : 0);
                scales[i] = __ldg((const unsigned short *)d) | __ldg((const unsigned short *)(d + cache.half)) << 16;
            } else {
                __half *to = tiles + (2 * stage * KEYS + key) * PITCH + at;
                cp_async16(to, k, valid);
                cp_async16(to + KEYS * PITCH, k + cache.half, valid);
            }
        }
        cp_async_commit();
    };
    auto decode = [&] { /* a thread's own pieces */
        GPU_UNROLL for (int i = 0; i < S::TURNS; i++) GPU_UNROLL for (int which = 0; which < 2; which++) {
            int piece = tid + i * THREADS, key = piece / S::ROW_PIECES, at = piece % S::ROW_PIECES * S::PIECE;
            if (S::PIECES % THREADS && piece >= S::PIECES) break;
            uint4 x = bytes[which * S::PIECES + piece], *to = (uint4 *)(tiles + (which * KEYS + key) * PITCH + at);
            __half2 d = q8_scale((unsigned short)(scales[i] >> 16 * which));
            unsigned q[4] = { x.x, x.y, x.z, x.w }, v[4];
            GPU_UNROLL for (int word = 0; word < 4; word++) {
                if (S::Q4) {
                    q4_values(v, q[word], d), q4_values(v + 2, q[word] >> 16, d);
                    to[word] = make_uint4(v[0], v[1], v[2], v[3]);
                } else {
                    q8_values(v, q[word], d);
                    ((uint2 *)to)[word] = make_uint2(v[0], v[1]);
                }
            }
        }
    };

    float o[PARTS][N][4] = {}, most[PARTS][2], sum[PARTS][2] = {};
    GPU_UNROLL for (int part = 0; part < PARTS; part++) most[part][0] = most[part][1] = -INFINITY;
    bool ahead = S::DECODED || stages > 1;
    int p = begin / KEYS * KEYS, stage = 0, slot = cache.slot(begin);
    if (ahead) fetch(0, p, slot);
    for (; p < end; p += KEYS) {
        if (!ahead) {
            __syncthreads();
            fetch(0, p, slot);
        }
        cp_async_wait<0>();
        __syncthreads(); /* this tile is there, and all are done with the one before */
        if (S::DECODED) {
            decode();
            __syncthreads();
        }
        int next = S::DECODED || !ahead ? 0 : stage ^ 1;
        slot = cache.slot_after(slot, p + KEYS - max(p, begin));
        if (ahead && p + KEYS < end) fetch(next, p + KEYS, slot);
        const __half *k = tiles + 2 * stage * KEYS * PITCH, *v = k + KEYS * PITCH;
        stage = next;
        if (idle || p > warp_last || p + KEYS <= warp_begin) continue; /* the whole warp */

        float s[PARTS][KEYS / 8][4] = {};
        GPU_UNROLL for (int d = 0; d < DIM; d += 16) {
            unsigned q[PARTS][4];
            GPU_UNROLL for (int part = 0; part < PARTS; part++)
                ldmatrix_x4(q[part], mine + (16 * part + (lane & 15)) * PITCH + d + (lane >> 4) * 8);
            GPU_UNROLL for (int j = 0; j < KEYS / 16; j++) {
                unsigned b[4];
                ldmatrix_x4(b, k + (16 * j + (lane >> 4) * 8 + (lane & 7)) * PITCH + d + (lane >> 3 & 1) * 8);
                GPU_UNROLL for (int part = 0; part < PARTS; part++) {
                    mma_m16n8k16_f16(s[part][2 * j], q[part], b, s[part][2 * j]);
                    mma_m16n8k16_f16(s[part][2 * j + 1], q[part], b + 2, s[part][2 * j + 1]);
                }
            }
        }

        if (a.softcap > 0) {
            GPU_UNROLL for (int part = 0; part < PARTS; part++) GPU_UNROLL for (int j = 0; j < KEYS / 8; j++)
                GPU_UNROLL for (int i = 0; i < 4; i++)
                    s[part][j][i] = capped(s[part][j][i] * to_score[part][i / 2]);
        }
        if (p < all_begin || p + KEYS - 1 > all_last) {
            GPU_UNROLL for (int part = 0; part < PARTS; part++) GPU_UNROLL for (int r = 0; r < 2; r++) {
                int from = first_seen(last[part][r], a.window);
                GPU_UNROLL for (int j = 0; j < KEYS / 8; j++) GPU_UNROLL for (int c = 0; c < 2; c++) {
                    int key = p + 8 * j + 2 * t + c;
                    float &x = s[part][j][2 * r + c];
                    bool seen = (key >= from) & (key <= last[part][r]); /* no branches */
                    x = seen ? x : -INFINITY;
                }
            }
        }
        GPU_UNROLL for (int part = 0; part < PARTS; part++) {
            float shrink[2];
            GPU_UNROLL for (int r = 0; r < 2; r++) {
                float top = s[part][0][2 * r], total = 0;
                GPU_UNROLL for (int j = 0; j < KEYS / 8; j++)
                    top = fmaxf(fmaxf(s[part][j][2 * r], s[part][j][2 * r + 1]), top);
                top = fmaxf(most[part][r], quad_max(top));
                float base = top == -INFINITY ? 0.0f : top; /* nothing seen yet: all weights are 0 */
                float unit = a.softcap > 0 ? a.softcap : to_score[part][r];
                shrink[r] = exp2_approximate((most[part][r] - base) * unit);
                most[part][r] = top;
                GPU_UNROLL for (int j = 0; j < KEYS / 8; j++) GPU_UNROLL for (int c = 0; c < 2; c++) {
                    float &x = s[part][j][2 * r + c];
                    x = exp2_approximate((x - base) * unit);
                    total += x;
                }
                sum[part][r] = sum[part][r] * shrink[r] + total;
            }
            if (__any_sync(GPU_FULL_WARP, (shrink[0] != 1.0f) | (shrink[1] != 1.0f))) {
                GPU_UNROLL for (int n = 0; n < N; n++) GPU_UNROLL for (int i = 0; i < 4; i++)
                    o[part][n][i] *= shrink[i / 2];
            }
        }

        GPU_UNROLL for (int j = 0; j < KEYS / 16; j++) {
            unsigned w[PARTS][4];
            GPU_UNROLL for (int part = 0; part < PARTS; part++) GPU_UNROLL for (int i = 0; i < 4; i++) {
                const float *x = s[part][2 * j + i / 2] + i % 2 * 2;
                w[part][i] = half2_bits(x[0], x[1]);
            }
            GPU_UNROLL for (int d = 0; d < DIM; d += 16) {
                unsigned b[4];
                ldmatrix_x4_trans(b, v + (16 * j + (lane & 15)) * PITCH + d + (lane >> 4) * 8);
                GPU_UNROLL for (int part = 0; part < PARTS; part++) {
                    mma_m16n8k16_f16(o[part][d / 8], w[part], b, o[part][d / 8]);
                    mma_m16n8k16_f16(o[part][d / 8 + 1], w[part], b + 2, o[part][d / 8 + 1]);
                }
            }
        }
    }

    GPU_UNROLL for (int part = 0; part < PARTS; part++) GPU_UNROLL for (int r = 0; r < 2; r++) {
        float unit = a.softcap > 0 ? a.softcap : to_score[part][r], total = quad_sum(sum[part][r]);
        int query = first + 16 * part + 8 * r + g, head = kv_head * group + query % group;
        if (S::Q4) {
            float x[2 * N];
            GPU_UNROLL for (int n = 0; n < 2 * N; n++) x[n] = o[part][n / 2][2 * r + n % 2];
            rotate_row<2 * N, 2, 4>(x, t, a.head_dim);
            GPU_UNROLL for (int n = 0; n < 2 * N; n++) o[part][n / 2][2 * r + n % 2] = x[n];
        }
        if (query >= n_queries) continue;
        float scale = 1.0f / (total + sink_weight(a, head, most[part][r] * unit));
        int64_t row = seq.row + query / group, column = (int64_t)head * a.head_dim;
        if (out.format == LR_ACT_F16 && head == 0 && t == 0) ((float *)out.d)[row] = 1;
        GPU_UNROLL for (int n = 0; n < N; n++) {
            int d = dim_of<FORMAT>(8 * n + 2 * t);
            if (d >= a.head_dim) break;
            float2 x = make_float2(o[part][n][2 * r] * scale, o[part][n][2 * r + 1] * scale);
            int64_t at = row * out.cols + column + d;
            if (y) *(float2 *)(y + row * y_stride + column + d) = x;
            if (out.format == LR_ACT_F32) *(float2 *)((float *)out.values + at) = x;
            if (out.format == LR_ACT_F16)
                *(unsigned *)((__half *)out.values + at) = half2_bits(within_f16(x.x), within_f16(x.y));
            if (out.format == LR_ACT_BF16) {
                put<LR_ACT_BF16>(out, row, column + d, x.x, true, 1.0f);
                put<LR_ACT_BF16>(out, row, column + d + 1, x.y, true, 1.0f);
            }
        }
    }
}

/* ---- host side ---- */

struct launch {
    lr_device *d;
    const lr_attention_args *a;
    const lr_pass_shape *s;
    const lr_act *out;
    attention_cost cost;
};

template <int FORMAT, int DIM> static cudaError_t start(const launch &l) {
    typedef shape<FORMAT, DIM> S;
    int stages = l.d->arch < 800 ? 1 : 2; /* sm_75: 64 KiB, and no asynchronous copies */
    size_t bytes = S::shared_bytes(stages);
    cudaError_t e = cudaSuccess;
    if (bytes > 48 << 10)
        e = cudaFuncSetAttribute(k_many<FORMAT, DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (e != cudaSuccess) return e;
    int64_t queries = l.s->most_rows * (l.a->n_heads / l.a->n_kv_heads);
    dim3 grid((unsigned)((queries + S::QUERIES - 1) / S::QUERIES), (unsigned)l.a->n_kv_heads, (unsigned)l.s->n_seqs);
    lr_act none = {};
    none.format = LR_ACT_NONE;
    return GPU_LAUNCH_COST(l.cost.bytes, l.cost.flops, (k_many<FORMAT, DIM>), grid, dim3(THREADS), bytes,
                           l.d->queue[LR_QUEUE_COMPUTE], whole_pass(l.a, l.s), l.a->out, l.a->out_stride,
                           l.out ? *l.out : none, stages);
}

static cudaError_t start_f16(const launch &l) {
    int32_t dim = l.a->head_dim;
    return dim <= 64   ? start<LR_F16, 64>(l)
           : dim <= 80 ? start<LR_F16, 80>(l)
           : dim <= 96 ? start<LR_F16, 96>(l)
           : dim <= 128 ? start<LR_F16, 128>(l)
                        : start<LR_F16, 256>(l);
}

template <int FORMAT> static cudaError_t start_decoded(const launch &l) {
    int32_t dim = l.a->head_dim;
    return dim <= 64   ? start<FORMAT, 64>(l)
           : dim <= 96 ? start<FORMAT, 96>(l)
           : dim <= 128 ? start<FORMAT, 128>(l)
                        : start<FORMAT, 256>(l);
}

cudaError_t gpu_attention_many(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out) {
    bool pack_after = out && out->format == LR_ACT_Q8; /* no kernel for long passes reads it */
    if (!lr_gpu_attention_takes(a->kv_format, a->head_dim) || (pack_after && !a->out)) return cudaErrorInvalidValue;
    launch l = { d, a, s, pack_after ? nullptr : out, cost_of_attention(a, s) };
    cudaError_t e = attention_is_plain(a)             ? attention_plain(d, a, whole_pass(a, s), l.out, l.cost)
                    : a->kv_format == LR_Q8_0       ? start_decoded<LR_Q8_0>(l)
                    : a->kv_format == LR_KV_ROTATED ? start_decoded<LR_KV_ROTATED>(l)
                                                    : start_f16(l);
    if (e != cudaSuccess || !pack_after) return e;
    lr_pack_args pack = {};
    pack.x = a->out;
    pack.out = *out;
    return gpu_pack(d, &pack);
}
