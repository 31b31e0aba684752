/* Finds and loads GPU backends: shared objects that lie beside the library (or the program it is linked into).         */
#ifndef LR_BACKENDS_H
#define LR_BACKENDS_H

#include "kernels/backend.h"

/* name "cuda" or "sim": libllmrun-<name>.so.  config: see lr_backend_open_function.  The backend stays loaded until the
 * process ends.  The sentence of a failure says what is missing: the file, the driver, the right version.
 * [errors: ARG: no such name, or config makes no sense.  UNSUPPORTED: there is no such file.  DEVICE: of another
 * version, or it cannot work here, such as for want of a driver: one line says what.  NOMEM]                        */
llmrun_status lr_backend_load(const lr_backend **out, const char *name, const char *config, llmrun_error *err);

/* The set-up of simulated GPUs: what --sim-gpus says, else one of 1 GiB.                                               */
static inline const char *lr_backend_sim_gpus(const llmrun_options *o) { return o->sim_gpus ? o->sim_gpus : "1x1G"; }

#endif
