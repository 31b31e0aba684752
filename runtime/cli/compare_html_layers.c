/* The picture of the layers' errors on the page of llmrun compare: a strip for each mode, darker where a layer errs more,
 * on one logarithmic scale for all.                                                                                   */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/compare.h"

/* Powers of ten that all errors lie between.                                                                          */
typedef struct scale {
    double low, high;
} scale;

static bool has_layers(const compare_row *row) { return !row->failed && row->layer_errors[0] >= 0; }

static scale scale_of(const compare_report *r) {
    scale s = { 99, -99 };
    for (int32_t i = 0; i < r->n_rows; i++)
        for (int32_t l = 0; l < r->n_layers && has_layers(&r->rows[i]); l++) {
            double e = (double)r->rows[i].layer_errors[l];
            if (e > 0) s.low = fmin(s.low, log10(e)), s.high = fmax(s.high, log10(e));
        }
    return (scale){ floor(s.low), ceil(s.high) };
}

/* How dark: what is not 0 can be seen.                                                                                */
static double shade(const scale *s, double error) {
    if (!(error > 0)) return 0;
    return s->high > s->low ? 0.08 + 0.92 * (log10(error) - s->low) / (s->high - s->low) : 1;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_strip(const compare_row *row, const scale *s, int32_t n, FILE *to) {
    float sorted[MOST_COMPARE_LAYERS];
    int32_t worst = 0;
    memcpy(sorted, row->layer_errors, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    fprintf(to, "<tr><td>%s%s%s<td class=\"strip\"><svg viewBox=\"0 0 %d 1\" preserveAspectRatio=\"none\" role=\"img\" "
                "aria-label=\"errors of the layers, %s\">", row->quant, strcmp(row->kv, "f16") == 0 ? "" : " KV ",
            strcmp(row->kv, "f16") == 0 ? "" : row->kv, n, row->quant);
    for (int32_t l = 0; l < n; l++) {
        double e = (double)row->layer_errors[l];
        if (e > (double)row->layer_errors[worst]) worst = l;
        fprintf(to, "<rect x=\"%d.04\" width=\".92\" height=\"1\" opacity=\"%.3f\"><title>layer %d: %.2g</title></rect>", l,
                shade(s, e), l, e);
    }
    fprintf(to, "</svg><td>%.2g<td>%.2g (%d)\n", (double)sorted[n / 2], (double)row->layer_errors[worst], worst);
}

static void print_scale(const scale *s, FILE *to) {
    enum { STEPS = 24 };
    fprintf(to, "<div class=\"scale\"><svg viewBox=\"0 0 %d 1\" preserveAspectRatio=\"none\" style=\"height:12px;max-width:none\" "
                "aria-hidden=\"true\">", STEPS);
    for (int i = 0; i < STEPS; i++)
        fprintf(to, "<rect x=\"%d\" width=\"1\" height=\"1\" opacity=\"%.3f\"/>", i, 0.08 + 0.92 * i / (STEPS - 1));
    fprintf(to, "</svg><div class=\"ends\"><span>1e%.0f</span><span>relative error (log)</span><span>1e%.0f</span></div></div>\n",
            s->low + 0.0, s->high + 0.0); /* no -0 */
}

void compare_print_layers(const compare_report *r, FILE *to) {
    scale s = scale_of(r);
    if (!r->n_layers || s.low > s.high) return; /* not measured, or no errors at all */
    fprintf(to, "<h2>Error of each layer by itself</h2>\n<p>Each layer is given what the reference had before it, so errors do "
                "not add up: the picture says which layers suffer from a mode. An error is the distance between what the "
                "layer adds to the residual stream and what the reference's adds, relative to the latter, over the first %d "
                "tokens of the text. Embedding and head are left out.</p>\n<div class=\"scroll\"><table class=\"layers\"><tr>"
                "<th>mode<th class=\"strip\"><div class=\"ends\"><span>layer 0</span><span>%d</span></div><th>median<th>worst "
                "(layer)\n", r->layer_tokens, r->n_layers - 1);
    for (int32_t i = 0; i < r->n_rows; i++)
        if (has_layers(&r->rows[i])) print_strip(&r->rows[i], &s, r->n_layers, to);
    fprintf(to, "</table></div>\n");
    print_scale(&s, to);
}
