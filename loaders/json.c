/* The strict JSON reader of json.h: one loop over the bytes that keeps a stack of open brackets, then cJSON.         */
#include "loaders/json.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/json_scan.h"
#include "loaders/loader.h"

/* ---- UTF-8 ---- */

/* Offset of the first byte that is not UTF-8, n if there is none.                                                    */
static size_t utf8_end(const uint8_t *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        if (n - i >= sizeof eight) {
            memcpy(&eight, s + i, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        size_t k = lr_utf8_length((const char *)s + i, n - i);
        if (k == 0) break;
        i += k;
    }
    return i;
}

/* ---- grammar ---- */

typedef struct scanner {
    const uint8_t *s;
    size_t n, i, values, max_values;
    const char *where;
    llmrun_error *err;
} scanner;

static llmrun_status unexpected(scanner *p, const char *expected) {
    if (p->i >= p->n)
        return lr_fail(p->err, LLMRUN_FORMAT, "%s: expected %s, got the end at byte %zu; cut short?", p->where,
                       expected, p->i);
    char got[8];
    lr_printable(got, sizeof got, (const char *)p->s + p->i, 1);
    return lr_fail(p->err, LLMRUN_FORMAT, "%s: expected %s at byte %zu, got '%s'", p->where, expected, p->i, got);
}

static void skip_space(scanner *p) {
    while (p->i < p->n && (p->s[p->i] == ' ' || p->s[p->i] == '\n' || p->s[p->i] == '\r' || p->s[p->i] == '\t')) p->i++;
}

static bool digit(const scanner *p) { return p->i < p->n && p->s[p->i] >= '0' && p->s[p->i] <= '9'; }

/* The four hex digits of a \u escape at i, -1 if they are not there.                                                 */
static int32_t hex4(const scanner *p, size_t i) {
    int32_t v = 0;
    if (p->n - i < 4) return -1;
    for (size_t k = i; k < i + 4; k++) {
        uint8_t c = p->s[k], lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v * 16 + (lower - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* After the backslash.  \u0000 is refused because C strings end there; half a surrogate pair is not a character.     */
static llmrun_status escape(scanner *p) {
    if (p->i >= p->n || p->s[p->i] == 0 || !strchr("\"\\/bfnrtu", p->s[p->i])) return unexpected(p, "an escape");
    if (p->s[p->i++] != 'u') return LLMRUN_OK;
    int32_t v = hex4(p, p->i);
    if (v < 0) return unexpected(p, "four hex digits");
    if (v == 0) return unexpected(p, "no \\u0000 in a string");
    p->i += 4;
    if (v < 0xd800 || v > 0xdfff) return LLMRUN_OK;
    bool pair = v < 0xdc00 && p->n - p->i >= 6 && p->s[p->i] == '\\' && p->s[p->i + 1] == 'u';
    int32_t low = pair ? hex4(p, p->i + 2) : -1;
    if (low < 0xdc00 || low > 0xdfff) return unexpected(p, "both halves of a surrogate pair");
    p->i += 6;
    return LLMRUN_OK;
}

static llmrun_status string(scanner *p) {
    p->i++;
    while (p->i < p->n) {
        uint8_t c = p->s[p->i];
        if (c < 0x20) return unexpected(p, "no control character in a string");
        p->i++;
        if (c == '"') return LLMRUN_OK;
        llmrun_status s = c == '\\' ? escape(p) : LLMRUN_OK;
        if (s) return s;
    }
    return unexpected(p, "the end of a string");
}

static llmrun_status number(scanner *p) {
    size_t start = p->i;
    if (p->s[p->i] == '-') p->i++;
    if (!digit(p)) return unexpected(p, "a digit");
    if (p->s[p->i] == '0')
        p->i++;
    else
        while (digit(p)) p->i++;
    if (digit(p)) return unexpected(p, "no digit after a leading zero");
    if (p->i < p->n && p->s[p->i] == '.') {
        p->i++;
        if (!digit(p)) return unexpected(p, "a digit");
        while (digit(p)) p->i++;
    }
    if (p->i < p->n && (p->s[p->i] | 0x20) == 'e') {
        p->i++;
        if (p->i < p->n && (p->s[p->i] == '+' || p->s[p->i] == '-')) p->i++;
        if (!digit(p)) return unexpected(p, "a digit");
        while (digit(p)) p->i++;
    }
    if (p->i - start > LR_JSON_NUMBER)
        return lr_fail(p->err, LLMRUN_FORMAT, "%s: number of %zu characters at byte %zu, at most %d", p->where,
                       p->i - start, start, (int)LR_JSON_NUMBER);
    return LLMRUN_OK;
}

static llmrun_status literal(scanner *p) {
    static const char *const words[] = { "true", "false", "null" };
    for (size_t k = 0; k < LR_COUNT(words); k++) {
        size_t length = strlen(words[k]);
        if (p->n - p->i < length || memcmp(p->s + p->i, words[k], length) != 0) continue;
        p->i += length;
        return LLMRUN_OK;
    }
    if (p->s[p->i] == 'N' || p->s[p->i] == 'I') return unexpected(p, "a value (NaN and Infinity are not JSON)");
    return unexpected(p, "a value");
}

static llmrun_status scalar(scanner *p) {
    if (p->i >= p->n) return unexpected(p, "a value");
    uint8_t c = p->s[p->i];
    return c == '"' ? string(p) : c == '-' || digit(p) ? number(p) : literal(p);
}

static llmrun_status member_name(scanner *p) {
    if (p->i >= p->n || p->s[p->i] != '"') return unexpected(p, "a key");
    llmrun_status s = string(p);
    if (s) return s;
    skip_space(p);
    if (p->i >= p->n || p->s[p->i] != ':') return unexpected(p, "':'");
    p->i++;
    skip_space(p);
    return LLMRUN_OK;
}

/* One document and nothing else.                                                                                     */
static llmrun_status document(scanner *p) {
    char closing[LR_JSON_DEPTH]; /* what ends each open object or array */
    size_t depth = 0;
    skip_space(p);
    do {
        /* Here a value starts, and ends unless it opens a container that is not empty. */
        if (++p->values > p->max_values)
            return lr_fail(p->err, LLMRUN_FORMAT, "%s: more than %zu JSON values", p->where, p->max_values);
        uint8_t c = p->i < p->n ? p->s[p->i] : 0;
        if (c == '{' || c == '[') {
            if (depth == LR_JSON_DEPTH)
                return lr_fail(p->err, LLMRUN_FORMAT, "%s: nesting deeper than %d at byte %zu", p->where,
                               (int)LR_JSON_DEPTH, p->i);
            closing[depth++] = c == '{' ? '}' : ']';
            p->i++;
            skip_space(p);
            if (p->i >= p->n || p->s[p->i] != (uint8_t)closing[depth - 1]) {
                llmrun_status s = c == '{' ? member_name(p) : LLMRUN_OK;
                if (s) return s;
                continue;
            }
            p->i++;
            depth--;
        } else {
            llmrun_status s = scalar(p);
            if (s) return s;
        }
        /* After a value: close what ends here, then a comma leads to the next one. */
        skip_space(p);
        while (depth > 0 && p->i < p->n && p->s[p->i] == (uint8_t)closing[depth - 1]) {
            depth--;
            p->i++;
            skip_space(p);
        }
        if (depth > 0) {
            if (p->i >= p->n || p->s[p->i] != ',')
                return unexpected(p, closing[depth - 1] == '}' ? "',' or '}'" : "',' or ']'");
            p->i++;
            skip_space(p);
            llmrun_status s = closing[depth - 1] == '}' ? member_name(p) : LLMRUN_OK;
            if (s) return s;
        }
    } while (depth > 0);
    return p->i < p->n ? unexpected(p, "the end of the document") : LLMRUN_OK;
}

/* ---- tree ---- */

static llmrun_status check(const void *text, size_t n, size_t max_values, const char *where, llmrun_error *err) {
    size_t good = utf8_end(text, n);
    if (good < n) return lr_fail(err, LLMRUN_FORMAT, "%s: invalid UTF-8 at byte %zu", where, good);
    return document(&(scanner){ .s = text, .n = n, .max_values = max_values, .where = where, .err = err });
}

llmrun_status lr_json_check(const void *text, size_t n, const char *where, llmrun_error *err) {
    return check(text, n, SIZE_MAX, where, err);
}

static void set_hooks(void) { cJSON_InitHooks(&(cJSON_Hooks){ .malloc_fn = lr_alloc, .free_fn = lr_free }); }

llmrun_status lr_json_parse(cJSON **out, const void *text, size_t n, size_t max_values, const char *where,
                            llmrun_error *err) {
    static pthread_once_t hooks_once = PTHREAD_ONCE_INIT; /* cJSON's allocator is process-wide */
    *out = NULL;
    llmrun_status status = check(text, n, max_values, where, err);
    if (status) return status;
    pthread_once(&hooks_once, set_hooks);
    cJSON *json = cJSON_ParseWithLengthOpts(text, n, NULL, false);
    if (!json) return lr_fail_nomem(err, where, n);
    status = cJSON_IsObject(json) ? lr_json_unique(json, where, err) : LLMRUN_OK;
    if (status)
        cJSON_Delete(json);
    else
        *out = json;
    return status;
}

llmrun_status lr_json_read(cJSON **out, const char *path, size_t max_bytes, size_t max_values, llmrun_error *err) {
    *out = NULL;
    lr_map m;
    llmrun_status status = lr_map_open(&m, path, false, err);
    if (status) return status;
    if (m.size > max_bytes)
        status = lr_fail(err, LLMRUN_FORMAT, "%s: expected at most %zu bytes, got %llu", path, max_bytes,
                         (unsigned long long)m.size);
    else
        status = lr_json_parse(out, m.data, (size_t)m.size, max_values, path, err);
    lr_map_close(&m);
    return status;
}

void lr_json_close(cJSON *json) { cJSON_Delete(json); }

const cJSON *lr_json_get(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

bool lr_json_int(const cJSON *item, int64_t lo, int64_t hi, int64_t *out) {
    if (!cJSON_IsNumber(item)) return false;
    double v = item->valuedouble;
    if (!(fabs(v) <= (double)LR_JSON_MAX_INT) || v != floor(v)) return false;
    int64_t whole = (int64_t)v;
    if (whole < lo || whole > hi) return false;
    *out = whole;
    return true;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

llmrun_status lr_json_unique(const cJSON *object, const char *where, llmrun_error *err) {
    size_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, object) n++;
    const char **names = lr_zalloc(n + 1, sizeof *names);
    if (!names) return lr_fail_nomem(err, where, n * sizeof *names);
    size_t k = 0;
    cJSON_ArrayForEach(item, object) names[k++] = item->string;
    qsort(names, n, sizeof *names, compare_names);
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 1; i < n && !status; i++) {
        char name[128];
        if (strcmp(names[i - 1], names[i]) == 0)
            status = lr_fail(err, LLMRUN_FORMAT, "%s: \"%s\" defined twice", where,
                             lr_printable(name, sizeof name, names[i], strlen(names[i])));
    }
    lr_free(names);
    return status;
}

const char *lr_json_describe(char *buf, size_t size, const cJSON *item) {
    if (!item)
        snprintf(buf, size, "nothing");
    else if (cJSON_IsString(item)) {
        char text[64];
        snprintf(buf, size, "\"%s\"", lr_printable(text, sizeof text, item->valuestring, strlen(item->valuestring)));
    } else if (cJSON_IsNumber(item))
        snprintf(buf, size, "%.17g", item->valuedouble);
    else
        snprintf(buf, size, "%s",
                 cJSON_IsObject(item)  ? "an object"
                 : cJSON_IsArray(item) ? "an array"
                 : cJSON_IsNull(item)  ? "null"
                 : cJSON_IsTrue(item)  ? "true"
                                       : "false");
    return buf;
}
