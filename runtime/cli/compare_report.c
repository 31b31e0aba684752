/* The table and the JSON document of llmrun compare.                                                                  */
#include <string.h>

#include "runtime/cli/compare.h"

/* ---- the table ---- */

/* Numbers that span many powers of ten: "1.2e-06" where small, "0.0123" else.                                          */
static const char *small_text(char buf[16], double v) {
    snprintf(buf, 16, v != 0 && v < 1e-3 && v > -1e-3 ? "%.1e" : "%.4f", v);
    return buf;
}

static const char *rate_text(char buf[16], double v) {
    snprintf(buf, 16, v < 100 ? "%.1f" : "%.0f", v);
    return buf;
}

static void print_row(const compare_row *row, const char *name, int width, bool gpus, bool reference, FILE *to) {
    char a[32], b[32], c[32], p[16], d[16], k[4][16];
    if (row->failed) {
        fprintf(to, "%-*s %-5s %s\n", width, name, row->kv, row->failure);
        return;
    }
    const figures *f = &row->figures;
    fprintf(to, "%-*s %-5s %6.2f %9s %9s %9s ", width, name, row->kv, row->bits_per_weight, size_text(a, row->weight_bytes),
            size_text(b, gpus ? row->gpu_planned : row->host_planned),
            gpus || row->host_peak ? size_text(c, gpus ? row->gpu_peak : row->host_peak) : "?");
    fprintf(to, "%7.2f %8s %8s %9.3f ± %-7.3f", row->load_seconds, rate_text(p, row->prefill), rate_text(d, row->decode),
            f->perplexity, f->perplexity_error);
    if (!reference)
        fprintf(to, " %8s ± %-7s %8s %8s %8s %6.2f %% %6.2f %%", small_text(k[0], f->kl.mean), small_text(k[1], f->kl.error),
                small_text(k[2], f->kl_median), small_text(k[3], f->kl_99), small_text(p, f->kl_most), 100 * f->same_top.mean,
                100 * f->rms_dp);
    fputc('\n', to);
}

void compare_print_table(const compare_report *r, FILE *to) {
    char kept[32], name[40];
    bool gpus = r->n_gpus > 0;
    fprintf(to, "%s: %.1f million parameters.  Text %s: %zu of %zu tokens in %zu windows of %d, %zu predicted.\n", r->model,
            (double)r->n_params * 1e-6, r->text, r->n_tokens, r->text_tokens, r->n_windows, r->window, r->n_scored);
    fprintf(to, "KL is KL(reference || mode) in nats a token.  Logits kept of the reference: %s.  %d threads, %s%s.\n\n",
            size_text(kept, r->kept_bytes), r->n_threads, r->isa, gpus ? "; memory is that of the GPUs" : "");
    int width = 11;
    for (int32_t i = 0; i < r->n_rows; i++)
        if ((int)strlen(r->rows[i].quant) > width) width = (int)strlen(r->rows[i].quant);
    fprintf(to, "%-*s %-5s %6s %9s %9s %9s %7s %8s %8s %-19s %-18s %8s %8s %8s %8s %8s\n", width, "mode", "KV", "bits/w", "weights",
            "planned", "peak", "load s", "prefill", "decode", "  perplexity", "  mean KL", "median", "99 %", "max", "same top",
            "RMS dp");
    snprintf(name, sizeof name, "ref %s", r->reference.quant);
    print_row(&r->reference, name, width, gpus, true, to);
    for (int32_t i = 0; i < r->n_rows; i++) print_row(&r->rows[i], r->rows[i].quant, width, gpus, false, to);
    for (int32_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].n_fell_back)
            fprintf(to, "%s%s: %d tensors fell back, as their rows do not divide into its blocks: %s\n", i ? "" : "\n",
                    r->rows[i].quant, r->rows[i].n_fell_back, r->rows[i].fell_back);
}

/* ---- JSON ---- */

static void text_field(FILE *to, const char *name, const char *text) {
    fprintf(to, ", \"%s\": ", name);
    json_string(to, text, strlen(text));
}

static void number_field(FILE *to, const char *name, double value) {
    fprintf(to, ", \"%s\": ", name);
    json_number(to, value);
}

static void size_field(FILE *to, const char *name, uint64_t value) {
    fprintf(to, ", \"%s\": %llu", name, (unsigned long long)value);
}

static void print_layers_json(const compare_row *row, int32_t n_layers, FILE *to) {
    fputs(", \"layer_errors\": [", to);
    for (int32_t i = 0; i < n_layers && row->layer_errors[0] >= 0; i++) {
        if (i) fputs(", ", to);
        json_number(to, (double)row->layer_errors[i]);
    }
    fputc(']', to);
}

static void print_row_json(const compare_row *row, bool reference, int32_t n_layers, FILE *to) {
    const figures *f = &row->figures;
    fprintf(to, "{\"quant\": \"%s\", \"kv\": \"%s\"", row->quant, row->kv);
    if (row->file[0]) text_field(to, "file", row->file);
    if (row->failed) {
        text_field(to, "error", row->failure);
        fputc('}', to);
        return;
    }
    number_field(to, "bits_per_weight", row->bits_per_weight);
    size_field(to, "weight_bytes", row->weight_bytes);
    text_field(to, "formats", row->formats);
    size_field(to, "tensors_fell_back", (uint64_t)row->n_fell_back);
    text_field(to, "fell_back", row->fell_back);
    size_field(to, "host_planned_bytes", row->host_planned);
    if (row->host_peak)
        size_field(to, "host_peak_bytes", row->host_peak);
    else
        fputs(", \"host_peak_bytes\": null", to);
    size_field(to, "gpu_planned_bytes", row->gpu_planned);
    size_field(to, "gpu_peak_bytes", row->gpu_peak);
    number_field(to, "load_seconds", row->load_seconds);
    number_field(to, "prefill_tokens_per_second", row->prefill);
    number_field(to, "decode_tokens_per_second", row->decode);
    size_field(to, "n", f->n);
    number_field(to, "perplexity", f->perplexity);
    number_field(to, "perplexity_error", f->perplexity_error);
    if (!reference) {
        number_field(to, "ln_perplexity_ratio", f->ln_ratio.mean);
        number_field(to, "ln_perplexity_ratio_error", f->ln_ratio.error);
        number_field(to, "kl_mean", f->kl.mean);
        number_field(to, "kl_mean_error", f->kl.error);
        number_field(to, "kl_median", f->kl_median);
        number_field(to, "kl_99", f->kl_99);
        number_field(to, "kl_max", f->kl_most);
        number_field(to, "same_top", f->same_top.mean);
        number_field(to, "same_top_error", f->same_top.error);
        number_field(to, "rms_dp", f->rms_dp);
        print_layers_json(row, n_layers, to);
    }
    fputc('}', to);
}

void compare_print_json(const compare_report *r, FILE *to) {
    fputs("{\"model\": ", to);
    json_string(to, r->model, strlen(r->model));
    text_field(to, "family", r->family);
    size_field(to, "n_params", r->n_params);
    size_field(to, "n_vocab", (uint64_t)r->n_vocab);
    text_field(to, "cpu_isa", r->isa);
    size_field(to, "threads", (uint64_t)r->n_threads);
    size_field(to, "gpus", (uint64_t)r->n_gpus);
    text_field(to, "text", r->text);
    size_field(to, "text_bytes", r->text_bytes);
    size_field(to, "text_tokens", r->text_tokens);
    size_field(to, "tokens", r->n_tokens);
    size_field(to, "predicted_tokens", r->n_scored);
    size_field(to, "windows", r->n_windows);
    size_field(to, "window", (uint64_t)r->window);
    size_field(to, "kept_bytes", r->kept_bytes);
    size_field(to, "layer_tokens", (uint64_t)r->layer_tokens);
    fputs(", \"reference\": ", to);
    print_row_json(&r->reference, true, 0, to);
    fputs(", \"modes\": [", to);
    for (int32_t i = 0; i < r->n_rows; i++) {
        if (i) fputs(", ", to);
        print_row_json(&r->rows[i], false, r->n_layers, to);
    }
    fputs("]}\n", to);
}
