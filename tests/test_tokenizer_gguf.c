/* Vocabularies in GGUF metadata, made here byte by byte.  Every named pre-tokenizer cuts as HF tokenizers cuts with the
 * same patterns; hostile files each get their sentence.                                                              */
#include "tests/tokenizer_files.h"

static void put_string(blob *b, const char *text, size_t n) {
    put_int(b, n, 8);
    put(b, text, n);
}

static void gguf_key(blob *b, const char *key, uint32_t type) {
    b->n_values++;
    put_string(b, key, strlen(key));
    put_int(b, type, 4);
}
static void gguf_string(blob *b, const char *key, const char *value) {
    if (!value) return;
    gguf_key(b, key, 8);
    put_string(b, value, strlen(value));
}
static void gguf_list(blob *b, const char *key, uint32_t type, uint64_t count) {
    gguf_key(b, key, 9);
    put_int(b, type, 4);
    put_int(b, count, 8);
}
static void gguf_u32(blob *b, const char *key, uint32_t value) {
    gguf_key(b, key, 4);
    put_int(b, value, 4);
}

/* The values of b as a GGUF.  b is empty after it.                                                                    */
static llmrun_status parse_gguf(llmrun_tokenizer **t, blob *b) {
    blob file = { 0 };
    put(&file, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16);
    put_int(&file, b->n_values, 8);
    put(&file, b->bytes.text, b->bytes.n);
    while (file.bytes.n % 32) put(&file, "", 1);
    llmrun_status status = parse_exact(t, file.bytes.text, file.bytes.n);
    lr_free(file.bytes.text);
    lr_free(b->bytes.text);
    *b = (blob){ 0 };
    return status;
}

/* ---- pre-tokenizers ---- */

/* Tokens: every byte, and every stretch of text.                                                                      */
static void put_stretches(blob *b, const char *text) {
    size_t n = strlen(text), n_tokens = 256 + n * (n + 1) / 2;
    gguf_list(b, "tokenizer.ggml.tokens", 8, n_tokens);
    char mapped[512];
    for (unsigned byte = 0; byte < 256; byte++) put_string(b, mapped, lr_decode_byte_text(byte, mapped));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 1; k <= n - i; k++) {
            size_t n_mapped = 0;
            for (size_t j = i; j < i + k; j++) n_mapped += lr_decode_byte_text((unsigned char)text[j], mapped + n_mapped);
            put_string(b, mapped, n_mapped);
        }
}

/* The pieces of text with '|' between them: a piece that is a token becomes it.                                       */
static const char *cut(const char *pre, const char *architecture, const char *text) {
    static char shown[512];
    blob b = { 0 };
    llmrun_tokenizer *t;
    int32_t ids[256];
    size_t n_ids, at = 0, n;
    gguf_string(&b, "general.architecture", architecture);
    gguf_string(&b, "tokenizer.ggml.model", "gpt2");
    gguf_string(&b, "tokenizer.ggml.pre", pre);
    gguf_list(&b, "tokenizer.ggml.merges", 8, 0);
    put_stretches(&b, text);
    EXPECT_OK(parse_gguf(&t, &b));
    t->vocab.ignore_merges = true;
    EXPECT_OK(llmrun_tokenize(t, text, strlen(text), 0, ids, LR_COUNT(ids), &n_ids, &err));
    for (size_t i = 0; i < n_ids; i++) {
        const char *bytes = llmrun_token_text(t, ids[i], true, false, &n);
        at += (size_t)sprintf(shown + at, "%s%.*s", i ? "|" : "", (int)n, bytes);
    }
    llmrun_tokenizer_close(t);
    return shown;
}

#define TEXT "I'M  12345 (ok)//\n\n  aBC's x "
#define MARKS "e\xcc\x81t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87\xe3\x81\x8b A\xcc\x8a" "1\xc2\xbd ``x''"

static void pre_tokenizers(void **state) {
    static const struct {
        const char *pre, *text, *pieces;
    } cases[] = {
        { "gpt-2", TEXT, "I|'|M| | 12345| (|ok|)//|\n\n | aBC|'s| x| " },
        { "llama-bpe", TEXT, "I|'M| | |123|45| (|ok|)//\n\n| | aBC|'s| x| " },
        { "dbrx", TEXT, "I|'M| | |123|45| (|ok|)//\n\n| | aBC|'s| x| " },
        { "qwen2", TEXT, "I|'M| | |1|2|3|4|5| (|ok|)//\n\n| | aBC|'s| x| " },
        { "deepseek-r1-qwen", TEXT, "I|'M| | |1|2|3|4|5| (|ok|)//\n\n| | aBC|'s| x| " },
        { "qwen35", TEXT, "I|'M| | |1|2|3|4|5| (|ok|)//\n\n| | aBC|'s| x| " },
        { "gpt-4o", TEXT, "I'M| | |123|45| (|ok|)//\n\n| | a|BC's| x| " },
        { "llama4", TEXT, "I'M| | |123|45| (|ok|)//\n\n| | a|BC's| x| " },
        { "tekken", TEXT, "I|'M| | |1|2|3|4|5| (|ok|)//\n\n| | a|BC|'s| x| " },
        { "deepseek-v3", TEXT, "I|'M|  |123|45| (|ok|)//\n\n| | aBC|'s| x| " },
        { "deepseek-llm", TEXT, "I|'|M|  |1|2|3|4|5| (|ok|)//|\n|\n| | aBC|'|s| x| " },
        { "deepseek-coder", TEXT, "I|'|M|  |1|2|3|4|5| (|ok|)//|\n|\n| | aBC|'|s| x| " },
        { "smollm", TEXT, "I|'|M|  |1|2|3|4|5| (|ok|)//|\n\n | aBC|'s| x| " },
        { "starcoder", TEXT, "I|'|M|  |1|2|3|4|5| (|ok|)//|\n\n | aBC|'s| x| " },
        { "falcon", TEXT, "I|'|M| | |123|45| |(|ok|)//|\n\n | aBC|'|s| x| " },
        { "default", TEXT, "I|'|M| | |123|45| |(|ok|)//|\n\n | aBC|'|s| x| " },
        { "bloom", TEXT, "I'M| | 12345| (|ok|)|//|\n\n | aBC's| x| " },
        { "viking", TEXT, "I'M| | |1|2|3|4|5| (|ok|)|//|\n\n | aBC's| x| " },
        { "gpt-2", MARKS, "e|\xcc\x81|t\xc3\xa9| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\x8b| A|\xcc\x8a|1\xc2\xbd| ``|x|''" },
        { "tekken", MARKS, "e\xcc\x81t\xc3\xa9| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\x8b| A\xcc\x8a|1|\xc2\xbd| ``|x|''" },
        { "deepseek-v3", MARKS, "e\xcc\x81t\xc3\xa9| |\xe4\xb8\xad\xe6\x96\x87\xe3\x81\x8b| A\xcc\x8a|1\xc2\xbd| ``|x|''" },
        { "deepseek-llm", MARKS, "e|\xcc\x81|t|\xc3\xa9| |\xe4\xb8\xad\xe6\x96\x87\xe3\x81\x8b| A|\xcc\x8a|1|\xc2\xbd| ``|x|''" },
        { "falcon", MARKS, "e|\xcc\x81|t\xc3\xa9| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\x8b| A|\xcc\x8a|1\xc2\xbd| |``|x|''" },
    };
    (void)state;
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        const char *got = cut(cases[i].pre, "llama", cases[i].text);
        if (strcmp(got, cases[i].pieces)) fail_msg("%s: \"%s\", expected \"%s\"", cases[i].pre, got, cases[i].pieces);
    }
    assert_string_equal(cut(NULL, "gpt2", TEXT), cases[0].pieces); /* from before the key: families that had only one */
    assert_string_equal(cut(NULL, "falcon", TEXT), cut("falcon", "llama", TEXT));
}

/* ---- GGUF vocabularies ---- */

/* A model of three tokens with one thing wrong.                                                                       */
static llmrun_status parse_wrong(const char *what) {
    blob b = { 0 };
    llmrun_tokenizer *t;
    bool gpt2 = strstr(what, "pre") || strstr(what, "merge"), t5 = strstr(what, "charsmap") || strstr(what, "unknown id");
#define IS(word) (strcmp(what, word) == 0)
    gguf_string(&b, "general.architecture", "llama");
    if (IS("model is a number"))
        gguf_u32(&b, "tokenizer.ggml.model", 1);
    else
        gguf_string(&b, "tokenizer.ggml.model", IS("model is unknown") ? "rwkv" : gpt2 ? "gpt2" : t5 ? "t5" : "llama");
    if (!IS("pre is missing") && !IS("pre is a number"))
        gguf_string(&b, "tokenizer.ggml.pre", IS("pre is unknown") ? "zzz-9" : "gpt-2");
    if (IS("pre is a number")) gguf_u32(&b, "tokenizer.ggml.pre", 1);
    if (IS("tokens are numbers")) {
        gguf_list(&b, "tokenizer.ggml.tokens", 4, 1);
        put_int(&b, 7, 4);
    } else {
        static char long_text[2000];
        memset(long_text, 'x', sizeof long_text);
        gguf_list(&b, "tokenizer.ggml.tokens", 8, IS("no tokens") ? 0 : 4);
        for (int i = 0; i < 3 && !IS("no tokens"); i++) put_string(&b, &"abc"[i], 1);
        if (IS("zero byte")) put_string(&b, "a\0b", 3);
        else if (IS("bad utf-8")) put_string(&b, "\xff\xfe", 2);
        else if (IS("long token") || IS("long special")) put_string(&b, long_text, sizeof long_text);
        else if (!IS("no tokens")) put_string(&b, "ab", strstr(what, "equal tokens") ? 1 : 2);
    }
    if (!IS("scores are missing")) {
        uint32_t n = IS("scores are few") ? 3 : 4, nan = 0x7fc00000;
        gguf_list(&b, "tokenizer.ggml.scores", 6, n);
        for (uint32_t i = 0; i < n; i++) put_int(&b, IS("score is no number") && i == 2 ? nan : 0, 4);
    }
    if (!IS("types are missing")) {
        uint32_t n = IS("types are few") ? 2 : 4;
        gguf_list(&b, "tokenizer.ggml.token_type", 5, n);
        for (uint32_t i = 0; i < n; i++) put_int(&b, i < 3 ? 1 : IS("type is 9") ? 9 : IS("long special") ? 3 : 1, 4);
    }
    if (!IS("merges are missing")) {
        gguf_list(&b, "tokenizer.ggml.merges", 8, 1);
        put_string(&b, IS("merge is one") ? "ab" : IS("merge ends") ? "a " : IS("merge is unknown") ? "b c" : "a b",
                   IS("merge is one") || IS("merge ends") ? 2 : 3);
    }
    if (IS("charsmap is a string")) gguf_string(&b, "tokenizer.ggml.precompiled_charsmap", "x");
    if (IS("charsmap is short")) {
        gguf_list(&b, "tokenizer.ggml.precompiled_charsmap", 0, 6);
        put(&b, "\4\0\0\0ab", 6);
    }
    if (t5) gguf_u32(&b, "tokenizer.ggml.unknown_token_id", IS("unknown id") ? 99 : 0);
    gguf_u32(&b, "tokenizer.ggml.bos_token_id", IS("bos is absent") ? 4000000000u : 0);
    gguf_u32(&b, "tokenizer.ggml.add_bos_token", 1);
#undef IS
    llmrun_status status = parse_gguf(&t, &b);
    llmrun_tokenizer_close(t);
    return status;
}

static void hostile_gguf(void **state) {
    static const struct {
        const char *what;
        llmrun_status status;
        const char *words;
    } cases[] = {
        { "model is a number", LLMRUN_FORMAT, "tokenizer.ggml.model: expected a string, got" },
        { "model is unknown", LLMRUN_UNSUPPORTED, "tokenizer.ggml.model \"rwkv\" is not supported" },
        { "pre is missing", LLMRUN_UNSUPPORTED, "tokenizer.ggml.pre is missing" },
        { "pre is unknown", LLMRUN_UNSUPPORTED, "tokenizer.ggml.pre \"zzz-9\" is not supported" },
        { "pre is a number", LLMRUN_FORMAT, "tokenizer.ggml.pre: expected a string" },
        { "tokens are numbers", LLMRUN_FORMAT, "tokenizer.ggml.tokens: expected an array of strings" },
        { "no tokens", LLMRUN_FORMAT, "no tokens" },
        { "zero byte", LLMRUN_FORMAT, "token 3 holds a NUL" },
        { "bad utf-8", LLMRUN_FORMAT, "token 3 \"??\" is not UTF-8" },
        { "long token", LLMRUN_FORMAT, "a token has 2000 bytes, at most 1024" },
        { "long special", LLMRUN_FORMAT, "has 2000 bytes, at most 256" },
        { "scores are missing", LLMRUN_FORMAT, "tokenizer.ggml.scores: expected one number per token, got nothing" },
        { "scores are few", LLMRUN_FORMAT, "tokenizer.ggml.scores: expected one number per token" },
        { "score is no number", LLMRUN_FORMAT, "token 2 \"c\": score nan is not finite" },
        { "types are missing", LLMRUN_FORMAT, "tokenizer.ggml.token_type: expected one integer per token" },
        { "types are few", LLMRUN_FORMAT, "tokenizer.ggml.token_type: expected one integer per token" },
        { "type is 9", LLMRUN_FORMAT, "token 3 \"ab\": type 0 is not in 1..6" },
        { "merges are missing", LLMRUN_FORMAT, "tokenizer.ggml.merges: expected an array of strings" },
        { "merge is one", LLMRUN_FORMAT, "merge 0 \"ab\" is not two tokens" },
        { "merge ends", LLMRUN_FORMAT, "merge 0 \"a \" is not two tokens" },
        { "merge is unknown", LLMRUN_FORMAT, "merge 0 \"b c\": token \"bc\" not in vocabulary" },
        { "charsmap is a string", LLMRUN_FORMAT, "precompiled_charsmap: expected an array of bytes" },
        { "charsmap is short", LLMRUN_FORMAT, "6 bytes with a trie of 4" },
        { "unknown id", LLMRUN_FORMAT, "tokenizer.ggml.unknown_token_id: expected an id of the vocabulary" },
        { "bos is absent", LLMRUN_FORMAT, "add_bos_token is set, but bos_token is not in the vocabulary" },
    };
    (void)state;
    for (size_t i = 0; i < LR_COUNT(cases); i++) EXPECT_FAIL(parse_wrong(cases[i].what), cases[i].status, cases[i].words);
    EXPECT_OK(parse_wrong("nothing"));
    EXPECT_OK(parse_wrong("equal tokens"));
    EXPECT_OK(parse_wrong("equal tokens, no charsmap"));
}

/* What is put around a text, and what ends one, from the metadata alone.                                              */
static void gguf_specials(void **state) {
    llmrun_tokenizer *t;
    (void)state;
    EXPECT_OK(llmrun_tokenizer_open(&t, "tests/corpus/gguf_vocab/llama.gguf", &err));
    assert_int_equal(lr_tokenizer_bos(t), 1);
    assert_string_equal(show_ids(t, "", LLMRUN_ADD_SPECIAL), "1");
    assert_string_equal(show_ids(t, "<|im_end|>", LLMRUN_PARSE_SPECIAL), "4");
    assert_true(llmrun_token_is_end(t, 2) && llmrun_token_is_end(t, 4));
    llmrun_tokenizer_close(t);
    EXPECT_OK(llmrun_tokenizer_open(&t, "tests/corpus/gguf_vocab/t5.gguf", &err));
    assert_int_equal(lr_tokenizer_bos(t), -1);
    assert_string_equal(show_ids(t, "", LLMRUN_ADD_SPECIAL), "2");
    llmrun_tokenizer_close(t);
    EXPECT_OK(llmrun_tokenizer_open(&t, "tests/corpus/gguf_vocab/gpt2.gguf", &err));
    int32_t n = llmrun_token_count(t);
    assert_int_equal(lr_tokenizer_bos(t), -1);
    assert_true(llmrun_token_is_end(t, n - 2) && !llmrun_token_is_end(t, n - 1));
    llmrun_tokenizer_close(t);
}

/* "t5" is SentencePiece's Unigram: what is no matter of ties is as the model it was made of has it.                   */
static void gguf_unigram(void **state) {
    static const char *const texts[] = { "", "  ", "Hello  world,\t don't  ", "\xef\xac\x81ne A\xc2\xa0z\xe2\x80\x8b \xc2\xbd",
                                         "e\xcc\x81\xcc\xa3 <|user|> na\xc3\xafve \xe4\xbd\xa0", "The quick brown fox's 12345" };
    llmrun_tokenizer *t, *model;
    char want[1024];
    (void)state;
    EXPECT_OK(llmrun_tokenizer_open(&t, "tests/corpus/gguf_vocab/t5.gguf", &err));
    EXPECT_OK(llmrun_tokenizer_open(&model, "tests/corpus/sentencepiece/unigram_rules.model", &err));
    for (size_t i = 0; i < LR_COUNT(texts); i++) {
        snprintf(want, sizeof want, "%s", show_ids(model, texts[i], 3));
        assert_string_equal(show_ids(t, texts[i], 3), want);
    }
    llmrun_tokenizer_close(t);
    llmrun_tokenizer_close(model);
}

/* Merges over characters, cut at newlines, marks for spaces, bytes for the rest.                                      */
static void gguf_gemma4(void **state) {
    static const char *const tokens[] = { "a", "b", "\u2581", "ab", "\u2581a", "\n", "\n\n", "<0x21>", "<bos>" };
    static const char *const merges[] = { "a b", "\u2581 a", "\n \n" };
    blob b = { 0 };
    llmrun_tokenizer *t;
    size_t n;
    (void)state;
    gguf_string(&b, "tokenizer.ggml.model", "gemma4");
    gguf_list(&b, "tokenizer.ggml.tokens", 8, LR_COUNT(tokens));
    for (size_t i = 0; i < LR_COUNT(tokens); i++) put_string(&b, tokens[i], strlen(tokens[i]));
    gguf_list(&b, "tokenizer.ggml.token_type", 5, LR_COUNT(tokens));
    for (size_t i = 0; i < LR_COUNT(tokens); i++) put_int(&b, i == 7 ? 6 : i == 8 ? 3 : 1, 4);
    gguf_list(&b, "tokenizer.ggml.merges", 8, LR_COUNT(merges));
    for (size_t i = 0; i < LR_COUNT(merges); i++) put_string(&b, merges[i], strlen(merges[i]));
    gguf_u32(&b, "tokenizer.ggml.bos_token_id", 8);
    gguf_u32(&b, "tokenizer.ggml.add_bos_token", 1);
    EXPECT_OK(parse_gguf(&t, &b));
    assert_string_equal(show_ids(t, " ab\n\na!", LLMRUN_ADD_SPECIAL), "8 2 3 6 0 7");
    assert_string_equal(show_ids(t, "<bos> a", LLMRUN_PARSE_SPECIAL), "8 4");
    assert_memory_equal(llmrun_token_text(t, 4, true, true, &n), " a", 2);
    assert_memory_equal(llmrun_token_text(t, 7, true, true, &n), "!", 1);
    llmrun_tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pre_tokenizers), cmocka_unit_test(hostile_gguf), cmocka_unit_test(gguf_specials),
        cmocka_unit_test(gguf_unigram),   cmocka_unit_test(gguf_gemma4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
