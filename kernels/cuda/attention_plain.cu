/* Attention in f32 arithmetic: for caches in f32, where nothing may be rounded to f16, and for caches whose rows are
 * not whole pieces of 16 bytes.  A warp takes a query: first a lane has a position, then it has some dims.           */
#include "kernels/cuda/attention.cuh"

enum { WARPS = 4, LANES = 32, DIMS = 8 /* of a lane */ };

template <int FORMAT> GPU_FN float value_at(const uint8_t *row, int i) {
    if (FORMAT == LR_F32) return __ldg((const float *)row + i);
    return __half2float(__ushort_as_half(__ldg((const unsigned short *)row + i)));
}

template <int FORMAT>
__global__ void __launch_bounds__(LANES *WARPS, 4) k_plain(split_pass a, float *y, int64_t y_stride, lr_act out) {
    GPU_SHARED(float, query, [WARPS][DIMS * LANES]);
    GPU_SHARED(float, weight, [WARPS][LANES]);
    int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, head_dim = a.head_dim;
    const lr_seq &seq = a.seqs[blockIdx.z];
    int group = a.n_heads / a.n_kv_heads, kv_head = blockIdx.x % a.n_kv_heads, split = blockIdx.y;
    int i = (int)(blockIdx.x / a.n_kv_heads) * WARPS + warp;
    split_range range(a, seq, split);
    if (i >= range.rows * group || split >= range.count) return; /* whole warps; there are no barriers of the block */

    int r = a.first_row + i / group, head = kv_head * group + i % group, position = seq.position + r;
    const float *q = a.q + (seq.row + r) * a.q_stride + (int64_t)head * head_dim;
    for (int d = lane; d < head_dim; d += LANES) query[warp][d] = q[d] * (a.scale * 1.44269504f);
    __syncwarp();

    cache_head cache(seq.kv, kv_head, FORMAT);
    float o[DIMS] = {}, most = -INFINITY, sum = 0;
    int begin = max(range.begin, first_seen(position, a.window)), end = min(range.end, position + 1);
    for (int p = begin; p < end; p += LANES) {
        int slot = cache.slot(p), n = min(LANES, end - p);
        float score = -INFINITY;
        if (lane < n) {
            const uint8_t *k = cache.row(cache.slot_after(slot, lane)).k;
            score = 0;
            for (int d = 0; d < head_dim; d++) score += query[warp][d] * value_at<FORMAT>(k, d);
            if (a.softcap > 0) score = a.softcap * tanhf(score / a.softcap);
            score = fminf(fmaxf(score, -1e38f), 1e38f);
        }
        float top = fmaxf(most, warp_max(score)), shrink = exp2_less(most, top), w = exp2_less(score, top);
        sum = sum * shrink + warp_sum(w);
        most = top;
        weight[warp][lane] = w;
        __syncwarp();
        GPU_UNROLL for (int j = 0; j < DIMS; j++) o[j] *= shrink;
        for (int key = 0; key < n; key++) {
            const uint8_t *v = cache.row(cache.slot_after(slot, key)).k + cache.half;
            GPU_UNROLL for (int j = 0; j < DIMS; j++)
                if (lane + LANES * j < head_dim) o[j] += weight[warp][key] * value_at<FORMAT>(v, lane + LANES * j);
        }
        __syncwarp();
    }

    size_t at = ((size_t)split * a.n_slots + blockIdx.z * a.rows + i / group) * a.n_heads + head;
    if (a.stats && lane == 0) {
        a.stats[2 * at] = most;
        a.stats[2 * at + 1] = sum;
    }
    if (!a.stats && head == 0 && lane == 0 && out.format == LR_ACT_F16) ((float *)out.d)[seq.row + r] = 1;
    float scale = __fdividef(1.0f, sum + sink_weight(a, head, most));
    GPU_UNROLL for (int j = 0; j < DIMS; j++) {
        int d = lane + LANES * j;
        if (d >= head_dim) continue;
        if (a.stats) {
            a.sums[at * head_dim + d] = o[j];
            continue;
        }
        int64_t column = (int64_t)head * head_dim + d;
        float value = o[j] * scale;
        if (y) y[(seq.row + r) * y_stride + column] = value;
        if (out.format == LR_ACT_F32) put<LR_ACT_F32>(out, seq.row + r, column, value, true, 1.0f);
        if (out.format == LR_ACT_F16) put<LR_ACT_F16>(out, seq.row + r, column, within_f16(value), true, 1.0f);
        if (out.format == LR_ACT_BF16) put<LR_ACT_BF16>(out, seq.row + r, column, value, true, 1.0f);
    }
}

cudaError_t attention_plain(lr_device *d, const lr_attention_args *a, const split_pass &p, const lr_act *out,
                            attention_cost cost) {
    lr_act none = {};
    none.format = LR_ACT_NONE;
    int blocks = (p.rows * (a->n_heads / a->n_kv_heads) + WARPS - 1) / WARPS;
    dim3 grid((unsigned)(a->n_kv_heads * blocks), (unsigned)p.n_splits, (unsigned)p.n_seqs);
    return GPU_LAUNCH_COST(cost.bytes, cost.flops, a->kv_format == LR_F32 ? k_plain<LR_F32> : k_plain<LR_F16>, grid,
                           dim3(LANES * WARPS), 0, d->queue[LR_QUEUE_COMPUTE], p, a->out, a->out_stride,
                           out ? *out : none);
}
