/* Chat templates: equal to transformers' apply_chat_template for the goldens of tests/golden/make_chat_goldens.py, bounded
 * whatever the template does, clear about what is wrong, and exact about which bytes came from the conversation.       */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "loaders/json.h"
#include "runtime/jinja.h"

#define GOLDENS "tests/golden/chat/goldens.json"

static llmrun_error err;

static lr_jinja_variable json_variable(const char *name, const char *text, bool content) {
    return (lr_jinja_variable){.name = name, .text = text, .n_bytes = strlen(text), .json = true, .content = content};
}

static lr_jinja_variable text_variable(const char *name, const char *text) {
    return (lr_jinja_variable){.name = name, .text = text, .n_bytes = strlen(text)};
}

/* ---- goldens ---- */

static cJSON *goldens;

static const char *string_of(const char *object, const char *key) {
    const cJSON *item = lr_json_get(lr_json_get(goldens, object), key);
    if (!cJSON_IsString(item)) fail_msg("%s: no %s.%s", GOLDENS, object, key);
    return item->valuestring;
}

static const char *text_at(const cJSON *index) {
    return index->valueint < 0 ? NULL : cJSON_GetArrayItem(lr_json_get(goldens, "texts"), index->valueint)->valuestring;
}

/* Renders and compares; want NULL: it must be refused.                                                                 */
static void expect_text(const lr_jinja_job *job, const char *what, const char *want) {
    lr_text out = {0}, marks = {0};
    memset(&err, 0, sizeof err);
    llmrun_status status = lr_jinja_render(job, &out, &marks, &err);
    if (want && status) fail_msg("%s: %s", what, err.message);
    if (!want && !status) fail_msg("%s: expected a refusal, got: %s", what, out.text);
    if (!want && !strstr(err.message, "line ")) fail_msg("%s: no line in: %s", what, err.message);
    if (!status) assert_int_equal(marks.n, out.n);
    if (want && (out.n != strlen(want) || (out.n && memcmp(out.text, want, out.n) != 0))) {
        size_t i = 0;
        while (i < out.n && out.text[i] == want[i]) i++;
        fail_msg("%s: differs at byte %zu:\n--- expected\n%s\n--- got\n%.*s", what, i, want, (int)out.n, out.text);
    }
    lr_free(out.text);
    lr_free(marks.text);
}

static void conversations_render_as_in_transformers(void **state) {
    (void)state;
    const cJSON *c;
    size_t n = 0;
    cJSON_ArrayForEach(c, lr_json_get(goldens, "cases")) {
        const cJSON *field[7];
        for (int i = 0; i < 7; i++) field[i] = cJSON_GetArrayItem(c, i);
        const char *source = string_of("templates", field[0]->valuestring);
        lr_jinja_variable v[] = {
            json_variable("messages", string_of("conversations", field[1]->valuestring), true),
            json_variable("tools", cJSON_IsTrue(field[3]) ? lr_json_get(goldens, "tools")->valuestring : "null", true),
            json_variable("documents", "null", false),
            json_variable("add_generation_prompt", cJSON_IsTrue(field[4]) ? "true" : "false", false),
            text_variable("bos_token", "<s>"),
            text_variable("eos_token", "</s>"),
            json_variable(NULL, cJSON_IsString(field[2]) ? field[2]->valuestring : "{}", true),
        };
        lr_jinja_job job = {.where = "template", .source = source, .n_source = strlen(source), .variables = v,
                            .n_variables = LR_COUNT(v), .open_end = cJSON_IsTrue(field[5]),
                            .unix_time = (int64_t)lr_json_get(goldens, "time")->valuedouble};
        char what[256];
        snprintf(what, sizeof what, "%s, %s, case %zu", field[0]->valuestring, field[1]->valuestring, n++);
        expect_text(&job, what, text_at(field[6]));
    }
    assert_true(n > 300);
}

static void snippets_render_as_in_jinja2(void **state) {
    (void)state;
    const cJSON *c;
    size_t n = 0;
    lr_jinja_variable v = json_variable(NULL, lr_json_get(goldens, "snippet_variables")->valuestring, true);
    cJSON_ArrayForEach(c, lr_json_get(goldens, "snippets")) {
        const char *source = cJSON_GetArrayItem(c, 0)->valuestring;
        lr_jinja_job job = {.where = "snippet", .source = source, .n_source = strlen(source), .variables = &v,
                            .n_variables = 1, .unix_time = (int64_t)lr_json_get(goldens, "time")->valuedouble};
        expect_text(&job, source, text_at(cJSON_GetArrayItem(c, 1)));
        n++;
    }
    assert_true(n > 100);
}

/* ---- errors ---- */

static llmrun_status render(const char *source, const char *messages, lr_text *out, lr_text *marks) {
    lr_jinja_variable v[] = {json_variable("messages", messages ? messages : "[{\"role\": \"user\", \"content\": \"x\"}]", true)};
    lr_jinja_job job = {.where = "t", .source = source, .n_source = strlen(source), .variables = v, .n_variables = 1};
    memset(&err, 0, sizeof err);
    return lr_jinja_render(&job, out, marks, &err);
}

static void expect_error(const char *source, llmrun_status status, const char *text) {
    lr_text out = {0};
    llmrun_status got = render(source, NULL, &out, NULL);
    if (got != status || !strstr(err.message, text))
        fail_msg("%.200s: expected status %d with \"%s\", got %d: %s", source, status, text, got, err.message);
    lr_free(out.text);
}

static void errors_name_the_line_and_the_reason(void **state) {
    (void)state;
    static const struct { const char *source; llmrun_status status; const char *text; } cases[] = {
        {"a\n{{ 1 + }}", LLMRUN_FORMAT, "t: line 2: expected an expression, got '}}'"},
        {"{% if x %}", LLMRUN_FORMAT, "line 1: expected endif, got the end of the template"},
        {"\n\n{% for %}{% endfor %}", LLMRUN_FORMAT, "line 3: expected a name"},
        {"{{ 'abc }}", LLMRUN_FORMAT, "a string that does not end"},
        {"{# abc", LLMRUN_FORMAT, "a comment that does not end"},
        {"{% raw %}abc", LLMRUN_FORMAT, "a raw block that does not end"},
        {"{{ (1] }}", LLMRUN_FORMAT, "unexpected ']'"},
        {"{{ ? }}", LLMRUN_FORMAT, "unexpected character '?'"},
        {"{{ x", LLMRUN_FORMAT, "unexpected end of the template, expected '}}'"},
        {"\xff", LLMRUN_FORMAT, "invalid UTF-8"},
        {"{% break %}", LLMRUN_FORMAT, "outside a loop"},
        {"{{ a.b }}", LLMRUN_FORMAT, "'a' is undefined, so it has no 'b'"},
        {"{{ messages + 1 }}", LLMRUN_FORMAT, "a list + an int is no operation"},
        {"{{ 1 // 0 }}", LLMRUN_FORMAT, "division by zero"},
        {"\n{{ raise_exception('not\nthis') }}", LLMRUN_ARG, "line 2: not?this"},
        {"{% include 'x' %}", LLMRUN_UNSUPPORTED, "the tag {% include %} is not supported"},
        {"{% do x %}", LLMRUN_UNSUPPORTED, "the tag {% do %}"},
        {"{{ x | batch(2) }}", LLMRUN_UNSUPPORTED, "the filter batch is not supported"},
        {"{{ x is escaped }}", LLMRUN_UNSUPPORTED, "the test escaped is not supported"},
        {"{{ messages.append(1) }}", LLMRUN_UNSUPPORTED, "the method append of a list is not supported"},
        {"{{ '%d' % 1 }}", LLMRUN_UNSUPPORTED, "% on a string"},
        {"{{ f(*x) }}", LLMRUN_UNSUPPORTED, "arguments with *"},
        {"{% for x in y recursive %}{% endfor %}", LLMRUN_UNSUPPORTED, "recursive loops"},
        {"{{ 9223372036854775807 + 1 }}", LLMRUN_UNSUPPORTED, "more than 64 bits"},
        {"{{ 9223372036854775808 }}", LLMRUN_UNSUPPORTED, "more than 63 bits"},
        {"{{ 'x' | tojson(indent='a') }}", LLMRUN_FORMAT, "expected an int, got a string"},
        {"{{ x | trim(characters='a') }}", LLMRUN_UNSUPPORTED, "the argument characters is not supported"},
    };
    for (size_t i = 0; i < LR_COUNT(cases); i++) expect_error(cases[i].source, cases[i].status, cases[i].text);
    lr_text out = {0};
    assert_int_equal(render("x", "{", &out, NULL), LLMRUN_FORMAT);
    assert_int_equal(render("x", "{}", &out, NULL), LLMRUN_FORMAT);
    assert_int_equal(render("x", "[1]", &out, NULL), LLMRUN_FORMAT);
    assert_int_equal(render("x", "[]", &out, NULL), LLMRUN_ARG);
    assert_int_equal(render("x", "[{\"role\": \"user\", \"n\": 18446744073709551616}]", &out, NULL), LLMRUN_UNSUPPORTED);
    assert_null(out.text);
}

/* ---- limits ---- */

/* head, unit n times, tail.                                                                                            */
static char *repeat(const char *head, const char *unit, size_t n, const char *tail) {
    lr_text t = {0};
    lr_text_add(&t, "%s", head);
    for (size_t i = 0; i < n; i++) lr_text_add(&t, "%s", unit);
    lr_text_add(&t, "%s", tail);
    assert_false(t.failed);
    return t.text;
}

static void hostile_templates_end(void **state) {
    (void)state;
    static const char *const templates[] = {
        "{% for i in range(1000000000) %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
        "{{ 'x' * 1000000000000 }}",
        "{{ ('x' * 100000 * 100000) | length }}",
        "{{ [1] * 1000000000 }}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(99999) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for a in range(99999) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[]) %}{% for a in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[]) %}{% for a in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s | tojson }}",
        "{% set ns = namespace(s=[]) %}{% for a in range(9999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s == [ns.s] }}",
        "{% set ns = namespace(s={}) %}{% for a in range(99999) %}{% set ns.s = {'a': ns.s, 'b': ns.s} %}{% endfor %}{{ ns.s | tojson }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro a() %}{{ b() }}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{{ 7 ** 1000000000 }}",
        "{{ (2 ** 62) * 2 }}",
        "{{ -9223372036854775807 - 2 }}",
        "{{ ('a' * 90000).replace('', 'b' * 90000) }}",
        "{{ ('a,' * 90000).split(',') | join('x' * 90000) }}",
        "{% set x = ('ab' * 500000) %}{% for a in range(99999) %}{{ x.count('ba') }}{% endfor %}",
        "{% set x = ('a' * 1000000) %}{% for a in range(99999) %}{% if x.rfind('a' * 1000 ~ 'b') == 3 %}{% endif %}{% endfor %}",
        "{% set x = ('a' * 1000000) %}{% for a in range(99999) %}{{ x.strip('b' * 100000) | length }}{% endfor %}",
        "{% set x = range(99999) | list %}{% for a in range(99999) %}{% if a in x %}{% endif %}{% endfor %}",
        "{% set x = range(99999) | list %}{{ x | unique | list | length }}",
        "{% for a in range(99999) %}{% set x = range(99999) | sort(reverse=true) %}{% endfor %}",
        "{{ [1, 2] | tojson(indent=1000000000) }}",
        "{{ 'a\nb' | indent(1000000000) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ range(1, 99999, 1) | map('string') | map('upper') | map('tojson') | join(',' * 99999) }}",
        "{% for a in range(99999) %}{% for b in messages %}{{ b | tojson }}{% endfor %}{% endfor %}",
        "{{ 1.5 | round(1000000000) }}",
        "{% set ns = namespace(x=1) %}{% for a in range(99999) %}{% set ns.x = ns.x * 1.5 %}{% endfor %}{{ ns.x | int }}{{ ns.y.z }}",
    };
    for (size_t i = 0; i < LR_COUNT(templates); i++) {
        lr_text out = {0};
        llmrun_status status = render(templates[i], NULL, &out, NULL);
        if (status != LLMRUN_UNSUPPORTED && status != LLMRUN_FORMAT)
            fail_msg("%s: status %d: %s", templates[i], status, err.message);
        lr_free(out.text);
    }
    static const struct { const char *head, *unit, *tail; } deep[] = {
        {"{{ ", "(", "1"}, {"{{ ", "[", "1"}, {"{{ ", "{1:", "1"}, {"{{ ", "- ", "1 }}"}, {"{{ ", "not ", "1 }}"},
        {"{{ 1", " + 1", " }}"}, {"{{ x", "|upper", " }}"}, {"{{ x", ".y", " }}"}, {"{{ x", "[0]", " }}"},
        {"{{ x", "()", " }}"}, {"{{ 1", " if 1 else 1", " }}"}, {"{{ 1", " and 1", " }}"}, {"{{ 1", " is defined", " }}"},
        {"", "{% if 1 %}", ""}, {"", "{% for x in y %}", ""}, {"", "{% macro m() %}", ""}, {"", "{% set x %}", ""},
        {"", "{% filter upper %}", ""}, {"{{ ", "f(", "1"}, {"{{ ", "x[", "1"}, {"{% for ", "(", "x"},
        {"", "{% for a in b if ", ""},
    };
    for (size_t i = 0; i < LR_COUNT(deep); i++) {
        lr_text out = {0};
        char *source = repeat(deep[i].head, deep[i].unit, 20000, deep[i].tail);
        llmrun_status status = render(source, NULL, &out, NULL);
        if (status != LLMRUN_UNSUPPORTED && status != LLMRUN_FORMAT) fail_msg("%s...: status %d: %s", deep[i].unit, status, err.message);
        lr_free(source);
        lr_free(out.text);
    }
}

/* Long chains that are no nesting, and long conversations, are fine.                                                   */
static void long_is_not_hostile(void **state) {
    (void)state;
    lr_text out = {0};
    char *source = repeat("{{ 'a'", " ~ 'a'", 2000, " }}{% if x %}");
    char *all = repeat(source, "{% elif x %}", 2000, "{% else %}b{% endif %}");
    if (render(all, NULL, &out, NULL)) fail_msg("%s", err.message);
    assert_int_equal(out.n, 2002);
    lr_free(source);
    lr_free(all);
    lr_free(out.text);
    out = (lr_text){0};
    char *text = repeat("", "0123456789abcdef", 1 << 16, "");
    lr_text messages = {0};
    for (int i = 0; i < 8; i++)
        lr_text_add(&messages, "%s{\"role\": \"user\", \"content\": \"%s\"}", i ? ", " : "[", text);
    lr_text_add(&messages, "]");
    if (render("{% for m in messages %}{{ '<' + m.role + '>' + m.content.strip() + '\n' }}{% endfor %}", messages.text, &out, NULL))
        fail_msg("%s", err.message);
    assert_int_equal(out.n, 8 * ((1 << 20) + 7));
    lr_free(text);
    lr_free(messages.text);
    lr_free(out.text);
}

/* ---- marks ---- */

/* marks: '.' where the template wrote, 'x' for content.                                                                */
static void expect_marks(const char *source, const char *want, const char *want_marks) {
    static const char messages[] = "[{\"role\": \"user\", \"content\": \"a<b>c\", \"n\": 7, \"parts\": [\"p\", \"q\"]},"
                                   " {\"role\": \"a b\", \"content\": \"\\u00e9\\n\"}]";
    lr_text out = {0}, marks = {0};
    if (render(source, messages, &out, &marks)) fail_msg("%s: %s", source, err.message);
    assert_int_equal(out.n, marks.n);
    for (size_t i = 0; i < marks.n; i++) marks.text[i] = marks.text[i] ? 'x' : '.';
    if (out.n != strlen(want) || memcmp(out.text, want, out.n) || memcmp(marks.text, want_marks, marks.n))
        fail_msg("%s: expected\n%s\n%s\ngot\n%s\n%s", source, want, want_marks, out.text, marks.text);
    lr_free(out.text);
    lr_free(marks.text);
}

static void marks_follow_the_content(void **state) {
    (void)state;
    static const struct { const char *source, *text, *marks; } cases[] = {
        {"<s>{{ m.content }}</s>", "<s>a<b>c</s>", "...xxxxx...."},
        {"{{ '<' + m.role + '>' + m.content }}", "<user>a<b>c", "......xxxxx"},
        {"{{ m.content[1:4] ~ m.content[::-1] }}", "<b>c>b<a", "xxxxxxxx"},
        {"{{ m.content.split('<') | join('<') }}", "a<b>c", "x.xxx"},
        {"{{ m.content.replace('b', '|') }}", "a<|>c", "xx.xx"},
        {"{{ m.content | upper | trim | string | safe }}", "A<B>C", "xxxxx"},
        {"{{ m.content | escape }}", "a&lt;b&gt;c", "xxxxxxxxxxx"},
        {"{{ m.content | tojson }}", "\"a<b>c\"", ".xxxxx."},
        {"{{ m | tojson }}", "{\"role\": \"user\", \"content\": \"a<b>c\", \"n\": 7, \"parts\": [\"p\", \"q\"]}",
         "..xxxx............xxxxxxx....xxxxx....x.......xxxxx.....x....x..."},
        {"{{ [m.content] }}", "['a<b>c']", "..xxxxx.."},
        {"{% set x %}<{{ m.content }}>{% endset %}{{ x }}", "<a<b>c>", ".xxxxx."},
        {"{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(m.content) }}", "<a<b>c>", ".xxxxx."},
        {"{% filter indent(1, first=true) %}{{ m.content }}\nz{% endfilter %}", " a<b>c\n z", ".xxxxx..."},
        {"{% for c in m.content %}{{ c }}.{% endfor %}", "a.<.b.>.c.", "x.x.x.x.x."},
        {"{% for k, v in m.items() %}{{ k[0] }}{% endfor %}", "rcnp", "xxxx"},
        {"{{ m.parts | join('-') }}{{ m.parts | map('upper') | list | last }}", "p-qQ", "x.xx"},
        {"{{ messages[1].role }}", "a b", "xxx"},
        {"{{ messages[1].content | tojson }}", "\"\xc3\xa9\\n\"", ".xxxx."},
        {"{{ messages[1].content | title }}{{ m.content.partition is defined }}", "\xc3\x89\nTrue", "xxx...."},
        {"{{ 'x' * 2 }}{{ m.content * 2 }}", "xxa<b>ca<b>c", "..xxxxxxxxxx"},
        {"{{ m.content.strip('ac') }}{{ m.content[-1] }}{{ m.content | first }}", "<b>ca", "xxxxx"},
        {"{{ m.n }}", "7", "."},
    };
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        char source[256];
        snprintf(source, sizeof source, "{%% set m = messages[0] %%}%s", cases[i].source);
        expect_marks(source, cases[i].text, cases[i].marks);
    }
}

/* ---- memory ---- */

static long n_until_failure;

static void *failing(void *user, void *old, size_t size) {
    (void)user;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return n_until_failure-- == 1 ? NULL : realloc(old, size);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    const char *source = string_of("templates", "macros"), *messages = string_of("conversations", "call");
    long n = 0;
    for (llmrun_status status = LLMRUN_NOMEM; status; n++) {
        lr_text out = {0}, marks = {0};
        n_until_failure = n + 1;
        llmrun_set_allocator(failing, NULL);
        status = render(source, messages, &out, &marks);
        lr_free(out.text);
        lr_free(marks.text);
        llmrun_set_allocator(NULL, NULL);
        if (status) assert_int_equal(status, LLMRUN_NOMEM);
        if (status && !strstr(err.message, "memory")) fail_msg("unclear: %s", err.message);
    }
    assert_true(n > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_render_as_in_transformers),
        cmocka_unit_test(snippets_render_as_in_jinja2),
        cmocka_unit_test(errors_name_the_line_and_the_reason),
        cmocka_unit_test(hostile_templates_end),
        cmocka_unit_test(long_is_not_hostile),
        cmocka_unit_test(marks_follow_the_content),
        cmocka_unit_test(every_allocation_may_fail),
    };
    setenv("TZ", "UTC", 1);
    if (lr_json_read(&goldens, GOLDENS, 4 << 20, 1 << 20, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lr_json_close(goldens);
    return failed;
}
