/* Environment variables: where the user's caches are, what to try.  See debug.h.                                     */
#include "runtime/debug.h"

#include <stdlib.h>
#include <string.h>

/* value of an environment variable followed by rest; *failed on lack of memory; NULL where it is unset or empty.      */
static char *under(const char *variable, const char *rest, bool *failed) {
    const char *value = getenv(variable);
    if (!value || !*value) return NULL;
    lr_text t = { 0 };
    lr_text_add(&t, "%s%s", value, rest);
    if (!t.failed) return t.text;
    lr_free(t.text);
    *failed = true;
    return NULL;
}

bool lr_debug_hub_dirs(char *dirs[LR_HUB_DIRS + 1]) {
    static const struct {
        const char *variable, *rest;
    } places[LR_HUB_DIRS] = { { "HF_HUB_CACHE", "" },
                              { "HF_HOME", "/hub" },
                              { "XDG_CACHE_HOME", "/huggingface/hub" },
                              { "HOME", "/.cache/huggingface/hub" } };
    bool failed = false;
    size_t n = 0;
    for (size_t i = 0; i < LR_HUB_DIRS; i++) {
        char *dir = under(places[i].variable, places[i].rest, &failed);
        if (dir) dirs[n++] = dir;
    }
    dirs[n] = NULL;
    return !failed;
}

char *lr_debug_cache_dir(void) {
    bool failed = false;
    char *dir = under("XDG_CACHE_HOME", "/llmrun", &failed);
    return dir ? dir : under("HOME", "/.cache/llmrun", &failed);
}

bool lr_debug_graphs(void) {
    const char *value = getenv("LLMRUN_GRAPHS");
    return value && *value;
}

const char *lr_debug_cuda(void) {
    const char *value = getenv("LLMRUN_CUDA");
    return value && *value ? value : NULL;
}
