/* The parts of a GPU backend that backend.cu puts together: memory.cu, queues.cu, measure.cu, and the platform, which
 * is what hardware and the simulator do differently (hardware.cu and nvml.cu, or kernels/sim/platform.cpp).         */
#ifndef LR_CUDA_PARTS_H
#define LR_CUDA_PARTS_H

#include "kernels/cuda/device.h"

/* OK where e is cudaSuccess; else a status with the sentence "cuda:0: what: ..", and the error of this thread is
 * cleared, for it has been told.                                                                                     */
llmrun_status gpu_status(const lr_device *d, cudaError_t e, const char *what, llmrun_error *err);

/* ---- the functions of struct lr_backend, described in kernels/backend.h ---- */

llmrun_status gpu_arena_open(lr_device *d, uint64_t bytes, void **base, llmrun_error *err);
void gpu_arena_close(lr_device *d);
llmrun_status gpu_pinned_open(lr_device *d, uint64_t bytes, void **base, llmrun_error *err);
void gpu_pinned_close(lr_device *d, void *base);
llmrun_status gpu_copy_in(lr_device *d, lr_queue q, void *dst, size_t dst_pitch, const void *pinned, size_t pitch,
                          size_t bytes, size_t rows, llmrun_error *err);
llmrun_status gpu_copy_out(lr_device *d, lr_queue q, void *pinned, size_t pitch, const void *src, size_t src_pitch,
                           size_t bytes, size_t rows, llmrun_error *err);
llmrun_status gpu_copy_peer(lr_device *d, lr_queue q, void *dst, lr_device *from, const void *src, size_t bytes,
                            llmrun_error *err);

llmrun_status gpu_event_open(lr_device *d, lr_event **e, llmrun_error *err);
void gpu_event_close(lr_device *d, lr_event *e);
llmrun_status gpu_event_record(lr_device *d, lr_queue q, lr_event *e, llmrun_error *err);
llmrun_status gpu_event_wait(lr_device *d, lr_queue q, lr_event *e, llmrun_error *err);
llmrun_status gpu_event_sync(lr_device *d, lr_event *e, llmrun_error *err);
llmrun_status gpu_sync(lr_device *d, llmrun_error *err);
llmrun_status gpu_graph_begin(lr_device *d, llmrun_error *err);
llmrun_status gpu_graph_end(lr_device *d, lr_graph **g, llmrun_error *err);
llmrun_status gpu_graph_launch(lr_device *d, lr_graph *g, llmrun_error *err);
void gpu_graph_close(lr_device *d, lr_graph *g);
/* Ends a recording that nobody wants any more, if there is one.                                                      */
void gpu_graph_drop(lr_device *d);

/* Times a read of device memory, a matrix product and a copy from pinned memory; takes memory while it does.         */
llmrun_status gpu_measure(lr_device *d, lr_device_info *rates, llmrun_error *err);

/* ---- the platform ---- */

extern const char *const platform_name; /* "cuda", "sim" */
/* True where kernels were compiled such that gpu_wait_for_queue waits on a device of this architecture.              */
bool platform_waits(int arch);
/* Prepares it for lr_backend_open; n_open: devices that are open now.                                                */
llmrun_status platform_set_up(const lr_backend_host *host, const char *config, int n_open, llmrun_error *err);
/* Fills all but name, compute capability and total_bytes, which are there.                                           */
cudaError_t platform_describe(int index, int n_sms, lr_device_info *info);
uint64_t platform_used_bytes(const lr_device *d);
/* Fills d->arena and d->arena_mapped.                                                                                */
cudaError_t platform_arena_open(lr_device *d, uint64_t bytes);
cudaError_t platform_arena_close(lr_device *d);
/* Makes memory of `from` reachable for copies of d where the hardware can; copies work without.                      */
void platform_join(lr_device *d, lr_device *from);
/* What else is known of an error; "": nothing.                                                                       */
const char *platform_detail(cudaError_t e);
/* True where the rates are known without measuring: filled.                                                          */
bool platform_rates(const lr_device *d, lr_device_info *rates);
/* The virtual clock; NULL on hardware.                                                                               */
extern double (*const platform_clock)(void);
extern void (*const platform_host_work)(double seconds);

#endif
