/* llmrun plan and llmrun info: what the library says about a model without loading it.                                */
#include "runtime/cli/cli.h"

typedef llmrun_status (*describe)(const llmrun_options *o, char **json, char **text, llmrun_error *err);

static int print(cli_options *o, describe ask) {
    char *out = NULL;
    llmrun_error err = { 0 };
    int code = cli_prepare(o);
    if (code) return code;
    if (ask(&o->engine, o->json ? &out : NULL, o->json ? NULL : &out, &err) != LLMRUN_OK) return cli_fail_error(&err);
    fputs(out, stdout);
    llmrun_free(out);
    return finish_stdout();
}

int plan_main(cli_options *o) { return print(o, llmrun_plan); }
int info_main(cli_options *o) { return print(o, llmrun_info); }
