/* New rows of q, k and v on their way into attention: norm of each head where the family has one, rotary embedding, and
 * k and v into the cache, in its format.  A warp takes one head of one row; norms of whole rows come before it.
 * Sources: Su et al., arXiv:2104.09864 (rope); quant/q8_0_lanes.h (the same bytes).                                  */
#include "kernels/cuda/attention.cuh"

enum { WARPS = 4, LANES = 32, DIM_MOST = 256 };

/* The sequence that has this row of the pass; NULL: none.                                                            */
GPU_FN const lr_seq *sequence_of(const lr_seq *seqs, int n, int64_t row) {
    int below = 0; /* first of row <= the row, or the first of all */
    for (int above = n; above - below > 1;) {
        int middle = (below + above) / 2;
        if (seqs[middle].row <= row) below = middle;
        else above = middle;
    }
    const lr_seq *seq = seqs + below;
    return n > 0 && row >= seq->row && row < seq->row + seq->n ? seq : nullptr;
}

GPU_FN void norm(float *x, const float *w, int dim, float eps, int lane) {
    float sum = 0;
    for (int i = lane; i < dim; i += LANES) sum += x[i] * x[i];
    float scale = 1.0f / sqrtf(warp_sum(sum) / (float)dim + eps);
    for (int i = lane; i < dim; i += LANES) x[i] = x[i] * scale * w[i];
    __syncwarp();
}

GPU_FN void rotate(float *x, const float *cos_sin, int n_rot, bool adjacent, int lane) {
    for (int i = lane; i < n_rot / 2; i += LANES) {
        int first = adjacent ? 2 * i : i, second = adjacent ? 2 * i + 1 : i + n_rot / 2;
        float x0 = x[first], x1 = x[second], c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        x[first] = x0 * c - x1 * s;
        x[second] = x0 * s + x1 * c;
    }
    __syncwarp();
}

/* A block of 32 values, one a lane.  The codes are nearest for d before it is rounded to f16; outside of the normal
 * range of f16, for the stored d.                                                                                    */
GPU_FN void store_q8(int8_t *quants, unsigned short *scale, float v, int lane) {
    float d = warp_max(fabsf(v)) / 127.0f;
    __half h = __float2half_rn(fminf(d, 65504.0f));
    if (d < 6.103515625e-5f || d > 65504.0f) d = __half2float(h);
    float inverse = d > 0 ? 1.0f / d : 0.0f;
    quants[lane] = (int8_t)__float2int_rn(fminf(fmaxf(v * inverse, -127.0f), 127.0f));
    if (lane == 0) *scale = __half_as_ushort(h);
}

GPU_FN void store(const lr_kv_layer &kv, int head, int position, bool is_v, const float *x, int lane) {
    cache_head cache(kv, head, kv.format);
    cache_row row = cache.row(cache.slot(position));
    uint64_t to_v = is_v ? cache.half : 0;
    uint8_t *quants = (uint8_t *)row.k + to_v, *scales = (uint8_t *)row.k_scales + to_v;
    if (kv.format == LR_Q8_0) {
        for (int i = 0; i < kv.head_dim; i += LANES)
            store_q8((int8_t *)quants + i, (unsigned short *)scales + i / LANES, x[i + lane], lane);
        return;
    }
    for (int i = lane; i < kv.head_dim; i += LANES) {
        if (kv.format == LR_F32) ((float *)quants)[i] = x[i];
        else ((unsigned short *)quants)[i] = __half_as_ushort(__float2half_rn(x[i]));
    }
}

__global__ void __launch_bounds__(WARPS *LANES) k_qkv(lr_qkv_args a, int n_seqs) {
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
    if (w) norm(x, w, dim, a.norm_eps, lane);
    if (!is_v) rotate(x, a.cos_sin + row * a.n_rot, a.n_rot, a.rope_adjacent, lane);
    if (is_q) {
        for (int i = lane; i < dim; i += LANES) a.q[(row * a.n_heads + head) * dim + i] = x[i];
        return;
    }
    const lr_seq *seq = sequence_of(a.seqs, n_seqs, row);
    if (seq) store(seq->kv, kv_head, seq->position + (int)(row - seq->row), is_v, x, lane);
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
                           dim3(WARPS * LANES), 0, d->queue[LR_QUEUE_COMPUTE], heads_alone, s->n_seqs);
}
