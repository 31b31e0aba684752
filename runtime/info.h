/* What `llmrun info` says about a model: family, numbers, tensors by type.                                            */
#ifndef LR_INFO_H
#define LR_INFO_H

#include "runtime/engine.h"

/* e is prepared (lr_engine_prepare), not loaded.                                                                      */
void lr_info_text(const llmrun_engine *e, lr_text *out);
void lr_info_json(const llmrun_engine *e, lr_text *out);

#endif
