/* Products of a few tokens: every weight is read once, with 16-byte loads, and meets all tokens at once.
 *
 *  A warp has 4 rows, so that the activations it reads serve 4 times; its lanes walk along the rows.  Short matrices
 * give a row to several warps of a block, so that enough loads are under way.  All sums have a fixed order that follows
 * from the shape alone: lane, then warp, then warps of a row.                                                        */
#ifndef LR_GEMV_CUH
#define LR_GEMV_CUH

#include <type_traits>

#include "kernels/cuda/dot_formats.cuh"
#include "kernels/cuda/pack.cuh"

enum { GEMV_ROWS = 4, GEMV_MATRICES = 3 };

/* Activations of all tokens.                                                                                         */
struct gemv_input {
    const uint8_t *values;
    const float *d, *s;
    int values_stride, d_stride; /* bytes, floats */
    int n;                       /* tokens */
    bool early;                  /* the kernel may be launched early (gpu_queue) */
};

static inline gemv_input gemv_input_of(const lr_act *x, bool early = false) {
    bool q8 = x->format == LR_ACT_Q8;
    int cols = (int)x->cols;
    return { (const uint8_t *)x->values, x->d, x->s, q8 ? cols : 4 * cols, q8 ? cols / 32 : 0, (int)x->n, early };
}

/* Waits for the queue.  Weights are not what the kernels ahead of this one write: those that a warp will read first are
 * fetched meanwhile, 128 bytes a lane.  place: of the lane among those of the row.                                   */
GPU_FN void gemv_wait(const gemv_input &x, const dot_row row[GEMV_ROWS], size_t row_bytes, unsigned place) {
    if (x.early && 128 * place < row_bytes)
        GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) prefetch_l2(row[r].quants + 128 * place);
    gpu_wait_for_queue();
}

/* Token t, or the last one where t is beyond it: such products are not used.                                         */
GPU_FN dot_input gemv_token(const gemv_input &x, int t) {
    int token = min(t, x.n - 1);
    return { x.values, x.d, x.s, (unsigned)(token * x.values_stride), (unsigned)(token * x.d_stride) };
}

/* Blocks on a multiprocessor that registers are to suffice for: fewer where a lane holds much, or tables
 * beside two tokens.                                                                                                  */
template <class Dot, int N> constexpr int gemv_blocks() {
    bool much = sizeof(typename Dot::raw) * Dot::PARTS > 72 || (N == 2 && sizeof(typename Dot::fixed) > 32);
    return (N <= 2 ? 3 : 2) - much;
}

/* Adds the products of one unit of each row.  One or two tokens: their activations stay in registers while row after
 * row is decoded.  More: the decoded rows do.                                                                        */
template <class Dot, int N>
GPU_FN void gemv_dot_unit(float sums[GEMV_ROWS * N], const typename Dot::raw raw[GEMV_ROWS], const gemv_input &x,
                          unsigned unit, const typename Dot::fixed &fixed) {
    GPU_UNROLL for (int part = 0; part < Dot::PARTS; part++) {
        if constexpr (N <= 2) {
            typename Dot::input in[N];
            GPU_UNROLL for (int t = 0; t < N; t++) in[t] = Dot::load_input(gemv_token(x, t), unit, part);
            GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
                typename Dot::weights w = Dot::decode(raw[r], fixed, part);
                GPU_UNROLL for (int t = 0; t < N; t++) Dot::dot(sums[r * N + t], w, in[t]);
            }
        } else {
            typename Dot::weights w[GEMV_ROWS];
            GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) w[r] = Dot::decode(raw[r], fixed, part);
            GPU_UNROLL for (int t = 0; t < N; t++) {
                typename Dot::input in = Dot::load_input(gemv_token(x, t), unit, part);
                GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) Dot::dot(sums[r * N + t], w[r], in);
            }
        }
    }
}

/* Adds the products of the rows' units first, first + stride, .. to sums, which holds token t of row r at r * N + t. */
template <class Dot, int N>
GPU_FN void gemv_dot(float sums[GEMV_ROWS * N], const dot_row row[GEMV_ROWS], const gemv_input &x, unsigned first,
                     unsigned units, unsigned stride) {
    const typename Dot::fixed fixed = Dot::fixed::of(first, (unsigned)x.n >> (16 + first % 8));
    for (unsigned unit = first; unit < units; unit += stride) {
        typename Dot::raw raw[GEMV_ROWS];
        GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) raw[r] = Dot::load(row[r], unit);
        gemv_dot_unit<Dot, N>(sums, raw, x, unit, fixed);
    }
}

/* Sums v[0..COUNT) over the lanes of a warp, COUNT a power of two: half of the values go to each half of the lanes, and
 * so on.  Lane l gets in v[0] the sum of value l / (32 / COUNT).                                                     */
template <int COUNT, int BIT = 16> GPU_FN void warp_sums(float *v) {
    if constexpr (BIT > 0) {
        constexpr int KEPT = COUNT > 1 ? COUNT / 2 : 1;
        bool upper = threadIdx.x & BIT;
        GPU_UNROLL for (int i = 0; i < KEPT; i++) {
            float mine = COUNT > 1 && upper ? v[i + COUNT / 2] : v[i], others = upper ? v[i] : v[i + COUNT / 2];
            v[i] = mine + __shfl_xor_sync(GPU_FULL_WARP, COUNT > 1 ? others : mine, BIT);
        }
        warp_sums<KEPT, BIT / 2>(v);
    }
}

/* The same, and into shared memory: parts[i] is the warp's sum of value i.                                           */
template <int COUNT> GPU_FN void warp_sums_to(float *parts, float *v) {
    int lane = threadIdx.x % 32;
    warp_sums<COUNT>(v);
    if (lane % (32 / COUNT) == 0) parts[lane / (32 / COUNT)] = v[0];
}

/* True where a matrix and its activations are whole aligned units.  Block formats need no more than a row of blocks has
 * by itself.                                                                                                         */
static inline bool gemv_is_aligned(const lr_matrix *w, const lr_act *x) {
    size_t x_stride = (size_t)x->cols * (x->format == LR_ACT_F32 ? sizeof(float) : 1);
    return ((uintptr_t)w->quants | w->quants_stride) % gpu_weights_align(w->format) == 0 &&
           ((uintptr_t)x->values | x_stride) % 16 == 0;
}

/* A product of 1 to LR_GPU_FEW tokens whose activations are as lr_gpu_act says.                                      */
static inline bool gemv_takes(const lr_matmul_args *m) {
    return m->x.n >= 1 && m->x.n <= LR_GPU_FEW && m->x.format == lr_gpu_act(m->w.format, m->x.n) &&
           m->x.cols == m->w.cols;
}
static inline bool gemv_is_alike(const lr_matmul_args *a, const lr_matmul_args *b) {
    return a->w.format == b->w.format && gemv_is_aligned(&a->w, &a->x) == gemv_is_aligned(&b->w, &b->x);
}

static inline double gemv_weight_bytes(const lr_matrix *w) {
    return (double)w->rows * (double)(w->quants_stride + w->scales_stride);
}

/* launch(Dot()) with the dot product for the weights of m.                                                           */
template <class Launch> static cudaError_t gemv_by_format(const lr_matmul_args *m, Launch launch) {
    bool aligned = gemv_is_aligned(&m->w, &m->x);
    switch (m->w.format) {
#define GEMV(format, dot, odd)             \
    case format:                           \
        if (aligned) return launch(dot()); \
        return std::is_same<dot, odd>::value ? cudaErrorInvalidValue : launch(odd());
        GPU_DOT_FORMATS(GEMV)
#undef GEMV
        default: return cudaErrorInvalidValue;
    }
}

#endif
