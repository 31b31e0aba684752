/* Modes that mix precisions need to know what fewer bits cost each tensor: measured here, once a model.  From then on they
 * are among the modes that are compared by default.                                                                    */
#include <string.h>

#include "runtime/cli/compare.h"

bool compare_is_mixed(const char *mode) { return strncmp(mode, "mixed", 5) == 0 && (!mode[5] || mode[5] == ':'); }

/* Is there such a word in a list with commas?                                                                         */
static bool any_mixed(const char *modes) {
    for (char word[8]; modes && *modes; modes += strspn(modes, ",")) {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(modes, ",:"), modes);
        if (compare_is_mixed(word)) return true;
        modes += strcspn(modes, ",");
    }
    return false;
}

/* For the library: the cache of the modes, but no list of KV caches.                                                  */
static llmrun_options options_of(const cli_options *o) {
    llmrun_options e = o->engine;
    e.quant = e.kv = "auto";
    e.n_ctx = 0;
    return e;
}

static int measure(const cli_options *o, const cli_text *text, char **json, char **table) {
    llmrun_options e = options_of(o);
    llmrun_error err = { 0 };
    if (o->no_cache) return cli_fail(EXIT_USAGE, "what fewer bits cost is kept in the cache, which --no-cache leaves out");
    interrupt_arm(NULL);
    cli_note(o, "compare: measures what fewer bits cost each matrix; that is kept, and done once");
    return llmrun_sensitivity(&e, text->bytes, json, table, &err) == LLMRUN_OK ? 0 : cli_fail_error(&err);
}

int compare_measure_mixed(cli_options *o, const cli_text *text, uint64_t *hash) {
    llmrun_options e = options_of(o);
    llmrun_error err = { 0 };
    char *json = NULL;
    int code = 0;
    *hash = 0;
    if (o->modes && !any_mixed(o->modes)) return 0;
    if (llmrun_sensitivity(&e, NULL, &json, NULL, &err) != LLMRUN_OK) return cli_fail_error(&err);
    if (!json && o->modes) code = measure(o, text, &json, NULL);
    if (json && !o->modes) o->modes = "f16,q8_0,mixed:7,mixed:6,mixed:5.5,q4_k,iq4_nl,nf4";
    if (json) *hash = compare_hash(COMPARE_HASH_START, json, strlen(json));
    llmrun_free(json);
    return code;
}

int compare_sensitivity(cli_options *o, const cli_text *text) {
    char *out = NULL;
    int code = measure(o, text, o->json ? &out : NULL, o->json ? NULL : &out);
    if (!code && out) fputs(out, stdout);
    llmrun_free(out);
    return code ? code : finish_stdout();
}
