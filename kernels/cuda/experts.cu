/* The routed experts of a layer.  A few tokens: experts_few.cu.  Many: pairs (token, rank) are sorted by expert, each
 * kind of matrix is one product in tiles (gemm_groups.cu), and a token's outputs are added in the order of its ranks.
 * No sum depends on how pairs lie in tiles.                                                                          */
#include "kernels/cuda/experts.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/glu.cuh"
#include "kernels/cuda/rows.cuh"

enum { SORT_WARPS = 8, SUM_THREADS = 256 };

/* ---- sorting ---- */

/* Block e lists the pairs of expert e, in their order, and the tiles they make; the last one ends the tiles.  All blocks
 * count for themselves where those of expert e begin.  pairs, tokens: see lr_gpu_experts_room.                       */
static __global__ void __launch_bounds__(SORT_WARPS * 32)
    k_experts_sort(const int32_t *chosen, int n_pairs, int k, int n_experts, int tile_tokens, int32_t *tokens,
                   int32_t *pairs, gemm_group_tile *tiles, int n_tiles) {
    GPU_DYN_SHARED(int32_t, counts); /* of each expert */
    GPU_SHARED(int32_t, found, [SORT_WARPS]);
    int expert = (int)blockIdx.x, warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x; i < n_experts; i += SORT_WARPS * 32) counts[i] = 0;
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n_pairs; i += SORT_WARPS * 32) atomicAdd(&counts[chosen[i]], 1);
    __syncthreads();
    int first = 0, tile = 0, n = counts[expert];
    for (int i = lane; i < expert; i += 32) {
        first += counts[i];
        tile += (counts[i] + tile_tokens - 1) / tile_tokens;
    }
    first = warp_sum(first);
    tile = warp_sum(tile);

    int at = (int)threadIdx.x, n_mine = (n + tile_tokens - 1) / tile_tokens;
    for (; at < n_mine; at += SORT_WARPS * 32)
        tiles[tile + at] = { expert, first + at * tile_tokens, min(tile_tokens, n - at * tile_tokens), 0 };
    for (; expert == n_experts - 1 && tile + at < n_tiles; at += SORT_WARPS * 32) tiles[tile + at] = { -1, 0, 0, 0 };

    /* Each warp has a stretch of the pairs. */
    int stretch = (n_pairs + SORT_WARPS * 32 - 1) / (SORT_WARPS * 32) * 32, from = warp * stretch, sum = 0;
    for (int i = from + lane; i - lane < min(n_pairs, from + stretch); i += 32)
        sum += __popc(__ballot_sync(GPU_FULL_WARP, i < n_pairs && chosen[i] == expert));
    if (lane == 0) found[warp] = sum;
    __syncthreads();
    for (int w = 0; w < warp; w++) first += found[w];
    for (int i = from + lane; i - lane < min(n_pairs, from + stretch); i += 32) {
        bool mine = i < n_pairs && chosen[i] == expert;
        unsigned all = __ballot_sync(GPU_FULL_WARP, mine);
        int place = first + __popc(all & ((1u << lane) - 1));
        if (mine) tokens[place] = i / k;
        if (mine) pairs[place] = i;
        first += __popc(all);
    }
}

/* ---- adding up ---- */

/* y: (n k, dim)                                                                                                      */
static __global__ void __launch_bounds__(SUM_THREADS)
    k_experts_sum(float *x, const float *y, const float *weights, int k, int64_t dim) {
    int64_t t = blockIdx.y, i = (int64_t)blockIdx.x * SUM_THREADS + threadIdx.x;
    if (i >= dim) return;
    float sum = 0;
    for (int64_t j = t * k; j < (t + 1) * k; j++) sum += weights[j] * y[j * dim + i];
    x[t * dim + i] += sum;
}

/* ---- columns in orders of the experts' own ---- */

/* That of the expert of row t's pair.                                                                                */
struct expert_order {
    const int32_t *chosen, *pairs; /* pairs: of row t, NULL: its own number */
    const int32_t *perm;           /* (n_experts, cols) */
    const int32_t *mine;

    __device__ __forceinline__ void begin(int64_t t, int64_t n) { mine = perm + chosen[pairs ? pairs[t] : t] * n; }
};

struct reordered_row : expert_order {
    const float *x;
    int64_t stride;
    int of;

    __device__ __forceinline__ float at(int64_t t, int64_t i) const { return x[t / of * stride + mine[i]]; }
};

struct reordered_glu_row : expert_order {
    const float *gate, *up;
    int64_t stride;
    lr_glu_act act;

    __device__ __forceinline__ float at(int64_t t, int64_t i) const {
        int64_t k = t * stride + mine[i];
        return glu(act, gate[k], up[k]);
    }
};

cudaError_t gpu_experts_reorder(lr_device *d, const lr_experts_args *a, const int32_t *perm, const float *x, int of,
                                const lr_act *out) {
    reordered_row row = {};
    row.chosen = a->chosen;
    row.perm = perm;
    row.x = x;
    row.stride = out->cols;
    row.of = of;
    double bytes_read = 8.0 * (double)out->n * (double)out->cols;
    return launch_rows(d, row, true, bytes_read, (float *)nullptr, 0, out, out->n, out->cols);
}

/* ---- long passes ---- */

struct work {
    lr_device *d;
    const lr_experts_args *a;
    lr_gpu_experts_room room;
    int sorted_for; /* tokens of a tile */

    template <class T> T *at(size_t offset) const { return (T *)((char *)a->work + offset); }
};

static cudaError_t sort_pairs(work *w, int tile_tokens) {
    if (w->sorted_for == tile_tokens) return cudaSuccess;
    const lr_experts_args *a = w->a;
    int n_pairs = (int)(a->n * a->k);
    w->sorted_for = tile_tokens;
    return GPU_LAUNCH_COST(16.0 * n_pairs, 0, k_experts_sort, dim3((unsigned)a->n_experts), dim3(SORT_WARPS * 32),
                           (size_t)a->n_experts * sizeof(int32_t), w->d->queue[LR_QUEUE_COMPUTE], a->chosen, n_pairs,
                           a->k, a->n_experts, tile_tokens, w->at<int32_t>(w->room.tokens),
                           w->at<int32_t>(w->room.pairs), w->at<gemm_group_tile>(w->room.tiles), w->room.n_tiles);
}

/* by_token: rows of x are those of tokens, or of pairs as they are numbered where columns have orders of their own, rows
 * of y sorted pairs; else rows of x are sorted, those of y pairs as they are numbered.                               */
static cudaError_t multiply(work *w, const lr_matmul_args *m, int count, bool by_token) {
    const lr_experts_args *a = w->a;
    double n_pairs = (double)(a->n * a->k), rows_of_expert = n_pairs / a->n_experts;
    cudaError_t e = sort_pairs(w, gpu_gemm_group_tokens(w->d, m, rows_of_expert));
    gemm_groups groups = {};
    groups.tiles = w->at<gemm_group_tile>(w->room.tiles);
    groups.n_tiles = w->room.n_tiles;
    if (by_token) groups.from = w->at<int32_t>(a->gate->perm ? w->room.pairs : w->room.tokens);
    else groups.to = w->at<int32_t>(w->room.pairs);
    groups.n_pairs = n_pairs;
    groups.n_read = experts_read(a);
    return e == cudaSuccess ? gpu_gemm_groups(w->d, m, count, &groups, rows_of_expert) : e;
}

/* Hidden values of sorted pairs, packed as down reads them.                                                           */
static cudaError_t activate(work *w, const float *gate, const float *up, const lr_act *hidden) {
    const lr_experts_args *a = w->a;
    if (a->down->perm) {
        reordered_glu_row row = {};
        row.chosen = a->chosen;
        row.pairs = w->at<int32_t>(w->room.pairs);
        row.perm = a->down->perm;
        row.gate = gate;
        row.up = up;
        row.stride = hidden->cols;
        row.act = a->act;
        double bytes_read = 12.0 * (double)hidden->n * (double)hidden->cols;
        return launch_rows(w->d, row, true, bytes_read, (float *)nullptr, 0, hidden, hidden->n, hidden->cols);
    }
    lr_glu_args glu = {};
    glu.gate = gate;
    glu.up = up;
    glu.dim = glu.in_stride = hidden->cols;
    glu.act = a->act;
    return gpu_glu(w->d, &glu, hidden->n, hidden);
}

static cudaError_t run_many(work *w, const lr_act *h, const lr_act *hidden) {
    const lr_experts_args *a = w->a;
    int64_t n_pairs = hidden->n, hidden_dim = a->down->cols, dim = a->down->rows;
    float *rows = w->at<float>(w->room.rows);
    lr_matmul_args m[2] = {}, down = {};
    for (int i = 0; i < 2; i++) {
        m[i].w = i ? *a->up : *a->gate;
        m[i].bias = i ? a->b_up : a->b_gate;
        m[i].y = rows + i * n_pairs * hidden_dim;
        m[i].y_stride = hidden_dim;
        m[i].x = *h;
    }
    down.w = *a->down;
    down.bias = a->b_down;
    down.x = *hidden;
    down.y = rows;
    down.y_stride = dim;
    cudaError_t e = multiply(w, m, 2, true);
    if (e == cudaSuccess) e = activate(w, m[0].y, m[1].y, hidden);
    if (e == cudaSuccess) e = multiply(w, &down, 1, false);
    if (e != cudaSuccess) return e;
    double values = (double)n_pairs * (double)dim;
    dim3 grid((unsigned)((dim + SUM_THREADS - 1) / SUM_THREADS), (unsigned)a->n);
    return GPU_LAUNCH_COST(4 * values + 8.0 * (double)(a->n * dim), 2 * values, k_experts_sum, grid, dim3(SUM_THREADS),
                           0, w->d->queue[LR_QUEUE_COMPUTE], a->x, rows, a->weights, a->k, dim);
}

/* ---- the op ---- */

/* Expert after expert in one tensor.                                                                                 */
static bool are_stacked(const lr_matrix *m, int32_t n) {
    const lr_matrix *last = &m[n - 1];
    size_t rows = (size_t)(n - 1) * (size_t)m->rows;
    bool scales = !m->scales || (const uint8_t *)last->scales == (const uint8_t *)m->scales + rows * m->scales_stride;
    return (const uint8_t *)last->quants == (const uint8_t *)m->quants + rows * m->quants_stride && scales;
}

static bool takes(const lr_experts_args *a) {
    return a->n_experts > 0 && a->n_experts <= LR_GPU_EXPERTS_MOST && a->gate->format == a->up->format &&
           are_stacked(a->gate, a->n_experts) && are_stacked(a->up, a->n_experts) && are_stacked(a->down, a->n_experts);
}

cudaError_t gpu_experts(lr_device *d, const lr_experts_args *a) {
    if (!takes(a)) return cudaErrorInvalidValue;
    int64_t n = a->n, hidden_dim = a->down->cols, dim = a->down->rows;
    lr_format in = a->gate->format, out = a->down->format;
    lr_format ordered = a->gate->perm || a->down->perm ? in : LR_FORMAT_NONE;
    work w = { d, a, lr_gpu_experts_lay_out(n, a->k, a->n_experts, dim, hidden_dim, ordered, out), 0 };
    lr_act h = lr_act_at(lr_gpu_act(in, n), n, dim, a->packed);
    if (a->gate->perm) h = lr_act_at(h.format, n * a->k, dim, w.at<char>(w.room.in));
    const lr_act hidden = lr_act_at(lr_gpu_act(out, n), n * a->k, hidden_dim, w.at<char>(w.room.hidden));
    cudaError_t e = cudaSuccess;
    if (a->gate->perm) {
        e = gpu_experts_reorder(d, a, a->gate->perm, a->h, a->k, &h);
    } else if (h.format == LR_ACT_F32) {
        h.values = a->h;
    } else {
        lr_pack_args pack = {};
        pack.x = a->h;
        pack.out = h;
        e = gpu_pack(d, &pack);
    }
    if (e != cudaSuccess) return e;
    return n <= LR_GPU_FEW ? gpu_experts_few(d, a, &h, &hidden, w.at<float>(w.room.rows)) : run_many(&w, &h, &hidden);
}
