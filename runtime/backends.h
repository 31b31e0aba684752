/* Finds and loads GPU backends: shared objects that lie beside the library (or the program it is linked into).         */
#ifndef LR_BACKENDS_H
#define LR_BACKENDS_H

#include "kernels/backend.h"

/* name "cuda" or "sim": libllmrun-<name>.so.  config: see lr_backend_open_function.  The backend stays loaded until the
 * process ends.  The sentence of a failure says what is missing: the file, the driver, the right version.
 * [errors: UNSUPPORTED (no such file) DEVICE ARG NOMEM]                                                                                          */
llmrun_status lr_backend_load(const lr_backend **out, const char *name, const char *config, llmrun_error *err);

#endif
