/* SentencePiece models made here field by field: hostile ones each get their sentence; cut ones; directories of them.  */
#include "tests/tokenizer_files.h"

#include <math.h>

/* ---- protobuf ---- */

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
        cmocka_unit_test(hostile_models), cmocka_unit_test(truncated_models), cmocka_unit_test(directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
