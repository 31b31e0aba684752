/* Tokenizers that are not a tokenizer.json: GGUF metadata and SentencePiece models, made here byte by byte.  Every named
 * pre-tokenizer cuts as HF tokenizers cuts with the same patterns; hostile files each get their sentence.            */
#include "tests/model_files.h"

#include <math.h>

#include "runtime/tokenizer_parts.h"

/* ---- files in memory ---- */

typedef struct blob {
    lr_text bytes;
    uint64_t n_values; /* GGUF */
} blob;

static void put(blob *b, const void *bytes, size_t n) {
    lr_text_add_bytes(&b->bytes, bytes, n);
    assert_false(b->bytes.failed);
}
static void put_int(blob *b, uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) put(b, &(uint8_t){ (uint8_t)(value >> 8 * i) }, 1);
}
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

static llmrun_status parse_exact(llmrun_tokenizer **t, const void *bytes, size_t n) {
    char *exact = malloc(n ? n : 1); /* so that a sanitizer sees every read beyond it */
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    llmrun_status status = lr_tokenizer_parse(t, exact, n, "t", NULL, NULL, 0, &err);
    free(exact);
    return status;
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

static const char *show_ids(const llmrun_tokenizer *t, const char *text, unsigned flags) {
    static char shown[1024];
    int32_t ids[128];
    size_t n_ids, at = 0;
    EXPECT_OK(llmrun_tokenize(t, text, strlen(text), flags, ids, LR_COUNT(ids), &n_ids, &err));
    shown[0] = 0;
    for (size_t i = 0; i < n_ids && i < LR_COUNT(ids); i++) at += (size_t)sprintf(shown + at, i ? " %d" : "%d", (int)ids[i]);
    return shown;
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

/* ---- SentencePiece models ---- */

static void put_varint(blob *b, uint64_t value) {
    for (; value > 127; value >>= 7) put_int(b, (value & 127) | 128, 1);
    put_int(b, value, 1);
}
static void put_bytes(blob *b, int number, const void *bytes, size_t n) {
    put_varint(b, (uint64_t)number << 3 | 2);
    put_varint(b, n);
    put(b, bytes, n);
}
static void put_number(blob *b, int number, uint64_t value) {
    put_varint(b, (uint64_t)number << 3);
    put_varint(b, value);
}
static void put_message(blob *b, int number, blob *message) {
    put_bytes(b, number, message->bytes.text ? message->bytes.text : "", message->bytes.n);
    lr_free(message->bytes.text);
    *message = (blob){ 0 };
}
static void put_piece(blob *b, const char *text, float score, uint64_t type) {
    blob piece = { 0 };
    uint32_t bits;
    memcpy(&bits, &score, 4);
    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    put_int(&piece, bits, 4);
    put_number(&piece, 3, type);
    put_message(b, 1, &piece);
}

/* A small bpe model with one thing wrong.                                                                             */
static llmrun_status parse_wrong_model(const char *what) {
    blob b = { 0 }, trainer = { 0 }, normalizer = { 0 };
    llmrun_tokenizer *t;
#define IS(word) (strcmp(what, word) == 0)
    put_piece(&b, "<unk>", 0, IS("no unknown") ? 3 : 2);
    put_piece(&b, "a", 0, 1);
    put_piece(&b, "b", IS("score is no number") ? NAN : -1, 1);
    if (IS("two unknown")) put_piece(&b, "<unk2>", 0, 2);
    if (IS("empty piece")) put_piece(&b, "", 0, 1);
    if (IS("equal pieces")) put_piece(&b, "a", 0, 1);
    if (IS("type is 0")) put_piece(&b, "c", 0, 0);
    if (IS("type is 7")) put_piece(&b, "c", 0, 7);
    if (IS("type is large")) put_piece(&b, "c", 0, UINT64_C(1) << 32 | 1);
    if (IS("a byte")) put_piece(&b, "<0x41>", 0, 6);
    if (IS("unused")) put_piece(&b, "zz", 0, 5);
    if (IS("bad utf-8")) put_piece(&b, "\xc3", 0, 1);
    if (IS("long piece") || IS("long special")) {
        static char long_text[2000];
        memset(long_text, 'x', sizeof long_text - 1);
        put_piece(&b, long_text, 0, IS("long special") ? 3 : 1);
    }
    put_number(&trainer, 3, IS("word model") ? 3 : IS("kind 9") ? 9 : 2);
    if (IS("suffix")) put_number(&trainer, 24, 1);
    if (IS("no bytes")) put_number(&trainer, 35, 1);
    if (IS("trainer type")) put_bytes(&trainer, 3, "x", 1);
    if (IS("trainer cut")) put(&trainer, "\x18", 1);
    put_message(&b, 2, &trainer);
    if (IS("no escape")) put_number(&normalizer, 5, 0);
    if (IS("charsmap")) put_bytes(&normalizer, 2, "\xff\xff\xff\xff", 4);
    if (IS("normalizer type")) put_number(&normalizer, 2, 1);
    put_message(&b, 3, &normalizer);
    if (IS("denormalizer")) put(&b, "\x2a\x03\x12\x01x", 5);
    if (IS("model type")) put(&b, "\x08\x01", 2);
    if (IS("field 0")) put(&b, "\x02\x01x", 3);
    if (IS("group")) put(&b, "\x53", 1);
    if (IS("wire 6")) put(&b, "\x56", 1);
    if (IS("long varint")) put(&b, "\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11);
    if (IS("length beyond")) put(&b, "\x0a\xff\xff\xff\xff\x0f" "abc", 9);
    if (IS("length of 64 bits")) put(&b, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" "abc", 14);
    if (IS("cut")) b.bytes.n--;
    if (IS("unknown field")) put(&b, "\x52\x03xyz\xa0\x06\x05\x5d" "1234\x61" "12345678", 22);
#undef IS
    llmrun_status status = parse_exact(&t, b.bytes.text, b.bytes.n);
    llmrun_tokenizer_close(t);
    lr_free(b.bytes.text);
    return status;
}

static void hostile_models(void **state) {
    static const struct {
        const char *what;
        llmrun_status status;
        const char *words;
    } cases[] = {
        { "no unknown", LLMRUN_FORMAT, "no piece has the type unknown" },
        { "two unknown", LLMRUN_FORMAT, "pieces 0 and 3 are both unknown" },
        { "score is no number", LLMRUN_FORMAT, "token 2 \"b\": score nan is not finite" },
        { "empty piece", LLMRUN_FORMAT, "piece 3 is empty" },
        { "equal pieces", LLMRUN_FORMAT, "token \"a\" has two ids, 1 and 3" },
        { "type is 0", LLMRUN_FORMAT, "type 0 is not in 1..6" },
        { "type is 7", LLMRUN_FORMAT, "type 7 is not in 1..6" },
        { "type is large", LLMRUN_FORMAT, "type 7 is not in 1..6" },
        { "a byte", LLMRUN_FORMAT, "byte_fallback is false, but 1 of 256 byte pieces are there" },
        { "no bytes", LLMRUN_FORMAT, "byte_fallback is true, but 0 of 256 byte pieces are there" },
        { "unused", LLMRUN_UNSUPPORTED, "piece 3 \"zz\" of the type unused" },
        { "bad utf-8", LLMRUN_FORMAT, "token 3 \"?\" is not UTF-8" },
        { "long piece", LLMRUN_FORMAT, "a token has 1999 bytes, at most 1024" },
        { "long special", LLMRUN_FORMAT, "has 1999 bytes, at most 256" },
        { "word model", LLMRUN_UNSUPPORTED, "trainer_spec.model_type \"word\" is not supported" },
        { "kind 9", LLMRUN_UNSUPPORTED, "trainer_spec.model_type 9 is not supported" },
        { "suffix", LLMRUN_UNSUPPORTED, "treat_whitespace_as_suffix is not supported" },
        { "trainer type", LLMRUN_FORMAT, "trainer_spec field 3 has wire type 2" },
        { "trainer cut", LLMRUN_FORMAT, "malformed trainer_spec; truncated?" },
        { "no escape", LLMRUN_UNSUPPORTED, "escape_whitespaces false is not supported" },
        { "charsmap", LLMRUN_FORMAT, "4 bytes with a trie of 4294967295" },
        { "normalizer type", LLMRUN_FORMAT, "normalizer_spec field 2 has wire type 0" },
        { "denormalizer", LLMRUN_UNSUPPORTED, "denormalizer_spec with a charsmap" },
        { "model type", LLMRUN_FORMAT, "model field 1 has wire type 0" },
        { "field 0", LLMRUN_FORMAT, "malformed model" },
        { "group", LLMRUN_FORMAT, "malformed model" },
        { "wire 6", LLMRUN_FORMAT, "malformed model" },
        { "long varint", LLMRUN_FORMAT, "malformed model" },
        { "length beyond", LLMRUN_FORMAT, "malformed model" },
        { "length of 64 bits", LLMRUN_FORMAT, "malformed model" },
        { "cut", LLMRUN_FORMAT, "malformed model; truncated?" },
    };
    (void)state;
    for (size_t i = 0; i < LR_COUNT(cases); i++)
        EXPECT_FAIL(parse_wrong_model(cases[i].what), cases[i].status, cases[i].words);
    EXPECT_OK(parse_wrong_model("nothing"));
    EXPECT_OK(parse_wrong_model("unknown field"));
}

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    char *bytes = malloc(1 << 16);
    assert_true(f && bytes);
    *n = fread(bytes, 1, 1 << 16, f);
    fclose(f);
    return bytes;
}

/* Cut anywhere: an error, or where the cut leaves whole messages, a tokenizer.  Never one that reads beyond the end.  */
static void truncated_models(void **state) {
    static const char *const paths[] = { "tests/corpus/sentencepiece/bpe_bytes.model", "tests/corpus/gguf_vocab/t5.gguf",
                                         "tests/corpus/sentencepiece/unigram_rules.model" };
    (void)state;
    for (size_t i = 0; i < LR_COUNT(paths); i++) {
        size_t n;
        char *bytes = read_file(paths[i], &n);
        for (size_t cut_at = 0; cut_at < n; cut_at += cut_at < 100 ? 1 : 37) {
            llmrun_tokenizer *t;
            llmrun_status status = parse_exact(&t, bytes, cut_at);
            if (status && status != LLMRUN_FORMAT) fail_msg("%s cut at %zu: %s", paths[i], cut_at, err.message);
            assert_true(!status == (t != NULL));
            llmrun_tokenizer_close(t);
        }
        free(bytes);
    }
}

/* ---- directories ---- */

static void copy_to(const char *dir, const char *name, const char *from) {
    size_t n;
    char *bytes = read_file(from, &n);
    write_bytes(dir, name, bytes, n);
    free(bytes);
}

static void directories(void **state) {
    (void)state;
    char *dir = new_directory();
    llmrun_tokenizer *t;
    EXPECT_FAIL(llmrun_tokenizer_open(&t, dir, &err), LLMRUN_IO, "no tokenizer.json, tokenizer.model or single .gguf");
    copy_to(dir, "x-00001-of-00002.gguf", "tests/corpus/gguf_vocab/llama.gguf");
    write_text(dir, "x-00002-of-00002.gguf", "GGUF");
    EXPECT_OK(llmrun_tokenizer_open(&t, dir, &err));
    llmrun_tokenizer_close(t);
    copy_to(dir, "y.gguf", "tests/corpus/gguf_vocab/llama.gguf");
    EXPECT_FAIL(llmrun_tokenizer_open(&t, dir, &err), LLMRUN_IO, "or single .gguf in this directory");
    copy_to(dir, "tokenizer.model", "tests/corpus/sentencepiece/bpe_bytes.model");
    EXPECT_OK(llmrun_tokenizer_open(&t, dir, &err));
    int32_t n = llmrun_token_count(t);
    assert_int_equal(lr_tokenizer_bos(t), 1);
    llmrun_tokenizer_close(t);

    char json[400], want[64];
    snprintf(json, sizeof json, "{\"<more>\":%d,\"<|im_end|>\":4}", (int)n);
    write_text(dir, "added_tokens.json", json);
    snprintf(json, sizeof json, "{\"add_bos_token\":false,\"eos_token\":\"<|im_end|>\",\"added_tokens_decoder\":{\"%d\":"
             "{\"content\":\"<extra>\",\"special\":false,\"rstrip\":true}}}", (int)n + 1);
    write_text(dir, "tokenizer_config.json", json);
    EXPECT_OK(llmrun_tokenizer_open(&t, dir, &err));
    assert_int_equal(llmrun_token_count(t), n + 2);
    snprintf(want, sizeof want, "%d %d", (int)n, (int)n + 1);
    assert_string_equal(show_ids(t, "<more><extra>  ", LLMRUN_PARSE_SPECIAL | LLMRUN_ADD_SPECIAL), want);
    assert_true(llmrun_token_is_end(t, 4));
    llmrun_tokenizer_close(t);

    write_text(dir, "added_tokens.json", "{}");
    write_text(dir, "tokenizer_config.json", "{\"add_bos_token\":false}");
    EXPECT_OK(llmrun_tokenizer_open(&t, dir, &err));
    snprintf(want, sizeof want, "%s", show_ids(t, "<|im_end|>the", LLMRUN_PARSE_SPECIAL)); /* with a space before "the" */
    llmrun_tokenizer_close(t);
    write_text(dir, "tokenizer_config.json", "{\"add_bos_token\":false,\"legacy\":false}");
    EXPECT_OK(llmrun_tokenizer_open(&t, dir, &err));
    assert_string_equal(show_ids(t, "<|im_end|> the", LLMRUN_PARSE_SPECIAL), want);
    assert_string_not_equal(show_ids(t, "<|im_end|>the", LLMRUN_PARSE_SPECIAL), want);
    llmrun_tokenizer_close(t);

    write_text(dir, "added_tokens.json", "{\"<more>\":7}");
    EXPECT_FAIL(llmrun_tokenizer_open(&t, dir, &err), LLMRUN_FORMAT, "added token \"<more>\": id 7 belongs to another token");
    write_text(dir, "added_tokens.json", "{\"<more>\":-7}");
    EXPECT_FAIL(llmrun_tokenizer_open(&t, dir, &err), LLMRUN_FORMAT, "\"<more>\": expected an id in 0..");
    copy_to(dir, "tokenizer.json", "tests/corpus/tokenizer/unigram.json"); /* wins, and added_tokens.json is not its */
    write_text(dir, "tokenizer_config.json", "{}");
    EXPECT_OK(llmrun_tokenizer_open(&t, dir, &err));
    assert_int_equal(t->vocab.kind, LR_VOCAB_UNIGRAM);
    llmrun_tokenizer_close(t);
    remove_tree(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pre_tokenizers), cmocka_unit_test(hostile_gguf),     cmocka_unit_test(gguf_specials),
        cmocka_unit_test(hostile_models), cmocka_unit_test(truncated_models), cmocka_unit_test(directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
