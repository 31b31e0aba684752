/* How fast this machine is, for the planner's predictions: measured once in a fraction of a second with the kernels that
 * will run, then kept in a small file of the user's cache directory.                                                  */
#ifndef LR_RATES_H
#define LR_RATES_H

#include "kernels/backend.h"

typedef struct lr_rates {
    double read_bytes_per_s;  /* weights, by the decode kernels */
    double flops_per_s;       /* by the prefill kernels */
    double link_bytes_per_s;  /* GPUs: pinned copy */
} lr_rates;

/* Rates of the CPU with so many threads.  dir: where they are kept; NULL or "": nothing is measured, rates are 0.
 * Never fails: what cannot be measured is 0.  Cost: the first time about 0.3 s.                                       */
lr_rates lr_rates_cpu(const lr_ops *ops, int32_t n_threads, const char *dir, const lr_report *report);
/* Measures again, and keeps what is faster: the first time the machine may have been busy.                             */
lr_rates lr_rates_cpu_again(const lr_ops *ops, int32_t n_threads, const char *dir, const lr_report *report);
/* The same of a GPU whose info does not state them.                                                                   */
lr_rates lr_rates_gpu(const lr_backend *b, int32_t index, const lr_device_info *info, const char *dir,
                      const lr_report *report);

#endif
