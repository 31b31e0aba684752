/* Strict values of options: the whole text is a number in its range, or a sentence says what is wrong.                */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/cli/cli.h"

const char *parse_integer(const char *text, int64_t lo, int64_t hi, int64_t *out) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    bool digits = (text[0] >= '0' && text[0] <= '9') || ((text[0] == '-' || text[0] == '+') && text[1]);
    if (!digits || *end || end == text) return "not an integer";
    if (errno == ERANGE || v < lo || v > hi) return v < lo ? "too small" : "too large";
    *out = v;
    return NULL;
}

const char *parse_integers(const char *text, int64_t lo, int64_t hi, cli_list *out) {
    char part[40];
    for (out->n = 0;; text++) {
        size_t length = strcspn(text, ",");
        int64_t value;
        if (out->n == MOST_LISTED || length >= sizeof part) return "not a list of at most 16 integers";
        snprintf(part, sizeof part, "%.*s", (int)length, text);
        const char *wrong = parse_integer(part, lo, hi, &value);
        if (wrong) return wrong;
        out->at[out->n++] = (int32_t)value;
        text += length;
        if (!*text) return NULL;
    }
}

/* Decimal notation only: no hexadecimal, inf or nan.                                                                  */
static bool parse_decimal(const char *text, double *out, char **end) {
    if (!strchr("0123456789.-+", text[0]) || strspn(text, "0123456789.-+eE") == 0) return false;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) return false;
    *out = strtod(text, end);
    return *end != text && isfinite(*out);
}

const char *parse_real(const char *text, double lo, double hi, double *out) {
    char *end;
    double v;
    if (!text[0] || !parse_decimal(text, &v, &end) || *end) return "not a number";
    if (v < lo || v > hi) return v < lo ? "too small" : "too large";
    *out = v;
    return NULL;
}

const char *parse_size(const char *text, uint64_t *out) {
    static const char units[] = "kmgt";
    char *end;
    double v;
    if (!text[0] || !parse_decimal(text, &v, &end)) return "not a size such as 8G, 1.5G or 512M";
    int power = 0;
    if (*end) {
        const char *unit = strchr(units, *end | 0x20);
        if (unit) {
            power = (int)(unit - units) + 1;
            end++;
        }
        if (strcasecmp(end, "") != 0 && strcasecmp(end, "b") != 0 && (!power || strcasecmp(end, "ib") != 0))
            return "not a size such as 8G, 1.5G or 512M";
    }
    v = ldexp(v, 10 * power);
    if (v < 1) return "a size must be positive";
    if (v >= ldexp(1, 60)) return "too large";
    *out = (uint64_t)v;
    return NULL;
}

const char *parse_sizes(const char *text, uint64_t out[LLMRUN_MAX_GPUS], int32_t *n) {
    char part[40];
    for (*n = 0;; text++) {
        size_t length = strcspn(text, ",");
        if (length >= sizeof part) return "not a list of sizes";
        if (*n == LLMRUN_MAX_GPUS) return "too many sizes";
        snprintf(part, sizeof part, "%.*s", (int)length, text);
        bool none = strcmp(part, "0") == 0 && (*n || text[length]); /* one of several is left out */
        const char *wrong = none ? NULL : parse_size(part, &out[*n]);
        if (wrong) return wrong;
        if (none) out[*n] = 0;
        ++*n;
        text += length;
        if (!*text) return NULL;
    }
}

/* One card without its count.  Rates are in units of 1e9 bytes/s, 1e12 flop/s and 1e9 bytes/s.                        */
static const char *parse_card(char *text, llmrun_card *out) {
    double *const rates[] = { &out->read_bytes_per_s, &out->flops_per_s, &out->link_bytes_per_s };
    static const double units[] = { 1e9, 1e12, 1e9 };
    char *rest = strchr(text, ':');
    if (rest) *rest++ = 0;
    const char *wrong = parse_size(text, &out->bytes);
    for (int i = 0; i < 3 && rest && !wrong; i++) {
        char *next = strchr(rest, ':');
        if (next) *next++ = 0;
        wrong = parse_real(rest, 1e-3, 1e9, rates[i]);
        *rates[i] *= units[i];
        rest = next;
    }
    return !wrong && rest ? "too many rates" : wrong;
}

const char *parse_cards(const char *text, llmrun_card out[LLMRUN_MAX_GPUS], int32_t *n) {
    char part[80];
    for (*n = 0;; text++) {
        size_t length = strcspn(text, ",");
        if (length >= sizeof part) return "not a list of GPUs such as 24G:936:71";
        snprintf(part, sizeof part, "%.*s", (int)length, text);
        char *times = strchr(part, 'x'), *card = times ? times + 1 : part;
        int64_t count = 1;
        if (times) *times = 0;
        const char *wrong = times ? parse_integer(part, 1, LLMRUN_MAX_GPUS, &count) : NULL;
        llmrun_card one = { 0 };
        if (!wrong) wrong = parse_card(card, &one);
        if (wrong) return wrong;
        if (*n + count > LLMRUN_MAX_GPUS) return "too many GPUs";
        while (count-- > 0) out[(*n)++] = one;
        text += length;
        if (!*text) return NULL;
    }
}

/* Optimal string alignment distance, three rows of the table at a time.                                               */
int word_distance(const char *a, const char *b) {
    enum { MOST = 40 };
    size_t na = strlen(a), nb = strlen(b);
    if (na > MOST || nb > MOST) return MOST;
    int rows[3][MOST + 1];
    for (size_t j = 0; j <= nb; j++) rows[0][j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[na % 3][nb];
}
