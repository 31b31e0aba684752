/* The only place that reads environment variables.  Each is listed in the README.                                     */
#ifndef LR_DEBUG_H
#define LR_DEBUG_H

#include "runtime/base.h"

#define LR_HUB_DIRS 4

/* Directories where the Hugging Face cache may be, best first, NULL-terminated: HF_HUB_CACHE, HF_HOME/hub,
 * XDG_CACHE_HOME/huggingface/hub, HOME/.cache/huggingface/hub.  Release each with lr_free.  False: out of memory.      */
LR_MUST_CHECK bool lr_debug_hub_dirs(char *dirs[LR_HUB_DIRS + 1]);

/* XDG_CACHE_HOME/llmrun or HOME/.cache/llmrun, for converted weights; NULL where neither is set or memory is short.
 * Release with lr_free.                                                                                               */
char *lr_debug_cache_dir(void);

/* LLMRUN_GRAPHS is set: recorded steps also on simulated GPUs, whose clock then counts attention as for a full context. */
bool lr_debug_graphs(void);

/* What LLMRUN_CUDA says to the CUDA backend; NULL where it is unset or empty.  early: kernels of decode are launched
 * before those ahead of them have ended.                                                                              */
const char *lr_debug_cuda(void);

#endif
