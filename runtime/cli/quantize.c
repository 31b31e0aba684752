/* llmrun quantize: writes a model in another format.                                                                  */
#include <string.h>

#include "runtime/cli/cli.h"

static void print_json_result(const cli_options *o, const llmrun_quantize_result *r) {
    printf("{\"out\": ");
    json_string(stdout, o->out, strlen(o->out));
    printf(", \"quant\": ");
    json_string(stdout, o->engine.quant, strlen(o->engine.quant));
    printf(", \"n_params\": %llu, \"n_tensors\": %d, \"source_bytes\": %llu, \"file_bytes\": %llu, \"bits_per_weight\": ",
           (unsigned long long)r->n_params, r->n_tensors, (unsigned long long)r->source_bytes, (unsigned long long)r->file_bytes);
    json_number(stdout, r->bits_per_weight);
    printf(", \"seconds\": ");
    json_number(stdout, r->seconds);
    printf("}\n");
}

static void print_result(const cli_options *o, const llmrun_quantize_result *r) {
    char from[32], to[32];
    printf("%s: %s of weights from %s, %.2f bits each, in %.1f s\n", o->out, size_text(to, r->file_bytes),
           size_text(from, r->source_bytes), r->bits_per_weight, r->seconds);
}

int quantize_main(cli_options *o) {
    llmrun_quantize_result result;
    llmrun_error err = { 0 };
    if (!o->engine.quant || strcmp(o->engine.quant, "auto") == 0)
        return cli_fail(EXIT_USAGE, "quantize: give the format with --quant (f16 bf16 f32 q8_0 q4_k q4_0 iq4_nl nf4)");
    if (!o->out) return cli_fail(EXIT_USAGE, "quantize: give the output with -o (NAME.gguf, or a directory)");
    int code = cli_prepare(o);
    if (code) return code;
    cli_text text = { 0 };
    if (o->calibrate) code = cli_read_file(o->calibrate, &text);
    if (code) return code;
    o->engine.calibrate = text.bytes;
    interrupt_arm(NULL);
    llmrun_status status = llmrun_quantize(&o->engine, o->out, &result, &err);
    text_close(&text);
    if (status != LLMRUN_OK) return cli_fail_error(&err);
    if (o->json)
        print_json_result(o, &result);
    else if (!o->quiet)
        print_result(o, &result);
    return finish_stdout();
}
