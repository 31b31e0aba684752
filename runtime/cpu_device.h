/* The CPU as a device: lr_device_ops over the kernels of lr_ops and the thread pool.  Its memory is the host's, its
 * queue is the calling thread: every op is done when the call returns.                                               */
#ifndef LR_CPU_DEVICE_H
#define LR_CPU_DEVICE_H

#include "kernels/backend.h"
#include "runtime/threads.h"

typedef struct lr_cpu_device {
    const lr_ops *ops;
    lr_threads *threads;
    /* Beside simulated GPUs: tells their clock what the CPU's work would take at the planned rates; else NULL.        */
    void (*host_work)(double seconds);
    double read_bytes_per_s, flops_per_s; /* 0: costs no time */
} lr_cpu_device;

extern const lr_device_ops lr_cpu_device_ops; /* each takes an lr_cpu_device as its lr_device */

/* cpu_latent.c                                                                                                        */
llmrun_status lr_cpu_latent(lr_device *d, const lr_latent_args *a, const lr_pass_shape *s, llmrun_error *err);
llmrun_status lr_cpu_heads(lr_device *d, const lr_heads_args *a, llmrun_error *err);
size_t lr_cpu_heads_scratch_bytes(const lr_ops *ops, int64_t cols); /* of a thread, for matrices of that many columns */

/* Moves the simulated GPUs' clock: an op takes as long as reading its bytes, or as its arithmetic.                     */
void lr_cpu_spend(const lr_cpu_device *cpu, double bytes, double flops);
static inline double lr_cpu_bytes(const lr_matrix *m) { /* read by a product with it */
    return (double)m->rows * (double)(m->quants_stride + m->scales_stride);
}

/* dst = src on all threads.                                                                                           */
void lr_cpu_copy(lr_cpu_device *cpu, void *dst, const void *src, size_t bytes);

#endif
