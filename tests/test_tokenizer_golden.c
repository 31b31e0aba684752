/* Tokenizers against others: the llama.cpp test vectors, and 10,000 random and hostile strings per tokenizer against
 * Hugging Face tokenizers and SentencePiece, as hashes (tests/golden/make_tokenizer_golden.py, which describes the
 * strings, and make_sentencepiece_golden.py).  The real vocabularies are no part of the repository: without ../shared
 * their cases say so and skip.                                                                                       */
#include "tests/model_files.h"

#include "loaders/json.h"
#include "runtime/tokenizer_parts.h"

enum { BLOCKS = 100, PER_BLOCK = 100, MAX_STRING = 1 << 18, MAX_IDS = 1 << 19 };

static char text[MAX_STRING];
static int32_t ids[MAX_IDS];

static llmrun_tokenizer *open_or_skip(const char *path) {
    llmrun_tokenizer *t = NULL;
    if (access(path, R_OK) != 0) {
        print_message("%s is not here: skipped\n", path);
        skip();
    }
    EXPECT_OK(llmrun_tokenizer_open(&t, path, &err));
    return t;
}

/* ---- random strings ---- */

typedef struct strings {
    cJSON *table;
    const char *piece[512];
    uint32_t range[64][2];
    size_t n_pieces, n_ranges;
    uint64_t x;
} strings;

static void open_strings(strings *s) {
    const cJSON *item;
    *s = (strings){ 0 };
    EXPECT_OK(lr_json_read(&s->table, "tests/golden/tokenizers/pieces.json", 1 << 20, 1 << 16, &err));
    cJSON_ArrayForEach(item, lr_json_get(s->table, "pieces")) {
        assert_true(s->n_pieces < LR_COUNT(s->piece));
        s->piece[s->n_pieces++] = item->valuestring;
    }
    cJSON_ArrayForEach(item, lr_json_get(s->table, "ranges")) {
        assert_true(s->n_ranges < LR_COUNT(s->range));
        s->range[s->n_ranges][0] = (uint32_t)cJSON_GetArrayItem(item, 0)->valueint;
        s->range[s->n_ranges++][1] = (uint32_t)cJSON_GetArrayItem(item, 1)->valueint;
    }
}

static uint64_t draw(strings *s) {
    s->x ^= s->x << 13;
    s->x ^= s->x >> 7;
    s->x ^= s->x << 17;
    return s->x;
}

static size_t put_utf8(char *out, uint32_t c) {
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

static size_t add_part(strings *s, size_t n) {
    uint64_t r = draw(s), mode = (r >> 32) % 16;
    const char *piece = s->piece[r % s->n_pieces];
    size_t n_piece = *piece ? strlen(piece) : 1, times = 1; /* the empty piece stands for NUL */
    if (mode == 1 || mode == 2) {
        for (uint64_t k = 1 + (r >> 40) % 4; k > 0; k--) {
            r = draw(s);
            const uint32_t *range = s->range[r % s->n_ranges];
            n += put_utf8(text + n, range[0] + (uint32_t)((r >> 16) % (range[1] - range[0] + 1)));
        }
        return n;
    }
    if (mode == 0) {
        r = draw(s);
        times = r % 16 == 0 ? 300 : 2 + (r >> 8) % 40;
    }
    for (; times > 0; times--, n += n_piece) memcpy(text + n, piece, n_piece);
    assert_true(n < MAX_STRING / 2);
    return n;
}

static size_t next_string(strings *s) {
    size_t n = 0;
    for (uint64_t parts = 1 + draw(s) % 12; parts > 0; parts--) n = add_part(s, n);
    return n;
}

/* ---- goldens ---- */

/* Hash of what the ids print, added tokens left out.                                                                  */
static uint64_t hash_text(const llmrun_tokenizer *t, const uint8_t *added, size_t n_ids, uint64_t h) {
    bool first = true;
    for (size_t i = 0; i < n_ids; i++) {
        if (added[ids[i]]) continue;
        size_t n;
        const char *bytes = llmrun_token_text(t, ids[i], true, first, &n);
        h = lr_hash(h, bytes, n);
        first = false;
    }
    return lr_hash(h, "\xff", 1);
}

/* A byte-level tokenizer that changes nothing before it splits prints what it was given.                              */
static void check_round_trip(const llmrun_tokenizer *t, size_t n, size_t n_ids) {
    size_t at = 0, n_bytes;
    bool lossless = t->byte_level && t->vocab.normalizer.n == 0;
    for (size_t i = 0; i < 256; i++) lossless &= t->byte_id[i] >= 0;
    for (size_t i = 0; i < t->pre_tokenizer.n; i++) lossless &= t->pre_tokenizer.items[i].step->prefix == LR_PREFIX_NEVER;
    for (size_t i = 0; lossless && i < n_ids; i++, at += n_bytes) {
        const char *bytes = llmrun_token_text(t, ids[i], true, i == 0, &n_bytes);
        if (n_bytes > n - at || memcmp(bytes, text + at, n_bytes)) fail_msg("byte %zu of the text is lost", at);
    }
    if (lossless && at != n) fail_msg("text ends at byte %zu, not %zu", at, n);
}

static uint64_t hash_ids(size_t n_ids, uint64_t h) {
    for (size_t i = 0; i <= n_ids; i++) {
        uint32_t id = i < n_ids ? (uint32_t)ids[i] : UINT32_MAX;
        h = lr_hash(h, (unsigned char[]){ (unsigned char)id, (unsigned char)(id >> 8), (unsigned char)(id >> 16),
                                          (unsigned char)(id >> 24) }, 4);
    }
    return h;
}

/* Of DIR/NAME/tokenizer.json in ../shared, and of DIR/NAME.json: NAME; with .model in the end where the path has it.    */
static void name_golden(char *out, size_t size, const char *path) {
    const char *base = strrchr(path, '/') + 1, *end = strrchr(path, '.');
    bool shared = !strncmp(path, "../", 3);
    const char *name = base, *name_end = end;
    if (shared) {
        name_end = base - 1;
        for (name = name_end; name[-1] != '/';) name--;
    }
    snprintf(out, size, "tests/golden/tokenizers/%.*s%s.txt", (int)(name_end - name), name, strcmp(end, ".model") ? "" : end);
}

static void equals_others(void **state) {
    const char *const *files = *state, *path = files[0];
    char golden[256], line[64];
    llmrun_tokenizer *t = open_or_skip(path);
    strings s;
    open_strings(&s);
    uint8_t *added = calloc((size_t)t->vocab.n_tokens, 1);
    assert_non_null(added);
    for (size_t i = 0; i < t->vocab.n_added; i++) added[t->vocab.added[i].id] = 1;
    name_golden(golden, sizeof golden, files[1]);
    FILE *f = fopen(golden, "r");
    assert_non_null(f);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        uint64_t got_ids = LR_HASH_START, got_text = LR_HASH_START;
        unsigned long long want_ids, want_text;
        s.x = 0x9e3779b97f4a7c15u + block;
        for (unsigned i = 0; i < PER_BLOCK; i++) {
            size_t n = next_string(&s), n_ids;
            unsigned flags = (i & 1 ? LLMRUN_PARSE_SPECIAL : 0) | (i & 2 ? LLMRUN_ADD_SPECIAL : 0);
            EXPECT_OK(llmrun_tokenize(t, text, n, flags, ids, MAX_IDS, &n_ids, &err));
            assert_true(n_ids <= MAX_IDS);
            got_ids = hash_ids(n_ids, got_ids);
            got_text = hash_text(t, added, n_ids, got_text);
            if (!(flags & LLMRUN_ADD_SPECIAL)) check_round_trip(t, n, n_ids);
        }
        assert_non_null(fgets(line, sizeof line, f));
        assert_int_equal(sscanf(line, "%llx %llx", &want_ids, &want_text), 2);
        if (got_ids != want_ids) fail_msg("%s: ids differ in block %d", golden, (int)block);
        if (got_text != want_text) fail_msg("%s: decoded text differs in block %d", golden, (int)block);
    }
    fclose(f);
    free(added);
    lr_json_close(s.table);
    llmrun_tokenizer_close(t);
}

/* ---- t5-small's tokenizer.json as a SentencePiece model ---- */

static void put_varint(lr_text *to, uint64_t value) {
    for (; value > 127; value >>= 7) lr_text_add_bytes(to, &(uint8_t){ (uint8_t)(value | 128) }, 1);
    lr_text_add_bytes(to, &(uint8_t){ (uint8_t)value }, 1);
}

static void put_bytes(lr_text *to, int field, const void *bytes, size_t n) {
    put_varint(to, (uint64_t)field << 3 | 2);
    put_varint(to, n);
    lr_text_add_bytes(to, bytes, n);
}

static void put_piece(lr_text *to, const char *piece_text, size_t n, float score, bool unknown, bool control) {
    lr_text piece = { 0 };
    put_bytes(&piece, 1, piece_text, n);
    put_varint(&piece, 2 << 3 | 5);
    lr_text_add_bytes(&piece, &score, 4);
    put_varint(&piece, 3 << 3);
    put_varint(&piece, unknown ? 2 : control ? 3 : 1);
    put_bytes(to, 1, piece.text, piece.n);
    lr_free(piece.text);
}

static void put_specs(lr_text *to, const lr_charsmap *map) {
    static const uint8_t trainer[] = { 3 << 3, 1, 0xc8, 2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0xd0, 2, 1 };
    uint32_t n_trie = (uint32_t)(4 * map->n_units);
    lr_text blob = { 0 }, normalizer = { 0 };
    lr_text_add_bytes(&blob, &n_trie, 4);
    lr_text_add_bytes(&blob, map->units, n_trie);
    lr_text_add_bytes(&blob, map->text, map->n_text);
    put_bytes(&normalizer, 2, blob.text, blob.n);
    put_bytes(to, 2, trainer, sizeof trainer); /* unigram, no BOS, EOS 1 */
    put_bytes(to, 3, normalizer.text, normalizer.n);
    lr_free(blob.text);
    lr_free(normalizer.text);
}

static void equals_sentencepiece_by_nfkc(void **state) {
    (void)state;
    llmrun_tokenizer *t = open_or_skip("../shared/data/tokenizers/t5-small/tokenizer.json");
    const lr_vocab *v = &t->vocab;
    lr_text model = { 0 };
    for (int32_t id = 0; id < v->n_model; id++) {
        const char *piece = v->text + v->tokens[id].start;
        bool control = id < 2 || !strncmp(piece, "<extra_id_", 10);
        put_piece(&model, piece, v->tokens[id].n, (float)v->scores[id], id == 2, control);
    }
    put_specs(&model, &v->charsmap);
    llmrun_tokenizer_close(t);
    char *dir = new_directory();
    write_bytes(dir, "t5.model", model.text, model.n);
    lr_free(model.text);
    const char *const files[] = { path_in(dir, "t5.model"), "../shared/data/tokenizers/t5-small/tokenizer.model" };
    equals_others(&(void *){ (void *)(uintptr_t)files });
    remove_tree(dir);
}

/* ---- vectors ---- */

static char *read_all(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *n = fread(bytes, 1, (1 << 20) - 1, f);
    bytes[*n] = 0;
    fclose(f);
    return bytes;
}

static void vectors(void **state) {
    const char *const *names = *state;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[256];
    size_t n_inp, n_out, n_cases = 0;
    snprintf(path, sizeof path, "../shared/data/tokenizers/%s", names[0]);
    llmrun_tokenizer *t = open_or_skip(path);
    snprintf(path, sizeof path, "../shared/data/tokenizers/vectors/ggml-vocab-%s.gguf.inp", names[1]);
    char *inp = read_all(path, &n_inp);
    memcpy(strstr(path, ".inp"), ".out", 4);
    char *out = read_all(path, &n_out), *want = out;
    assert_true(inp && out);
    for (char *at = inp; at <= inp + n_inp; n_cases++) {
        char *end = strstr(at, separator);
        size_t n = end ? (size_t)(end - at) : (size_t)(inp + n_inp - at), n_ids;
        EXPECT_OK(llmrun_tokenize(t, at, n, 0, ids, MAX_IDS, &n_ids, &err));
        for (size_t i = 0; i < n_ids; i++) {
            char *after;
            long id = strtol(want, &after, 10);
            if (after == want || id != ids[i]) fail_msg("%s: case %zu, id %zu: got %d", path, n_cases, i, (int)ids[i]);
            want = after;
        }
        while (*want == ' ') want++;
        if (*want && *want++ != '\n') fail_msg("%s: case %zu: more ids expected than %zu", path, n_cases, n_ids);
        at = end ? end + sizeof separator - 1 : inp + n_inp + 1;
    }
    assert_true(n_cases > 40);
    free(inp);
    free(out);
    llmrun_tokenizer_close(t);
}

#define VECTORS(dir, file) { "vectors " dir, vectors, NULL, NULL, (void *)(uintptr_t)(const char *const[]){ dir, file } }
#define VECTORS_GGUF(name) VECTORS("gguf-vocab/ggml-vocab-" name ".gguf", name)
#define GGUF "../shared/data/tokenizers/gguf-vocab/ggml-vocab-"
#define SAME(path, other)                                                                                              \
    { "10,000 strings: " path, equals_others, NULL, NULL, (void *)(uintptr_t)(const char *const[]){ path, other } }
#define GOLDEN(path) SAME(path, path)
#define SHARED(name) GOLDEN("../shared/data/" name "/tokenizer.json")

int main(void) {
    const struct CMUnitTest tests[] = {
        VECTORS("gpt2", "gpt-2"),
        VECTORS("llama3", "llama-bpe"),
        VECTORS("qwen2.5", "qwen2"),
        VECTORS("llama2", "llama-spm"),
        VECTORS("phi-3-mini", "phi-3"),
        VECTORS("llama2/tokenizer.model", "llama-spm"),
        VECTORS_GGUF("gpt-2"),
        VECTORS_GGUF("llama-spm"),
        VECTORS_GGUF("phi-3"),
        VECTORS_GGUF("deepseek-llm"),
        VECTORS_GGUF("falcon"),
        GOLDEN("tests/corpus/tokenizer/byte_level.json"),
        GOLDEN("tests/corpus/tokenizer/sentencepiece.json"),
        GOLDEN("tests/corpus/tokenizer/metaspace.json"),
        GOLDEN("tests/corpus/tokenizer/digits.json"),
        GOLDEN("tests/corpus/tokenizer/splits.json"),
        GOLDEN("tests/corpus/tokenizer/unigram.json"),
        GOLDEN("tests/corpus/tokenizer/unigram_bytes.json"),
        GOLDEN("tests/corpus/sentencepiece/bpe_bytes.model"),
        GOLDEN("tests/corpus/sentencepiece/bpe_rules.model"),
        GOLDEN("tests/corpus/sentencepiece/unigram_rules.model"),
        GOLDEN("tests/corpus/sentencepiece/unigram_bytes.model"),
        GOLDEN("../shared/data/tokenizers/llama2/tokenizer.model"),
        SAME(GGUF "llama-spm.gguf", "../shared/data/tokenizers/llama2/tokenizer.model"),
        SAME(GGUF "gpt-2.gguf", "../shared/data/tokenizers/gpt2/tokenizer.json"),
        cmocka_unit_test(equals_sentencepiece_by_nfkc),
        SHARED("models/stories260K"),
        SHARED("models/TinyStories-656K"),
        SHARED("tokenizers/t5-small"),
        SHARED("tokenizers/gpt2"),
        SHARED("tokenizers/llama2"),
        SHARED("tokenizers/llama3"),
        SHARED("tokenizers/qwen2.5"),
        SHARED("tokenizers/qwen3"),
        SHARED("tokenizers/phi-3-mini"),
        SHARED("tokenizers/smollm"),
        SHARED("tokenizers/gpt-oss-o200k"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
