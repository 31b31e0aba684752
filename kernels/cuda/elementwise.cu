/* Packing of activations, and SwiGLU with its result packed.  Source: Shazeer, arXiv:2002.05202.                     */
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/glu.cuh"

struct plain_row {
    const float *x;
    int64_t stride;

    __device__ __forceinline__ void begin(int64_t, int64_t) {}
    __device__ __forceinline__ float at(int64_t t, int64_t i) const { return x[t * stride + i]; }
};

struct glu_row {
    const float *gate, *up;
    int64_t stride;

    __device__ __forceinline__ void begin(int64_t, int64_t) {}
    __device__ __forceinline__ float at(int64_t t, int64_t i) const {
        return glu(gate[t * stride + i], up[t * stride + i]);
    }
};

cudaError_t gpu_pack(lr_device *d, const lr_pack_args *a) {
    plain_row row = { a->x, a->out.cols };
    double bytes_read = 4.0 * (double)a->out.n * (double)a->out.cols;
    return launch_rows(d, row, false, bytes_read, (float *)nullptr, 0, &a->out, a->out.n, a->out.cols);
}

cudaError_t gpu_glu(lr_device *d, const lr_glu_args *a, int64_t rows, const lr_act *out) {
    glu_row row = { a->gate, a->up, a->in_stride };
    return launch_rows(d, row, false, 8.0 * (double)rows * (double)a->dim, a->y, a->y_stride, out, rows, a->dim);
}
