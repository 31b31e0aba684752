/* Packing of activations; activations of feed-forward blocks with their result packed.                               */
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/glu.cuh"

struct plain_row {
    const float *x;
    int64_t stride;
    const int32_t *perm; /* or NULL */

    __device__ __forceinline__ void begin(int64_t, int64_t) {}
    __device__ __forceinline__ float at(int64_t t, int64_t i) const { return x[t * stride + (perm ? perm[i] : i)]; }
};

struct glu_row {
    const float *gate, *up; /* up NULL: not gated */
    int64_t stride;
    lr_glu_act act;

    __device__ __forceinline__ void begin(int64_t, int64_t) {}
    __device__ __forceinline__ float at(int64_t t, int64_t i) const {
        return glu(act, gate[t * stride + i], up ? up[t * stride + i] : 1.0f);
    }
};

cudaError_t gpu_pack(lr_device *d, const lr_pack_args *a) {
    plain_row row = { a->x, a->out.cols, a->perm };
    double bytes_read = 4.0 * ((double)a->out.n + (a->perm != nullptr)) * (double)a->out.cols;
    return launch_rows(d, row, false, bytes_read, (float *)nullptr, 0, &a->out, a->out.n, a->out.cols);
}

cudaError_t gpu_glu(lr_device *d, const lr_glu_args *a, int64_t rows, const lr_act *out) {
    if (!a->up && a->act == LR_GLU_OAI) return cudaErrorInvalidValue;
    glu_row row = { a->gate, a->up, a->in_stride, a->act };
    double bytes_read = (a->up ? 8.0 : 4.0) * (double)rows * (double)a->dim;
    return launch_rows(d, row, false, bytes_read, a->y, a->y_stride, out, rows, a->dim);
}
