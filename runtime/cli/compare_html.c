/* The page of llmrun compare: one file that needs nothing else, light or dark as the reader's system is, with the table,
 * two plots over the size of the weights, and the layers' errors (compare_html_layers.c).                             */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/compare.h"

/* ---- plots ---- */

enum { WIDTH = 480, HEIGHT = 340, LEFT = 62, RIGHT = 16, TOP = 16, BOTTOM = 48, MOST_POINTS = MOST_COMPARE_ROWS + 1,
       LETTER = 8, LINE = 15 };

typedef struct point {
    char name[48];
    double x, y;     /* data */
    double px, py;   /* page */
} point;

typedef struct plot {
    const char *title, *x_name, *y_name;
    bool log_y, low_is_good; /* of y; of x low is always good */
    point points[MOST_POINTS];
    int n;
    double x0, x1, y0, y1;   /* of the axes; y0, y1 are powers of ten where log_y */
} plot;

typedef struct box {
    double x, y, w, h;
} box;

static bool overlap(const box *a, const box *b) {
    return a->x < b->x + b->w && b->x < a->x + a->w && a->y < b->y + b->h && b->y < a->y + a->h;
}

/* 1, 2 or 5 times a power of ten, so that about four steps span the range.                                            */
static double nice_step(double range) {
    double power = pow(10, floor(log10(range / 4))), share = range / 4 / power;
    return power * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
}

/* From the top of the page down: names are placed in this order, so that a cluster's names stand in the order of its points. */
static int by_height(const void *a, const void *b) {
    double x = ((const point *)a)->py, y = ((const point *)b)->py;
    return (x > y) - (x < y);
}

static void set_axes(plot *p) {
    double x_most = 0, y_most = 0, low = 99, high = -99;
    for (int i = 0; i < p->n; i++) {
        x_most = fmax(x_most, p->points[i].x);
        y_most = fmax(y_most, p->points[i].y);
        if (p->log_y) low = fmin(low, log10(p->points[i].y)), high = fmax(high, log10(p->points[i].y));
    }
    p->x0 = p->y0 = 0;
    p->x1 = x_most * 1.12;
    p->y1 = y_most * 1.12;
    if (p->log_y) p->y0 = floor(low - 0.2), p->y1 = ceil(high + 0.2);
    for (int i = 0; i < p->n; i++) {
        point *q = &p->points[i];
        double y = p->log_y ? log10(q->y) : q->y;
        q->px = LEFT + (q->x - p->x0) / (p->x1 - p->x0) * (WIDTH - LEFT - RIGHT);
        q->py = HEIGHT - BOTTOM - (y - p->y0) / (p->y1 - p->y0) * (HEIGHT - TOP - BOTTOM);
    }
    qsort(p->points, (size_t)p->n, sizeof *p->points, by_height);
}

static void print_axes(const plot *p, FILE *to) {
    double right = WIDTH - RIGHT, floor_y = HEIGHT - BOTTOM, step = nice_step(p->x1 - p->x0);
    for (double x = p->x0; x <= p->x1; x += step) {
        double at = LEFT + (x - p->x0) / (p->x1 - p->x0) * (right - LEFT);
        fprintf(to, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                    "text-anchor=\"middle\">%g</text>\n", at, at, TOP, floor_y, at, floor_y + 18, x);
    }
    step = p->log_y ? fmax(1, ceil((p->y1 - p->y0) / 7)) : nice_step(p->y1 - p->y0);
    for (double y = p->y0; y <= p->y1 + 1e-9; y += step) {
        double at = floor_y - (y - p->y0) / (p->y1 - p->y0) * (floor_y - TOP);
        fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" "
                    "text-anchor=\"end\">", LEFT, right, at, at, LEFT - 6, at + 4);
        fprintf(to, p->log_y ? "1e%.0f</text>\n" : "%g</text>\n", y);
    }
    fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (LEFT + right) / 2, HEIGHT - 8, p->x_name);
    fprintf(to, "<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", (TOP + floor_y) / 2,
            p->y_name);
}

static bool dominated(const plot *p, int i) {
    const point *a = &p->points[i];
    for (int j = 0; j < p->n; j++) {
        const point *b = &p->points[j];
        double gain = p->low_is_good ? a->y - b->y : b->y - a->y;
        if (j != i && b->x <= a->x && gain >= 0 && (b->x < a->x || gain > 0)) return true;
    }
    return false;
}

/* The line through what nothing else beats in both respects.                                                          */
static void print_frontier(const plot *p, FILE *to) {
    double last = -1;
    fprintf(to, "<polyline class=\"best\" points=\"");
    for (;;) {
        int next = -1;
        for (int i = 0; i < p->n; i++)
            if (p->points[i].px > last && !dominated(p, i) && (next < 0 || p->points[i].px < p->points[next].px)) next = i;
        if (next < 0) break;
        last = p->points[next].px;
        fprintf(to, "%.1f,%.1f ", p->points[next].px, p->points[next].py);
    }
    fprintf(to, "\"/>\n");
}

/* Puts each name at the first of some places around its point where it covers nothing.                                */
static void print_names(const plot *p, FILE *to) {
    static const struct { int side, down; } places[] = { { 1, -1 }, { 1, 0 }, { -1, 0 }, { 1, 1 }, { -1, -1 }, { -1, 1 },
                                                         { 1, -2 }, { 1, 2 }, { -1, -2 }, { -1, 2 }, { 1, -3 }, { 1, 3 },
                                                         { -1, -3 }, { -1, 3 }, { 1, -4 }, { 1, 4 }, { -1, -4 }, { -1, 4 } };
    enum { N_PLACES = sizeof places / sizeof places[0] };
    box taken[2 * MOST_POINTS];
    int n = 0;
    for (int i = 0; i < p->n; i++) taken[n++] = (box){ p->points[i].px - 5, p->points[i].py - 5, 10, 10 };
    for (int i = 0; i < p->n; i++) {
        const point *q = &p->points[i];
        double w = (double)(LETTER * strlen(q->name));
        box at = { 0 };
        for (int k = 0; k < N_PLACES; k++) {
            at = (box){ places[k].side > 0 ? q->px + 9 : q->px - 9 - w, q->py - LINE / 2.0 + places[k].down * LINE, w, LINE };
            bool free = at.x >= LEFT && at.x + w <= WIDTH && at.y >= TOP && at.y + LINE <= HEIGHT - BOTTOM;
            for (int j = 0; j < n && free; j++) free = !overlap(&at, &taken[j]);
            if (free) break;
        }
        taken[n++] = at;
        bool left = at.x < q->px;
        fprintf(to, "<line class=\"lead\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", q->px, q->py,
                left ? at.x + w + 1 : at.x - 1, at.y + LINE / 2.0);
        fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/><text class=\"name\" x=\"%.1f\" y=\"%.1f\"%s>%s</text>\n", q->px,
                q->py, left ? at.x + w : at.x, at.y + 12, left ? " text-anchor=\"end\"" : "", q->name);
    }
}

static void print_plot(plot *p, FILE *to) {
    if (!p->n) return;
    set_axes(p);
    fprintf(to, "<figure><figcaption>%s</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", p->title,
            WIDTH, HEIGHT, p->title);
    print_axes(p, to);
    print_frontier(p, to);
    print_names(p, to);
    fprintf(to, "</svg></figure>\n");
}

static void add_point(plot *p, const compare_row *row, bool reference, double unit, double y) {
    if (row->failed || !(y > 0)) return;
    point *q = &p->points[p->n++];
    bool plain = reference || strcmp(row->kv, "f16") == 0;
    snprintf(q->name, sizeof q->name, "%s%s%s%s", row->quant, reference ? " (ref)" : "", plain ? "" : " KV ", plain ? "" : row->kv);
    q->x = (double)row->weight_bytes / unit;
    q->y = y;
}

/* ---- the page ---- */

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--line:#d8dde3;--page:#fff;--dot:#0b62c4;--best:#d1600a}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3adb8;--line:#343b44;--page:#14171b;--dot:#6fb1ff;"
    "--best:#ffa657}}\n"
    "body{margin:0 auto;max-width:1160px;padding:16px;font:15px/1.5 system-ui,sans-serif;color:var(--ink);"
    "background:var(--page)}\n"
    "h1{font-size:1.4em;margin:.4em 0;overflow-wrap:anywhere}p{color:var(--soft);max-width:75ch;overflow-wrap:anywhere}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px}figure{margin:0}\n"
    "figcaption{font-weight:600}svg{width:100%;max-width:600px;height:auto;display:block}svg text{font-size:14px;"
    "fill:var(--soft)}svg .name{fill:var(--ink);paint-order:stroke;stroke:var(--page);"
    "stroke-width:3px}\n"
    ".grid{stroke:var(--line)}.lead{stroke:var(--soft);stroke-width:.7}.best{fill:none;stroke:var(--best);stroke-width:2}"
    "circle{fill:var(--dot)}\n"
    ".scroll{overflow-x:auto;margin-top:16px}table{border-collapse:collapse;font-variant-numeric:tabular-nums;"
    "white-space:nowrap}\n"
    "th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line)}th:first-child,td:first-child{"
    "text-align:left;position:sticky;left:0;background:var(--page)}td.why{text-align:left}\n"
    "h2{font-size:1.1em;margin:1.4em 0 0}.layers{width:100%;max-width:760px}.layers .strip{width:55%;min-width:100px;"
    "padding:4px 0}.layers th,.layers td{padding:4px 6px}.layers svg{max-width:none;height:20px}\n"
    ".ends{display:flex;justify-content:space-between;font-weight:400}.layers rect,.scale rect{fill:var(--dot)}"
    ".scale{max-width:420px}\n";

/* Text in HTML.                                                                                                       */
static void print_text(const char *text, FILE *to) {
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", to);
        else if (*text == '&')
            fputs("&amp;", to);
        else
            fputc(*text, to);
    }
}

static void print_row(const compare_row *row, bool reference, bool gpus, FILE *to) {
    char size[32];
    const figures *f = &row->figures;
    fprintf(to, "<tr><td>%s%s<td>%s", row->quant, reference ? " (reference)" : "", row->kv);
    if (row->failed) {
        fprintf(to, "<td class=\"why\" colspan=\"14\">");
        print_text(row->failure, to);
        fputc('\n', to);
        return;
    }
    fprintf(to, "<td>%.2f<td>%s", row->bits_per_weight, size_text(size, row->weight_bytes));
    fprintf(to, "<td>%s", size_text(size, gpus ? row->gpu_planned : row->host_planned));
    uint64_t peak = gpus ? row->gpu_peak : row->host_peak;
    fprintf(to, "<td>%s", peak ? size_text(size, peak) : "?");
    fprintf(to, "<td>%.2f s<td>%.*f<td>%.*f<td>%.3f ± %.3f", row->load_seconds, row->prefill < 100, row->prefill,
            row->decode < 100, row->decode, f->perplexity,
            f->perplexity_error);
    if (reference)
        fprintf(to, "<td><td><td><td><td><td>\n");
    else
        fprintf(to, "<td>%.2g ± %.1g<td>%.2g<td>%.2g<td>%.2g<td>%.2f %%<td>%.2f %%\n", f->kl.mean, f->kl.error, f->kl_median,
                f->kl_99, f->kl_most, 100 * f->same_top.mean, 100 * f->rms_dp);
}

static void print_table(const compare_report *r, FILE *to) {
    static const char *const heads[] = { "weights", "KV", "bits/weight", "size", "memory planned", "peak", "load", "prefill tok/s",
                                         "decode tok/s", "perplexity", "mean KL", "median", "99 %", "max", "same top token",
                                         "RMS change of p" };
    fprintf(to, "<div class=\"scroll\"><table><tr>");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) fprintf(to, "<th>%s", heads[i]);
    fputc('\n', to);
    print_row(&r->reference, true, r->n_gpus > 0, to);
    for (int32_t i = 0; i < r->n_rows; i++) print_row(&r->rows[i], false, r->n_gpus > 0, to);
    fprintf(to, "</table></div>\n");
    for (int32_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].n_fell_back)
            fprintf(to, "<p>%s: %d tensors fell back, as their rows do not divide into its blocks: %s.</p>\n", r->rows[i].quant,
                    r->rows[i].n_fell_back, r->rows[i].fell_back);
}

void compare_print_html(const compare_report *r, FILE *to) {
    char size[32];
    bool gigabytes = r->reference.weight_bytes >= 1000000000;
    double unit = gigabytes ? 1e9 : 1e6;
    plot loss = { .title = "What is lost: mean KL divergence", .x_name = gigabytes ? "weights, GB" : "weights, MB",
                  .y_name = "mean KL, nats a token (log)", .log_y = true, .low_is_good = true };
    plot speed = { .title = "What is gained: decode speed", .x_name = loss.x_name, .y_name = "decode, tokens/s" };
    for (int32_t i = 0; i < r->n_rows; i++) {
        add_point(&loss, &r->rows[i], false, unit, r->rows[i].figures.kl.mean);
        add_point(&speed, &r->rows[i], false, unit, r->rows[i].decode);
    }
    add_point(&speed, &r->reference, true, unit, r->reference.decode);
    fprintf(to, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
                "content=\"width=device-width,initial-scale=1\">\n<title>llmrun compare</title>\n<style>\n%s</style></head><body>\n<h1>",
            style);
    print_text(r->model, to);
    fprintf(to, "</h1>\n<p>%s, %.4g million parameters. Text: ", r->family, (double)r->n_params * 1e-6);
    print_text(r->text, to);
    fprintf(to, ", %zu of %zu tokens in %zu windows of %d, %zu of them predicted. KL divergence is from the reference to the "
                "mode, in nats a token; ± is the standard error. %d threads, %s; llmrun %s kept %s of the reference's logits. "
                "The line in each plot joins the modes that no other beats in both respects.</p>\n<div class=\"plots\">\n",
            r->n_tokens, r->text_tokens, r->n_windows, r->window, r->n_scored, r->n_threads, r->isa, llmrun_version(),
            size_text(size, r->kept_bytes));
    print_plot(&loss, to);
    print_plot(&speed, to);
    fprintf(to, "</div>\n");
    print_table(r, to);
    compare_print_layers(r, to);
    fprintf(to, "</body></html>\n");
}
