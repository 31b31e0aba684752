/* Gated delta nets.  Two kernels: the convolution, a thread a channel, walks the rows with the last ones in registers;
 * the rule, a block a few columns of a head's matrix, keeps these in registers from the first row to the last.
 * Columns do not need each other: each asks its rows what they hold for the key, so that some lanes share a column, and
 * the only sums between lanes are theirs.
 * Source: Yang et al., "Gated Delta Networks", arXiv:2412.06464.                                                     */
#include "kernels/cuda/pack.cuh"

enum { THREADS = 128, AHEAD = 8 };

/* ---- the convolution, in place ---- */

struct channel_rows {
    float *x;
    int64_t stride;
};

/* Where a channel lies: in q, k or v.                                                                                */
GPU_FN channel_rows rows_of(const lr_delta_args &a, int channel) {
    int k_width = a.k_heads * a.k_dim, v_width = a.v_heads * a.v_dim;
    if (channel < k_width) return { a.q + channel, k_width };
    if (channel < 2 * k_width) return { a.k + (channel - k_width), k_width };
    return { a.v + (channel - 2 * k_width), v_width };
}

__global__ void __launch_bounds__(THREADS) k_delta_conv(lr_delta_args a, int channels) {
    int channel = (int)blockIdx.x * THREADS + (int)threadIdx.x;
    const lr_seq &seq = a.seqs[blockIdx.y];
    if (channel >= channels) return;
    channel_rows rows = rows_of(a, channel);
    float *before = (float *)seq.kv.base + channel, w[LR_DELTA_TAPS], last[LR_DELTA_TAPS] = {};
    int none = LR_DELTA_TAPS - a.taps; /* taps that there are not: older ones, which count nothing */
    GPU_UNROLL for (int j = 0; j < LR_DELTA_TAPS; j++) {
        w[j] = j >= none ? a.conv[(int64_t)channel * a.taps + (j - none)] : 0.0f;
        if (j >= none && j < LR_DELTA_TAPS - 1 && seq.position > 0) last[j] = before[(int64_t)(j - none) * channels];
    }
    rows.x += seq.row * rows.stride;
    for (int64_t t = 0; t < seq.n; t += AHEAD) {
        float x[AHEAD];
        GPU_UNROLL for (int i = 0; i < AHEAD; i++) x[i] = t + i < seq.n ? rows.x[(t + i) * rows.stride] : 0.0f;
        GPU_UNROLL for (int i = 0; i < AHEAD; i++) {
            if (t + i >= seq.n) break;
            float sum = w[LR_DELTA_TAPS - 1] * x[i];
            last[LR_DELTA_TAPS - 1] = x[i];
            GPU_UNROLL for (int j = 0; j < LR_DELTA_TAPS - 1; j++) {
                sum += w[j] * last[j];
                last[j] = last[j + 1];
            }
            rows.x[(t + i) * rows.stride] = sum / (1.0f + __expf(-sum));
        }
    }
    GPU_UNROLL for (int j = 0; j < LR_DELTA_TAPS - 1; j++)
        if (j >= none) before[(int64_t)(j - none) * channels] = last[j];
}

/* ---- the rule ---- */

enum { TILE = 8 }; /* rows of the pass at once */

/* PARTS: lanes of a column.  ROWS: of the matrix, that a lane has at most; row PARTS i + part is the i-th of a part. */
template <int ROWS, int PARTS> __global__ void __launch_bounds__(THREADS) k_delta_rule(lr_delta_args a, int channels) {
    constexpr int DIM = ROWS * PARTS, COLUMNS = THREADS / PARTS;
    GPU_SHARED(float, queries, [TILE][DIM]);
    GPU_SHARED(float, keys, [TILE][DIM]);
    GPU_SHARED(float, kept, [TILE]);
    GPU_SHARED(float, share, [TILE]);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = threadIdx.x % PARTS;
    int head = blockIdx.y, k_head = head / (a.v_heads / a.k_heads);
    int column = (int)blockIdx.x * COLUMNS + (int)threadIdx.x / PARTS;
    const lr_seq &seq = a.seqs[blockIdx.z];
    bool inside = column < a.v_dim;
    int64_t before = (int64_t)(a.taps - 1) * channels + (int64_t)head * a.k_dim * a.v_dim;
    float *matrix = (float *)seq.kv.base + before + column;
    float s[ROWS], rate = -expf(a.rate[head]), dt = a.dt[head], unit = 1.0f / sqrtf((float)a.k_dim);
    GPU_UNROLL for (int i = 0; i < ROWS; i++) {
        int row = PARTS * i + part;
        s[i] = inside && row < a.k_dim && seq.position > 0 ? matrix[(int64_t)row * a.v_dim] : 0.0f;
    }
    for (int64_t t = 0; t < seq.n; t += TILE) {
        int n = (int)min((int64_t)TILE, seq.n - t);
        __syncthreads(); /* all are done with the tile before */
        for (int i = warp; i < 2 * n; i += THREADS / 32) { /* a warp a vector: of length 1, queries also scaled */
            int64_t at = ((seq.row + t + i / 2) * a.k_heads + k_head) * a.k_dim;
            const float *from = i % 2 ? a.k + at : a.q + at;
            float *to = i % 2 ? keys[i / 2] : queries[i / 2], sum = 0;
            for (int d = lane; d < a.k_dim; d += 32) sum += from[d] * from[d];
            float scale = (i % 2 ? 1.0f : unit) / sqrtf(warp_sum(sum) + LR_DELTA_EPS);
            for (int d = lane; d < DIM; d += 32) to[d] = d < a.k_dim ? from[d] * scale : 0.0f;
        }
        if ((int)threadIdx.x < n) {
            int64_t at = (seq.row + t + threadIdx.x) * a.v_heads + head;
            float x = a.a[at] + dt, softplus = x > 20.0f ? x : log1pf(expf(x));
            kept[threadIdx.x] = expf(rate * softplus);
            share[threadIdx.x] = 1.0f / (1.0f + expf(-a.b[at]));
        }
        __syncthreads();
        for (int j = 0; j < n; j++) {
            int64_t at = ((seq.row + t + j) * a.v_heads + head) * a.v_dim + column;
            float held = 0, out = 0, left = kept[j], value = inside ? a.v[at] : 0.0f;
            GPU_UNROLL for (int i = 0; i < ROWS; i++) held += s[i] * keys[j][PARTS * i + part];
            GPU_UNROLL for (int bit = 1; bit < PARTS; bit *= 2) held += __shfl_xor_sync(GPU_FULL_WARP, held, bit);
            float d = share[j] * (value - left * held);
            GPU_UNROLL for (int i = 0; i < ROWS; i++) {
                s[i] = left * s[i] + keys[j][PARTS * i + part] * d;
                out += s[i] * queries[j][PARTS * i + part];
            }
            GPU_UNROLL for (int bit = 1; bit < PARTS; bit *= 2) out += __shfl_xor_sync(GPU_FULL_WARP, out, bit);
            if (inside && part == 0) a.out[at] = out;
        }
    }
    GPU_UNROLL for (int i = 0; i < ROWS; i++) {
        int row = PARTS * i + part;
        if (inside && row < a.k_dim && seq.n > 0) matrix[(int64_t)row * a.v_dim] = s[i];
    }
}

/* ---- host side ---- */

cudaError_t gpu_delta(lr_device *d, const lr_delta_args *a, const lr_pass_shape *s) {
    if (!lr_gpu_delta_takes(a->k_dim, a->v_dim, a->taps)) return cudaErrorInvalidValue;
    if (s->n <= 0 || a->n_seqs <= 0) return cudaSuccess;
    int channels = 2 * a->k_heads * a->k_dim + a->v_heads * a->v_dim;
    double n = (double)s->n, seen = n * channels, values = (double)a->v_heads * a->k_dim * a->v_dim;
    double before = 8.0 * (a->taps - 1) * channels * a->n_seqs;
    cudaStream_t queue = d->queue[LR_QUEUE_COMPUTE];
    dim3 conv((unsigned)(channels + THREADS - 1) / THREADS, (unsigned)a->n_seqs);
    cudaError_t e =
        GPU_LAUNCH_COST(8 * seen + before, 12 * seen, k_delta_conv, conv, dim3(THREADS), 0, queue, *a, channels);
    if (e != cudaSuccess) return e;
    int columns = THREADS / (a->k_dim <= 128 ? 4 : 8);
    dim3 rule((unsigned)((a->v_dim + columns - 1) / columns), (unsigned)a->v_heads, (unsigned)a->n_seqs);
    double bytes = 4 * seen + 4 * n * a->v_heads * a->v_dim + 8 * values * a->n_seqs;
    void (*kernel)(lr_delta_args, int) = k_delta_rule<32, 8>;
    if (a->k_dim <= 64) kernel = k_delta_rule<16, 4>;
    else if (a->k_dim <= 128) kernel = k_delta_rule<32, 4>;
    return GPU_LAUNCH_COST(bytes, 6 * n * values, kernel, rule, dim3(THREADS), 0, queue, *a, channels);
}
