/* New rows of q, k and v on their way into attention: norm of each head where the family has one, rotary embedding, and
 * k and v into the cache, in its format.  A warp takes one head of one row; norms of whole rows come before it.
 * Sources: Su et al., arXiv:2104.09864 (rope); quant/q8_0_lanes.h (the same bytes).                                  */
#include "kernels/cuda/kv_store.cuh"

enum { WARPS = 4, DIM_MOST = 256 };

__global__ void __launch_bounds__(WARPS *LANES) k_qkv(lr_qkv_args a, int n_seqs) {
    gpu_wait_for_queue();
    GPU_SHARED(float, heads, [WARPS][DIM_MOST]);
    int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, dim = a.head_dim;
    int head = (int)blockIdx.y * WARPS + warp;
    int64_t row = blockIdx.x;
    if (head >= a.n_heads + 2 * a.n_kv_heads) return; /* whole warps; there are no barriers of the block */

    bool is_q = head < a.n_heads, is_v = head >= a.n_heads + a.n_kv_heads;
    int kv_head = head - a.n_heads - (is_v ? a.n_kv_heads : 0);
    const float *from = is_q ? a.q + (row * a.n_heads + head) * dim
                             : (is_v ? a.v : a.k) + (row * a.n_kv_heads + kv_head) * dim;
    const float *w = is_q ? a.q_norm : is_v ? nullptr : a.k_norm;
    float *x = heads[warp];
    for (int i = lane; i < dim; i += LANES) x[i] = from[i];
    __syncwarp();
    if (w) norm(x, w + (a.norm_each ? (is_q ? head : kv_head) * dim : 0), dim, a.norm_eps, a.norm_each, lane);
    if (!is_v) rotate(x, a.cos_sin + row * a.n_rot, a.n_rot, a.rope_adjacent, lane);
    if (is_q) {
        for (int i = lane; i < dim; i += LANES) a.q[(row * a.n_heads + head) * dim + i] = x[i];
        return;
    }
    const lr_seq *seq = sequence_of(a.seqs, n_seqs, row);
    if (seq) kv_store(seq->kv, kv_head, seq->position + (int)(row - seq->row), is_v, x, lane);
}

/* In place, all heads of a row as one vector.                                                                        */
static cudaError_t norm_rows(lr_device *d, float *x, const float *w, int n_heads, const lr_qkv_args *a, int64_t n) {
    lr_norm_args norm = {};
    norm.x = norm.y = x;
    norm.w = w;
    norm.dim = norm.x_stride = norm.y_stride = (int64_t)n_heads * a->head_dim;
    norm.eps = a->norm_eps;
    return w ? gpu_norm(d, &norm, n, nullptr) : cudaSuccess;
}

cudaError_t gpu_qkv(lr_device *d, const lr_qkv_args *a, const lr_pass_shape *s) {
    if (a->head_dim > DIM_MOST) return cudaErrorInvalidValue;
    if (s->n <= 0) return cudaSuccess;
    lr_qkv_args heads_alone = *a;
    if (a->norm_rows) {
        cudaError_t e = norm_rows(d, a->q, a->q_norm, a->n_heads, a, s->n);
        if (e == cudaSuccess) e = norm_rows(d, a->k, a->k_norm, a->n_kv_heads, a, s->n);
        if (e != cudaSuccess) return e;
        heads_alone.q_norm = heads_alone.k_norm = nullptr;
    }
    int heads = a->n_heads + 2 * a->n_kv_heads;
    dim3 grid((unsigned)s->n, (unsigned)(heads + WARPS - 1) / WARPS);
    double values = (double)s->n * a->head_dim;
    return GPU_LAUNCH_COST(values * (8 * a->n_heads + 12 * a->n_kv_heads), 6 * values * heads, k_qkv, grid,
                           dim3(WARPS * LANES), 0, gpu_early_queue(d), heads_alone, s->n_seqs);
}
