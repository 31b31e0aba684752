/* Planner, the vendor's library: on hardware cuBLAS serves dense products of long passes.  It is a guest: it gets a
 * workspace and what it takes beside only where room is left, and pushes nothing off a GPU.                           */
#include "runtime/plan_layout.h"

/* Formats of matrices that the library multiplies, as a set of widths.                                               */
static uint64_t dense_widths(void) {
    uint64_t all = (1u << LR_PLAN_WIDTHS) - 1;
    return all << LR_F16 * LR_PLAN_WIDTHS | all << LR_BF16 * LR_PLAN_WIDTHS;
}

/* Does the GPU compute a layer's matrix in such a format?  The head does not count: it is for a few rows only.       */
static bool computes_dense(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_places *p, int gpu) {
    size_t n = (size_t)in->model->n_layers * LR_N_GROUPS;
    for (size_t i = 0; i < n; i++)
        if ((p->group[i] == gpu || p->stream[i] == gpu) && (w->parts[i].gpu_widths & dense_widths())) return true;
    return false;
}

void lr_plan_add_library(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_places *p, int32_t n_batch,
                         int gpu, lr_plan_gpu_sizes *g) {
    const lr_plan_device *d = &in->gpus[gpu];
    uint64_t room = lr_plan_capacity(d), bytes = lr_aligned(d->library_bytes) + LR_PLAN_LIBRARY_ALIGN - LR_ALIGN;
    g->library = 0;
    g->overhead = d->overhead_bytes;
    if (!d->library_bytes || n_batch <= LR_GPU_FEW || !computes_dense(in, w, p, gpu)) return;
    if (d->library_bytes > room || d->library_overhead > room - d->library_bytes) return;
    lr_plan_device without = *d;
    without.overhead_bytes += d->library_overhead;
    if (lr_plan_in_granules(g->arena + bytes, d) > lr_plan_capacity(&without)) return;
    g->library = d->library_bytes;
    g->overhead += d->library_overhead;
    g->arena += bytes;
}
