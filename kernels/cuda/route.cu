/* Routing of rows to experts, a warp a row, and the gate of a shared expert.  See lr_route_args.
 * Sources: Shazeer et al., arXiv:1701.06538; DeepSeek-V2, arXiv:2405.04434 (groups); DeepSeek-V3, arXiv:2412.19437
 * (sigmoid, bias).                                                                                                    */
#include "kernels/cuda/pack.cuh"

enum { ROUTE_WARPS = 4, GATE_THREADS = 256 };
#define LEAST_SUM 1e-20f /* of scores that the chosen ones are divided by, as the published models have it */

struct candidate {
    float value;
    int index; /* -1: none */
};

/* In the order of picking: the larger value, of equal ones the lower index.                                          */
GPU_FN bool goes_before(const candidate &a, const candidate &b) {
    if (a.index < 0 || b.index < 0) return b.index < 0 && a.index >= 0;
    return a.value > b.value || (a.value == b.value && a.index < b.index);
}

GPU_FN candidate warp_first(candidate c) {
    GPU_UNROLL for (int bit = 16; bit; bit >>= 1) {
        float value = __shfl_xor_sync(GPU_FULL_WARP, c.value, bit);
        const candidate other = { value, __shfl_xor_sync(GPU_FULL_WARP, c.index, bit) };
        if (goes_before(other, c)) c = other;
    }
    return c;
}

/* The best of n behind `last`, whose index -1 lets all be picked, of those whose group is open.                       */
GPU_FN candidate pick(const float *values, int n, const candidate &last, uint64_t open, int group_size) {
    candidate best = { 0, -1 };
    for (int i = (int)threadIdx.x % 32; i < n; i += 32) {
        candidate c = { values[i], i };
        bool behind = last.index < 0 || goes_before(last, c);
        if (behind && open >> (i / group_size) & 1 && goes_before(c, best)) best = c;
    }
    return warp_first(best);
}

/* Bits of the k_groups groups with the best experts.  Lanes 0..31 have groups l and l + 32.                           */
GPU_FN uint64_t open_groups(const lr_route_args &a, const float *values) {
    int lane = (int)threadIdx.x % 32, size = a.n_experts / a.n_groups;
    const candidate none = { 0, -1 };
    candidate mine[2] = { none, none };
    for (int g = 0; g < a.n_groups; g++) {
        candidate best = pick(values + g * size, size, none, 1, size);
        candidate second = a.best_of_group == 2 ? pick(values + g * size, size, best, 1, size) : none;
        if (g % 32 == lane) mine[g / 32] = { best.value + (second.index >= 0 ? second.value : 0), g };
    }
    uint64_t open = 0;
    for (int i = 0; i < a.k_groups; i++) {
        candidate best = warp_first(goes_before(mine[0], mine[1]) ? mine[0] : mine[1]);
        open |= (uint64_t)1 << best.index;
        GPU_UNROLL for (int g = 0; g < 2; g++) if (mine[g].index == best.index) mine[g] = none;
    }
    return open;
}

/* Of the softmax without its denominator.                                                                             */
GPU_FN float score(const lr_route_args &a, float logit, float most) {
    return a.sigmoid ? 1.0f / (1.0f + expf(-logit)) : expf(logit - most);
}

/* What experts are chosen by: logits where their order is that of the scores.  Returns the denominator.  Each lane has
 * every 32nd expert.                                                                                                  */
GPU_FN float choose_by(const lr_route_args &a, const float *logits, float most, float *values) {
    int lane = (int)threadIdx.x % 32;
    float sum = 0;
    for (int i = lane; i < a.n_experts; i += 32) sum += values[i] = score(a, logits[i], most);
    sum = warp_sum(sum);
    if (a.sigmoid) sum = 1;
    for (int i = lane; i < a.n_experts; i += 32) {
        float v = a.sigmoid || a.bias ? values[i] / sum + (a.bias ? a.bias[i] : 0) : logits[i];
        values[i] = isnan(v) ? -INFINITY : v;
    }
    __syncwarp();
    return sum;
}

static __global__ void __launch_bounds__(ROUTE_WARPS * 32) k_route(lr_route_args a, int64_t rows) {
    GPU_SHARED(float, of_warps, [ROUTE_WARPS][LR_MAX_EXPERTS]);
    int lane = (int)threadIdx.x % 32;
    int64_t t = (int64_t)blockIdx.x * ROUTE_WARPS + threadIdx.x / 32;
    if (t >= rows) return;
    float *values = of_warps[threadIdx.x / 32], most = -INFINITY, among = 0;
    const float *logits = a.logits + t * a.n_experts;
    int size = a.n_groups ? a.n_experts / a.n_groups : a.n_experts;
    for (int i = lane; i < a.n_experts; i += 32) most = fmaxf(most, logits[i]);
    most = warp_max(most);
    float sum = choose_by(a, logits, most, values);
    uint64_t open = a.n_groups ? open_groups(a, values) : 1;
    candidate last = { 0, -1 };
    for (int j = 0; j < a.k; j++) {
        last = pick(values, a.n_experts, last, open, size);
        float weight = score(a, logits[last.index], most);
        among += weight;
        if (lane) continue;
        a.chosen[t * a.k + j] = last.index;
        a.weights[t * a.k + j] = weight;
    }
    if (lane) return;
    float scale = a.scale / (a.among_chosen ? among + LEAST_SUM : sum);
    for (int j = 0; j < a.k; j++) a.weights[t * a.k + j] *= scale;
}

cudaError_t gpu_route(lr_device *d, const lr_route_args *a, int64_t rows) {
    double n = (double)rows;
    if (a->n_groups > 64 || a->n_experts > LR_MAX_EXPERTS) return cudaErrorInvalidValue;
    dim3 grid((unsigned)((rows + ROUTE_WARPS - 1) / ROUTE_WARPS));
    return GPU_LAUNCH_COST(n * (4.0 * a->n_experts + 8.0 * a->k), n * a->n_experts * (a->k + 4.0), k_route, grid,
                           dim3(ROUTE_WARPS * 32), 0, d->queue[LR_QUEUE_COMPUTE], *a, rows);
}

static __global__ void __launch_bounds__(GATE_THREADS) k_gate_rows(lr_gate_rows_args a) {
    int64_t t = blockIdx.y, i = (int64_t)blockIdx.x * GATE_THREADS + threadIdx.x;
    if (i < a.dim) a.x[t * a.dim + i] *= 1.0f / (1.0f + expf(-a.gate[t]));
}

cudaError_t gpu_gate_rows(lr_device *d, const lr_gate_rows_args *a, int64_t rows) {
    dim3 grid((unsigned)((a->dim + GATE_THREADS - 1) / GATE_THREADS), (unsigned)rows);
    double values = (double)rows * (double)a->dim;
    return GPU_LAUNCH_COST(8 * values, 4 * values, k_gate_rows, grid, dim3(GATE_THREADS), 0,
                           d->queue[LR_QUEUE_COMPUTE], *a);
}
