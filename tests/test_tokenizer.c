/* The tokenizer's rules on small vocabularies, and hostile tokenizer.json files with their messages.                  */
#include "tests/model_files.h"

#include "runtime/tokenizer_parts.h"

#define BYTES_ONLY "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
#define FUSED "\"decoder\":{\"type\":\"Fuse\"},"
#define SPLIT(pattern, behavior)                                                                                       \
    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"" behavior "\"},"
#define ADDED(fields) "\"added_tokens\":[{" fields "}],"
#define VOCAB "\"a\":0,\"b\":1,\"-\":2,\"ab\":3,\"a-\":4,\"-a\":5,\"--\":6"
#define MODEL(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define BPE MODEL(VOCAB, "\"a b\",\"a -\",\"- a\",\"- -\"")
#define UNIGRAM(unk, vocab) "\"model\":{\"type\":\"Unigram\",\"unk_id\":" unk ",\"vocab\":[" vocab "]}"
#define PRECOMPILED(map) "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":" map "},"

static llmrun_status parse(llmrun_tokenizer **t, const char *json) {
    size_t n = strlen(json);
    char *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, json, n);
    llmrun_status status = lr_tokenizer_parse(t, exact, n, "t.json", NULL, NULL, 0, &err);
    free(exact);
    return status;
}

static llmrun_tokenizer *open_json(const char *json) {
    llmrun_tokenizer *t;
    EXPECT_OK(parse(&t, json));
    return t;
}

/* The ids as "1 2 3".                                                                                                 */
static const char *encode_bytes(const llmrun_tokenizer *t, const char *text, size_t n, unsigned flags) {
    static char shown[1024];
    int32_t ids[128];
    size_t n_ids, at = 0;
    EXPECT_OK(llmrun_tokenize(t, text, n, flags, ids, LR_COUNT(ids), &n_ids, &err));
    assert_true(n_ids <= LR_COUNT(ids));
    shown[0] = 0;
    for (size_t i = 0; i < n_ids; i++) at += (size_t)sprintf(shown + at, i ? " %d" : "%d", (int)ids[i]);
    return shown;
}

static const char *encode(const llmrun_tokenizer *t, const char *text, unsigned flags) {
    return encode_bytes(t, text, strlen(text), flags);
}

/* ---- rules ---- */

static void split_behaviors(void **state) {
    static const struct {
        const char *json, *ids;
    } cases[] = {
        { "{" FUSED BPE "}", "4 5" }, /* a-, -a */
        { "{" FUSED SPLIT("{\"String\":\"-\"}", "Isolated") BPE "}", "0 2 2 0" },
        { "{" FUSED SPLIT("{\"Regex\":\"-\"}", "Removed") BPE "}", "0 0" },
        { "{" FUSED SPLIT("{\"Regex\":\"-\"}", "Contiguous") BPE "}", "0 6 0" },
        { "{" FUSED SPLIT("{\"Regex\":\"-\"}", "MergedWithPrevious") BPE "}", "4 2 0" },
        { "{" FUSED SPLIT("{\"Regex\":\"-\"}", "MergedWithNext") BPE "}", "0 2 5" },
    };
    (void)state;
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        llmrun_tokenizer *t = open_json(cases[i].json);
        assert_string_equal(encode(t, "a--a", 0), cases[i].ids);
        llmrun_tokenizer_close(t);
    }
}

static void special_tokens(void **state) {
    (void)state;
    llmrun_tokenizer *t = open_json("{" BYTES_ONLY ADDED("\"id\":7,\"content\":\"<|im_end|>\",\"special\":true") BPE "}");
    size_t n;
    assert_string_equal(encode(t, "ab<|im_end|>a", LLMRUN_PARSE_SPECIAL), "3 7 0");
    assert_string_equal(encode(t, "ab<|im_end|>a", 0), "3 0"); /* the small vocabulary lacks the other letters */
    assert_true(llmrun_token_is_end(t, 7));
    assert_false(llmrun_token_is_end(t, 0) || llmrun_token_is_end(t, -1) || llmrun_token_is_end(t, 8));
    assert_int_equal(llmrun_token_count(t), 8);
    assert_memory_equal(llmrun_token_text(t, 7, true, false, &n), "<|im_end|>", 10);
    assert_int_equal(n, 10);
    llmrun_token_text(t, 7, false, false, &n);
    assert_int_equal(n, 0);
    llmrun_token_text(t, 8, true, false, &n);
    assert_int_equal(n, 0);
    assert_int_equal(lr_tokenizer_bos(t), -1);
    llmrun_tokenizer_close(t);
}

static void counts_beyond_max(void **state) {
    (void)state;
    llmrun_tokenizer *t = open_json("{" BYTES_ONLY BPE "}");
    int32_t ids[2] = { -7, -7 };
    size_t n;
    EXPECT_OK(llmrun_tokenize(t, "bbb", 3, 0, ids, 1, &n, &err));
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], -7);
    EXPECT_OK(llmrun_tokenize(t, "bbb", 3, 0, NULL, 0, &n, &err));
    assert_int_equal(n, 3);
    EXPECT_OK(llmrun_tokenize(t, NULL, 0, LLMRUN_ADD_SPECIAL, NULL, 0, &n, &err));
    assert_int_equal(n, 0);
    EXPECT_FAIL(llmrun_tokenize(t, NULL, 1, 0, NULL, 0, &n, &err), LLMRUN_ARG, "NULL");
    EXPECT_FAIL(llmrun_tokenize(t, "", 1u << 30, 0, NULL, 0, &n, &err), LLMRUN_ARG, "1073741824 bytes");
    llmrun_tokenizer_close(t);
}

/* Each longest start of a valid sequence becomes one U+FFFD, as in Rust and Python.                                   */
static void invalid_utf8(void **state) {
    static const struct {
        const char *text;
        int count;
    } cases[] = { { "\xff", 1 },         { "\xc0\xaf", 2 }, { "\xf0\x9f", 1 },     { "\xf0\x9f\x91", 1 },
                  { "\xed\xa0\x80", 3 }, { "\xe4\xbd", 1 }, { "\xf4\x90\x80", 3 }, { "\x80\xe4", 2 } };
    (void)state;
    llmrun_tokenizer *t = open_json("{" FUSED MODEL("\"\xef\xbf\xbd\":0,\"a\":1", "") "}");
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        char text[32], want[32] = "1";
        snprintf(text, sizeof text, "a%sa", cases[i].text);
        for (int k = 0; k < cases[i].count; k++) strcat(want, " 0");
        assert_string_equal(encode(t, text, 0), strcat(want, " 1"));
    }
    assert_string_equal(encode_bytes(t, "a\0\xe4", 3, 0), "1 0"); /* NUL is a character that this vocabulary lacks */
    llmrun_tokenizer_close(t);
}

/* tokenizer_config.json says what is put around a text where tokenizer.json does not.                                 */
static void config_adds_bos(void **state) {
    (void)state;
    char *dir = new_directory();
    llmrun_tokenizer *t;
    write_text(dir, "tokenizer.json", "{" BYTES_ONLY ADDED("\"id\":7,\"content\":\"<s>\",\"special\":true") BPE "}");
    EXPECT_OK(llmrun_tokenizer_open(&t, dir, &err));
    assert_string_equal(encode(t, "a", LLMRUN_ADD_SPECIAL), "0");
    llmrun_tokenizer_close(t);
    write_text(dir, "tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"b\"}");
    EXPECT_OK(llmrun_tokenizer_open(&t, path_in(dir, "tokenizer.json"), &err));
    assert_string_equal(encode(t, "a", LLMRUN_ADD_SPECIAL), "7 0");
    assert_string_equal(encode(t, "a", 0), "0");
    assert_int_equal(lr_tokenizer_bos(t), 7);
    assert_true(llmrun_token_is_end(t, 1));
    llmrun_tokenizer_close(t);
    write_text(dir, "tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":\"<x>\"}");
    EXPECT_FAIL(llmrun_tokenizer_open(&t, dir, &err), LLMRUN_FORMAT, "add_bos_token is set, but bos_token is not in");
    assert_null(t);
    EXPECT_FAIL(llmrun_tokenizer_open(&t, path_in(dir, "absent"), &err), LLMRUN_IO, "absent");
    remove_tree(dir);
}

/* ---- hostile files ---- */

static void hostile_files(void **state) {
    static const struct {
        const char *json;
        llmrun_status status;
        const char *words;
    } cases[] = {
        { "", LLMRUN_FORMAT, "t.json" },
        { "[]", LLMRUN_FORMAT, "malformed at byte 0" },
        { "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[", LLMRUN_FORMAT, "t.json" },
        { "{" FUSED MODEL("", "") "}", LLMRUN_FORMAT, "model.vocab is empty" },
        { "{" FUSED MODEL("\"a\":0,\"a\":1", "") "}", LLMRUN_FORMAT, "token \"a\" has two ids, 0 and 1" },
        { "{" FUSED MODEL("\"a\":5,\"b\":5", "") "}", LLMRUN_FORMAT, "id 5 belongs to two tokens, \"a\" and \"b\"" },
        { "{" FUSED MODEL("\"a\":-1", "") "}", LLMRUN_FORMAT, "id -1 is not in 0..2097151" },
        { "{" FUSED MODEL("\"a\":2147483647", "") "}", LLMRUN_FORMAT, "id 2147483647 is not in 0..2097151" },
        { "{" FUSED MODEL("\"a\":1.5", "") "}", LLMRUN_FORMAT, "model.vocab: malformed at byte 5" },
        { "{" FUSED MODEL("\"\xff\":1", "") "}", LLMRUN_FORMAT, "model.vocab: malformed" },
        { "{" FUSED MODEL("\"\\ud800\":1", "") "}", LLMRUN_FORMAT, "model.vocab: malformed" },
        { "{" FUSED MODEL(VOCAB, "\"a b\",\"ab b\"") "}", LLMRUN_FORMAT, "merge 1 \"ab b\": token \"abb\" not in vocabulary" },
        { "{" FUSED MODEL(VOCAB, "[\"x\",\"b\"]") "}", LLMRUN_FORMAT, "merge 0 \"x b\": token \"x\" not in vocabulary" },
        { "{" FUSED MODEL(VOCAB, "\"ab\"") "}", LLMRUN_FORMAT, "model.merges: malformed" },
        { "{" FUSED MODEL(VOCAB, "[\"a\"]") "}", LLMRUN_FORMAT, "model.merges: malformed" },
        { "{" FUSED ADDED("\"id\":9,\"content\":\"\"") BPE "}", LLMRUN_FORMAT, "added_tokens[0].content is empty" },
        { "{" FUSED ADDED("\"id\":-1,\"content\":\"x\"") BPE "}", LLMRUN_FORMAT, "id is not an integer in 0.." },
        { "{" FUSED ADDED("\"id\":1,\"content\":\"x\"") BPE "}", LLMRUN_FORMAT, "id 1 belongs to another token" },
        { "{" FUSED ADDED("\"id\":1,\"content\":\"a\"") BPE "}", LLMRUN_FORMAT, "id 1, but model.vocab says 0" },
        { "{" FUSED ADDED("\"id\":8,\"content\":\"x\"},{\"id\":8,\"content\":\"y\"") BPE "}", LLMRUN_FORMAT,
          "\"y\": id 8 belongs to another token" },
        { "{" FUSED ADDED("\"id\":8,\"content\":\"x\"},{\"id\":9,\"content\":\"x\"") BPE "}", LLMRUN_FORMAT, "defined twice" },
        { "{\"decoder\":{\"type\":\"ByteFallback\"}," MODEL("\"<0x-1>\":0", "") "}", LLMRUN_FORMAT,
          "byte token \"<0x-1>\" is malformed" },
        { "{" FUSED "\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", LLMRUN_UNSUPPORTED, "model type \"WordPiece\"" },
        { "{" FUSED UNIGRAM("2", "[\"a\",0]") "}", LLMRUN_FORMAT, "model.unk_id: expected an id in 0..0" },
        { "{" FUSED UNIGRAM("-1", "[\"a\",0]") "}", LLMRUN_FORMAT, "model.unk_id: expected an id in 0..0" },
        { "{" FUSED UNIGRAM("null", "[\"a\",0]") "}", LLMRUN_UNSUPPORTED, "\"Unigram\" without unk_id" },
        { "{" FUSED UNIGRAM("0", "") "}", LLMRUN_FORMAT, "model.vocab is empty" },
        { "{" FUSED UNIGRAM("0", "[\"a\",1e999]") "}", LLMRUN_FORMAT, "model.vocab: malformed at byte" },
        { "{" FUSED UNIGRAM("0", "[\"a\"]") "}", LLMRUN_FORMAT, "model.vocab: malformed at byte" },
        { "{" FUSED UNIGRAM("0", "[\"a\",0],[\"a\",1]") "}", LLMRUN_FORMAT, "token \"a\" has two ids, 0 and 1" },
        { "{" FUSED PRECOMPILED("7") BPE "}", LLMRUN_FORMAT, "precompiled_charsmap: expected a string, got 7" },
        { "{" FUSED PRECOMPILED("\"AAA\"") BPE "}", LLMRUN_FORMAT, "malformed base 64" },
        { "{" FUSED PRECOMPILED("\"A?==\"") BPE "}", LLMRUN_FORMAT, "malformed base 64" },
        { "{" FUSED PRECOMPILED("\"AAAA\"") BPE "}", LLMRUN_FORMAT, "3 bytes with a trie of 0" },
        { "{" FUSED PRECOMPILED("\"/////wAAAAA=\"") BPE "}", LLMRUN_FORMAT, "8 bytes with a trie of 4294967295" },
        { "{" FUSED PRECOMPILED("\"BAAAAAAAAAD/\"") BPE "}", LLMRUN_FORMAT, "expected strings in UTF-8" },
        { "{" FUSED "\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," BPE "}", LLMRUN_UNSUPPORTED, "\"UnicodeScripts\"" },
        { "{" FUSED "\"post_processor\":{\"type\":\"Zzz\"}," BPE "}", LLMRUN_UNSUPPORTED, "post_processor type \"Zzz\"" },
        { "{\"decoder\":{\"type\":\"CTC\"}," BPE "}", LLMRUN_UNSUPPORTED, "decoder type \"CTC\"" },
        { "{" BPE "}", LLMRUN_UNSUPPORTED, "no decoder" },
        { "{" FUSED SPLIT("{\"Regex\":\"-\"}", "Sideways") BPE "}", LLMRUN_FORMAT, "behavior: expected Isolated, Removed" },
        { "{" FUSED "\"normalizer\":{\"type\":\"Strip\"},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\"},"
          BPE "}", LLMRUN_UNSUPPORTED, "prepend_scheme first after a normalizer that removes text" },
        { "{" FUSED SPLIT("{\"Regex\":7}", "Isolated") BPE "}", LLMRUN_FORMAT, "pattern: expected" },
    };
    (void)state;
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        llmrun_tokenizer *t;
        EXPECT_FAIL(parse(&t, cases[i].json), cases[i].status, cases[i].words);
        assert_null(t);
    }
}

static void long_added_token(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    char *json = malloc(N + 1000);
    llmrun_tokenizer *t;
    assert_non_null(json);
    size_t n = (size_t)sprintf(json, "{" FUSED "\"added_tokens\":[{\"id\":9,\"content\":\"");
    memset(json + n, 'x', N);
    strcpy(json + n + N, "\"}]," BPE "}");
    EXPECT_FAIL(parse(&t, json), LLMRUN_FORMAT, "added_tokens[0].content has 1048576 bytes, at most 256");
    free(json);
}

/* Patterns that PCRE2 would read otherwise than the file's author, or that can take exponential time.                 */
static void patterns_refused(void **state) {
    static const struct {
        const char *pattern, *words;
    } cases[] = {
        { "(a+)+$", "nested repeat" },       { "(?:a*b?){2,}", "nested repeat" }, { "((?:a|b+)c)*", "nested repeat" },
        { "a**", "nested repeat" },          { "a{2}{3}", "nested repeat" },      { "[a&&b]", "an intersection" },
        { "[[:alpha:]]", "a class in a class" }, { "(a)\\\\1", "an escape" },      { "\\\\bfoo", "an escape" },
        { "(?i)a", "a kind of group" },      { "(?<name>a)", "a kind of group" }, { "[^\\\\S]", "an escape in a class" },
        { "a{2,3}?", "a lazy or possessive" }, { "a*", "can match nothing" },      { "(a", "an unmatched parenthesis" },
        { "a)", "an unmatched parenthesis" }, { "[a", "a class that does not end" }, { "a{99999}", "a repeat of more than 1000" },
        { "\\\\p{Qqqq}", "pattern" },        { "a{", "a brace" },
    };
    (void)state;
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        char json[1024];
        llmrun_tokenizer *t;
        snprintf(json, sizeof json, "{" FUSED SPLIT("{\"Regex\":\"%s\"}", "Isolated") BPE "}", cases[i].pattern);
        EXPECT_FAIL(parse(&t, json), LLMRUN_UNSUPPORTED, cases[i].words);
        assert_non_null(strstr(err.message, "t.json: pre_tokenizer: pattern \""));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_behaviors), cmocka_unit_test(special_tokens), cmocka_unit_test(counts_beyond_max),
        cmocka_unit_test(invalid_utf8),    cmocka_unit_test(config_adds_bos), cmocka_unit_test(hostile_files),
        cmocka_unit_test(long_added_token), cmocka_unit_test(patterns_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
