/* llmrun devices: what this machine can compute on, and how fast.                                                     */
#include "runtime/cli/cli.h"

int devices_main(cli_options *o) {
    char *out = NULL;
    llmrun_error err = { 0 };
    int code = cli_device_options(o);
    if (code) return code;
    if (llmrun_devices(&o->engine, o->json ? &out : NULL, o->json ? NULL : &out, &err) != LLMRUN_OK)
        return cli_fail_error(&err);
    fputs(out, stdout);
    llmrun_free(out);
    return finish_stdout();
}
