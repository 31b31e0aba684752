/* The strict JSON reader and the flat key-values of config.json.                                                     */
#include <math.h>

#include "loaders/json.h"
#include "tests/model_files.h"

static llmrun_status parse(const char *text, size_t n) {
    char *exact = malloc(n ? n : 1);
    if (n) memcpy(exact, text, n);
    cJSON *json;
    llmrun_status status = lr_json_parse(&json, exact, n, 1000, "t.json", &err);
    assert_true((status == LLMRUN_OK) == (json != NULL));
    lr_json_close(json);
    free(exact);
    return status;
}

static void json_accepts(void **state) {
    (void)state;
    static const char *const good[] = {
        "{}", "[]", "0", "-0", " 1 ", "1.5e+3", "1E9", "-0.0", "\"\"", "null", "true", "[false]",
        "\t{\r\n\"a\" : [ ] }",
        "\"\\ud83d\\ude00\"", "\"\\u0001\\n\\/\\b\\f\\r\\t\\\\\\\"\"", "\"\x7f\"", "[[],[[]],{},{\"a\":{}}]",
        "\"\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"", "1e400",
        "{\"a\":1,\"A\":2,\"b\":{\"a\":1}}", "[{\"x\":1},{\"x\":1}]",
        "123456789012345678901234567890123456789012345678901234567890123",
    };
    for (size_t i = 0; i < LR_COUNT(good); i++) EXPECT_OK(parse(good[i], strlen(good[i])));
}

static void json_refuses(void **state) {
    (void)state;
    static const struct { const char *text, *words; } row[] = {
        { "", "expected a value, got the end at byte 0" },
        { "  ", "got the end at byte 2" },
        { "\xef\xbb\xbf{}", "expected a value at byte 0" },
        { "{", "expected a key" }, { "[", "expected a value" }, { "[1", "',' or ']'" }, { "[1,", "expected a value" },
        { "[1,]", "expected a value at byte 3" }, { "{\"a\":1,}", "expected a key at byte 7" },
        { "{\"1\":1,", "expected a key, got the end" }, { "{a:1}", "expected a key" }, { "{\"a\"1}", "expected ':'" },
        { "{\"a\":}", "expected a value" }, { "{\"a\":1]", "',' or '}'" }, { "[1}", "',' or ']'" },
        { "[1 2]", "',' or ']'" }, { "1 2", "expected the end" }, { "{}}", "expected the end" }, { "]", "a value" },
        { "01", "leading zero" }, { "-01", "leading zero" }, { "-", "a digit" }, { "+1", "a value" },
        { ".5", "a value" },
        { "1.", "a digit" }, { "1.e2", "a digit" }, { "1e", "a digit" }, { "1e+", "a digit" }, { "0x10", "the end" },
        { "NaN", "NaN and Infinity are not JSON" }, { "Infinity", "NaN and Infinity" }, { "-Infinity", "a digit" },
        { "tru", "a value" }, { "nul", "a value" }, { "True", "a value" }, { "truex", "the end" },
        { "\"", "end of a string" }, { "\"\\", "an escape" }, { "\"\\x\"", "an escape" }, { "\"\\u12\"", "four hex" },
        { "\"\\u12g4\"", "four hex" }, { "\"\\u\"", "four hex" }, { "\"\\u0000\"", "u0000" },
        { "\"\\ud800\"", "surrogate" }, { "\"\\udc00\"", "surrogate" }, { "\"\\ud800\\ud800\"", "surrogate" },
        { "\"\\ud800x\"", "surrogate" }, { "\"a\nb\"", "control character" }, { "\"\t\"", "control character" },
        { "\"\x80\"", "invalid UTF-8 at byte 1" }, { "\"\xc0\x80\"", "invalid UTF-8 at byte 1" },
        { "\"\xc3\"", "invalid UTF-8 at byte 1" }, { "\"\xe0\x9f\xbf\"", "invalid UTF-8" },
        { "\"\xed\xa0\x80\"", "invalid UTF-8 at byte 1" }, { "\"\xf0\x8f\xbf\xbf\"", "invalid UTF-8" },
        { "\"\xf4\x90\x80\x80\"", "invalid UTF-8" }, { "\"\xf5\"", "invalid UTF-8" }, { "\"12345678\xff", "at byte 9" },
        { "\xe2\x82", "invalid UTF-8 at byte 0" },
        { "{\"a\":1,\"b\":2,\"a\":3}", "\"a\" defined twice" }, { "{\"a\":1,\"\\u0061\":3}", "\"a\" defined twice" },
        { "1234567890123456789012345678901234567890123456789012345678901234", "number of 64 characters at byte 0" },
        { "\v1", "a value" }, { "/**/1", "a value" },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        EXPECT_FAIL(parse(row[i].text, strlen(row[i].text)), LLMRUN_FORMAT, row[i].words);
        assert_ptr_equal(strstr(err.message, "t.json: "), err.message);
    }
    EXPECT_FAIL(parse("[\0]", 3), LLMRUN_FORMAT, "a value");
    EXPECT_FAIL(parse("\"a\0\"", 4), LLMRUN_FORMAT, "control character");
    EXPECT_FAIL(parse("{}\0", 3), LLMRUN_FORMAT, "the end of the document");
}

static void json_bounds(void **state) {
    (void)state;
    static const struct { const char *open, *close; } kind[] = {
        { "[", "]" }, { "{\"a\":", "}" }, { "[{\"a\":", "}]" }
    };
    static const size_t depths[] = { 63, 64, 65, 1000, 1000000 };
    for (size_t k = 0; k < LR_COUNT(kind); k++)
        for (size_t i = 0; i < LR_COUNT(depths); i++) {
            size_t per = k == 2 ? 2 : 1, times = depths[i] / per;
            lr_text t = { 0 };
            for (size_t d = 0; d < times; d++) lr_text_add_bytes(&t, kind[k].open, strlen(kind[k].open));
            lr_text_add_bytes(&t, "1", 1);
            for (size_t d = 0; d < times; d++) lr_text_add_bytes(&t, kind[k].close, strlen(kind[k].close));
            if (times * per <= LR_JSON_DEPTH)
                EXPECT_OK(parse(t.text, t.n));
            else
                EXPECT_FAIL(parse(t.text, t.n), LLMRUN_FORMAT, "nesting deeper than 64");
            lr_free(t.text);
        }
    lr_text many = { 0 }, digits = { 0 };
    lr_text_add(&many, "[1");
    for (int i = 0; i < 1000; i++) lr_text_add(&many, ",1");
    lr_text_add(&many, "]");
    for (int i = 0; i < 1000000; i++) lr_text_add_bytes(&digits, "9", 1);
    EXPECT_FAIL(parse(many.text, many.n), LLMRUN_FORMAT, "more than 1000 JSON values");
    EXPECT_FAIL(parse(digits.text, digits.n), LLMRUN_FORMAT, "number of 1000000 characters");
    lr_free(many.text);
    lr_free(digits.text);
    char *dir = new_directory();
    cJSON *json;
    write_text(dir, "t.json", "[1,2,3]");
    EXPECT_OK(lr_json_read(&json, path_in(dir, "t.json"), 7, 4, &err));
    assert_int_equal(cJSON_GetArraySize(json), 3);
    lr_json_close(json);
    EXPECT_FAIL(lr_json_read(&json, path_in(dir, "t.json"), 6, 4, &err), LLMRUN_FORMAT, "at most 6 bytes, got 7");
    assert_null(json);
    remove_tree(dir);
}

/* ---- config ---- */

static llmrun_status read_config(lr_config *c, const char *text) {
    char *dir = new_directory();
    write_text(dir, "config.json", text);
    llmrun_status status = lr_config_read(c, path_in(dir, "config.json"), &err);
    remove_tree(dir);
    return status;
}

static void config_flattens(void **state) {
    (void)state;
    lr_config c;
    EXPECT_OK(read_config(&c,
                          "{\"n\":3,\"x\":1.5,\"t\":true,\"f\":false,\"z\":null,\"s\":\"h\xc3\xa9\",\"e\":{},\"l\":[],"
                          "\"text_config\":{\"rope\":{\"factor\":8}},\"a\":[1,\"two\",{\"k\":4},[5]]}"));
    static const struct { const char *key; lr_value_type type; double number; const char *string; } want[] = {
        { "n", LR_VALUE_NUMBER, 3, NULL }, { "x", LR_VALUE_NUMBER, 1.5, NULL }, { "t", LR_VALUE_BOOL, 1, NULL },
        { "f", LR_VALUE_BOOL, 0, NULL }, { "z", LR_VALUE_NULL, 0, NULL }, { "s", LR_VALUE_STRING, 0, "h\xc3\xa9" },
        { "l", LR_VALUE_ARRAY, 0, NULL }, { "text_config.rope.factor", LR_VALUE_NUMBER, 8, NULL },
        { "a", LR_VALUE_ARRAY, 4, NULL }, { "a.0", LR_VALUE_NUMBER, 1, NULL }, { "a.1", LR_VALUE_STRING, 0, "two" },
        { "a.2.k", LR_VALUE_NUMBER, 4, NULL }, { "a.3", LR_VALUE_ARRAY, 1, NULL },
        { "a.3.0", LR_VALUE_NUMBER, 5, NULL },
    };
    assert_int_equal(c.n_values, LR_COUNT(want));
    for (size_t i = 0; i < LR_COUNT(want); i++) {
        const lr_value *v = lr_config_find(&c, want[i].key);
        if (!v) fail_msg("%s is missing", want[i].key);
        assert_int_equal(v->type, want[i].type);
        assert_true(v->number == want[i].number);
        if (want[i].string) assert_string_equal(v->string, want[i].string);
    }
    assert_null(lr_config_find(&c, "e"));
    assert_null(lr_config_find(&c, "N"));
    assert_string_equal(lr_config_string(&c, "a.1"), "two");
    assert_null(lr_config_string(&c, "n"));
    assert_true(lr_config_bool(&c, "t", false));
    assert_false(lr_config_bool(&c, "f", true));
    assert_true(lr_config_bool(&c, "z", true));
    assert_true(lr_config_bool(&c, "n", true));
    lr_config_close(&c);
    assert_null(lr_config_find(&c, "n"));
}

static void config_integers(void **state) {
    (void)state;
    static const struct { const char *text; int64_t lo, hi, want; bool ok; } row[] = {
        { "1", 1, 1048576, 1, true }, { "1048576", 1, 1048576, 1048576, true }, { "1e3", 1, 1048576, 1000, true },
        { "2.0", 1, 9, 2, true }, { "0", 1, 9, 0, false }, { "10", 1, 9, 0, false }, { "-1", 0, 9, 0, false },
        { "-1", -1, 9, -1, true }, { "0.5", 0, 9, 0, false }, { "1e400", 0, INT64_MAX, 0, false },
        { "-1e400", INT64_MIN, 9, 0, false }, { "9007199254740991", 0, INT64_MAX, 9007199254740991, true },
        { "9007199254740992", 0, INT64_MAX, 0, false }, { "9007199254740993", 0, INT64_MAX, 0, false },
        { "9223372036854775807", 0, INT64_MAX, 0, false }, { "9223372036854775808", 0, INT64_MAX, 0, false },
        { "-9223372036854775808", INT64_MIN, INT64_MAX, 0, false }, { "2147483647", 0, INT32_MAX, INT32_MAX, true },
        { "2147483648", 0, INT32_MAX, 0, false }, { "4294967297", 0, INT32_MAX, 0, false }, { "true", 0, 9, 0, false },
        { "\"1\"", 0, 9, 0, false }, { "[]", 0, 9, 0, false }, { "[1]", 0, 9, 0, false }, { "{}", 0, 9, 0, false },
        { "null", 0, 9, 0, false }, { "-0", 0, 9, 0, true },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        char text[64];
        lr_config c;
        int64_t out = -77;
        snprintf(text, sizeof text, "{\"hidden_size\":%s}", row[i].text);
        EXPECT_OK(read_config(&c, text));
        if (row[i].ok) {
            EXPECT_OK(lr_config_int(&c, "hidden_size", row[i].lo, row[i].hi, INT64_MIN, &out, &err));
            assert_int_equal(out, row[i].want);
        } else {
            int64_t required = row[i].lo == INT64_MIN ? INT64_MIN : row[i].lo - 1;
            if (row[i].lo == INT64_MIN && strcmp(row[i].text, "null") == 0) continue;
            EXPECT_FAIL(lr_config_int(&c, "hidden_size", row[i].lo, row[i].hi, required, &out, &err), LLMRUN_FORMAT,
                        "\"hidden_size\" must be an integer ");
            assert_int_equal(out, -77);
        }
        lr_config_close(&c);
    }
    lr_config c;
    int64_t out;
    EXPECT_OK(read_config(&c, "{\"a\":\"one\",\"z\":null}"));
    EXPECT_FAIL(lr_config_int(&c, "a", 1, 1024, 7, &out, &err), LLMRUN_FORMAT,
                "\"a\" must be an integer 1..1024, got \"one\"");
    EXPECT_FAIL(lr_config_int(&c, "b", 1, 1048576, 0, &out, &err), LLMRUN_FORMAT,
                "\"b\" must be an integer 1..1048576, got nothing");
    EXPECT_OK(lr_config_int(&c, "b", 1, 9, 5, &out, &err));
    assert_int_equal(out, 5);
    EXPECT_OK(lr_config_int(&c, "z", 1, 9, 6, &out, &err));
    assert_int_equal(out, 6);
    lr_config_close(&c);
}

static void config_numbers(void **state) {
    (void)state;
    lr_config c;
    double out = -77;
    EXPECT_OK(read_config(&c, "{\"eps\":1e-5,\"zero\":0,\"neg\":-2,\"huge\":1e400,\"s\":\"1\",\"t\":true}"));
    EXPECT_OK(lr_config_number(&c, "eps", NAN, &out, &err));
    assert_true(out == 1e-5);
    EXPECT_OK(lr_config_number(&c, "none", 0.25, &out, &err));
    assert_true(out == 0.25);
    EXPECT_OK(lr_config_number(&c, "neg", 0, &out, &err));
    assert_true(out == -2);
    static const char *const bad[] = { "zero", "neg", "huge", "s", "t", "none" };
    for (size_t i = 0; i < LR_COUNT(bad); i++)
        EXPECT_FAIL(lr_config_number(&c, bad[i], NAN, &out, &err), LLMRUN_FORMAT, "must be a finite number > 0, got ");
    EXPECT_FAIL(lr_config_number(&c, "huge", 0, &out, &err), LLMRUN_FORMAT, "must be a finite number, got inf");
    assert_true(out == -2);
    lr_config_close(&c);
}

static void config_refuses(void **state) {
    (void)state;
    static const struct { const char *text, *words; } row[] = {
        { "", "expected a value" }, { "[]", "expected a JSON object" }, { "3", "expected a JSON object" },
        { "{\"a\":1,\"a\":2}", "\"a\" defined twice" }, { "{\"a\":{\"b\":1,\"b\":2}}", "\"a.b\" defined twice" },
        { "{\"a.b\":1,\"a\":{\"b\":2}}", "\"a.b\" defined twice" }, { "{\"hidden_size\":NaN}", "NaN and Infinity" },
        { "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer" },
    };
    lr_config c;
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        EXPECT_FAIL(read_config(&c, row[i].text), LLMRUN_FORMAT, row[i].words);
        assert_null(c.values);
        assert_null(c.path);
    }
    /* A long key over a long array would fill memory with copies of the key. */
    lr_text t = { 0 };
    lr_text_add(&t, "{\"");
    for (int i = 0; i < 2000; i++) lr_text_add(&t, "k");
    lr_text_add(&t, "\":[1,2,3]}");
    EXPECT_FAIL(read_config(&c, t.text), LLMRUN_FORMAT, "key of 2000 bytes, at most 1024");
    lr_free(t.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_accepts),    cmocka_unit_test(json_refuses),   cmocka_unit_test(json_bounds),
        cmocka_unit_test(config_flattens), cmocka_unit_test(config_integers), cmocka_unit_test(config_numbers),
        cmocka_unit_test(config_refuses),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
