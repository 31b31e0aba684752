/* Conversations become the ids that transformers gives for the models' own templates, and what a conversation holds is
 * never a control token.
 *
 * The ids of REFERENCE were made once with transformers 5 from the same files:
 *   t = PreTrainedTokenizerFast.from_pretrained(DIR)   # tokenizer.json and tokenizer_config.json
 *   t.apply_chat_template([system, user], add_generation_prompt=True)                    -> first
 *   t.apply_chat_template([system, user, assistant, user], add_generation_prompt=True)   -> all; second is what follows
 * first and the answer's ids t.encode("It is 4.", add_special_tokens=False).                                          */
#include "tests/model_files.h"

#define SHARED "../shared/data/tokenizers/"
#define MODEL "tests/golden/models/llama-mha/"
#define SYSTEM "Answer briefly."
#define FIRST "What is 2+2?"
#define ANSWER "It is 4."
#define SECOND "Zażółć gęślą: naïve?\\n  def f(x): 😀"

typedef struct reference {
    const char *tokenizer, *config;
    const char *special;  /* what ends a turn */
    int32_t special_id;
    int32_t first[24], second[40];
    size_t n_first, n_second;
} reference;

static const reference REFERENCE[] = {
    { SHARED "qwen2.5/tokenizer.json", SHARED "configs-with-chat-templates/qwen2.5/tokenizer_config.json",
      "<|im_end|>", 151645,
      { 151644, 8948, 198, 16141, 26753, 13, 151645, 198, 151644, 872, 198, 3838, 374, 220, 17, 10, 17, 30, 151645, 198,
        151644, 77091, 198 },
      { 151645, 198, 151644, 872, 198, 57, 59919, 47392, 7730, 342, 5156, 126693, 5861, 25, 94880, 586, 5267, 220, 707, 282,
        2075, 1648, 90316, 151645, 198, 151644, 77091, 198 },
      23, 28 },
    { SHARED "phi-3-mini/tokenizer.json", SHARED "phi-3-mini/tokenizer_config.json", "<|end|>", 32007,
      { 32006, 673, 23359, 29889, 32007, 32010, 1724, 338, 29871, 29906, 29974, 29906, 29973, 32007, 32001 },
      { 32007, 32010, 16753, 30042, 8166, 30063, 330, 30023, 30045, 28835, 29901, 1055, 30085, 345, 29973, 13, 29871, 822,
        285, 29898, 29916, 1125, 29871, 243, 162, 155, 131, 32007, 32001 },
      15, 29 },
};

static void copy_file(const char *from, const char *dir, const char *name) {
    char block[65536];
    size_t n;
    FILE *in = fopen(from, "rb"), *out = fopen(path_in(dir, name), "wb");
    if (!in || !out) fail_msg("%s: cannot be copied", from);
    while ((n = fread(block, 1, sizeof block, in)) > 0) assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* A small model in a directory of its own, which can be given any tokenizer: conversations are not run here.           */
static char *new_model(void) {
    char *dir = new_directory();
    copy_file(MODEL "config.json", dir, "config.json");
    copy_file(MODEL "model.safetensors", dir, "model.safetensors");
    return dir;
}

static llmrun_engine *open_with(char *dir, const char *chat_template) {
    llmrun_engine *e = NULL;
    llmrun_options o;
    llmrun_options_default(&o);
    o.model = dir;
    o.cache_dir = "";
    o.chat_template = chat_template;
    EXPECT_OK(llmrun_engine_open(&e, &o, &err));
    remove_tree(dir);
    return e;
}

static llmrun_engine *open_and_remove(char *dir) { return open_with(dir, NULL); }

static size_t ids_of(const llmrun_engine *e, const char *messages, int32_t *ids, size_t max) {
    llmrun_chat_options o;
    size_t n = 0;
    llmrun_chat_options_default(&o);
    o.messages = messages;
    EXPECT_OK(llmrun_chat_tokenize(e, &o, ids, max, &n, &err));
    return n;
}

static void expect_ids(const llmrun_engine *e, const char *messages, const int32_t *want, size_t n_want) {
    int32_t ids[256];
    size_t n = ids_of(e, messages, ids, 256);
    for (size_t i = 0; i < n && i < n_want; i++)
        if (ids[i] != want[i]) fail_msg("%s: id %zu: expected %d, got %d", messages, i, want[i], ids[i]);
    assert_int_equal(n, n_want);

    /* A short array gets the first ids, and nothing beyond its end. */
    size_t few_max = n_want < 7 ? n_want : 7;
    int32_t few[8];
    few[few_max] = -5;
    assert_int_equal(ids_of(e, messages, few, few_max), n_want);
    assert_memory_equal(few, want, few_max * sizeof *few);
    assert_int_equal(few[few_max], -5);
    assert_int_equal(ids_of(e, messages, NULL, 0), n_want);
}

static void expect_rendered(const llmrun_engine *e, const llmrun_chat_options *o, const char *want) {
    char *text = NULL;
    EXPECT_OK(llmrun_chat_render(e, o, &text, &err));
    assert_string_equal(text, want);
    llmrun_free(text);
}

static void expect_text(const llmrun_engine *e, const char *messages, const char *tools, const char *want) {
    llmrun_chat_options o;
    llmrun_chat_options_default(&o);
    o.messages = messages;
    o.tools = tools;
    expect_rendered(e, &o, want);
}

/* ---- as transformers ---- */

/* Typed special tokens: the only ones among the ids are those of the template, as with harmless text.                 */
static void expect_harmless(const llmrun_engine *e, const reference *r) {
    char messages[512];
    int32_t ids[512];
    int n_special[2] = { 0, 0 };
    for (int typed = 0; typed < 2; typed++) {
        const char *s = typed ? r->special : "";
        snprintf(messages, sizeof messages,
                 "[{\"role\": \"system\", \"content\": \"%sx\"}, {\"role\": \"user\", \"content\": \"a%s\\nb\"},"
                 " {\"role\": \"assistant\", \"content\": \"%s\"}, {\"role\": \"user\", \"content\": \"%s%s\"}]", s, s, s, s, s);
        size_t n = ids_of(e, messages, ids, 512);
        for (size_t i = 0; i < n; i++) n_special[typed] += ids[i] == r->special_id;
    }
    assert_int_equal(n_special[0], 4);
    assert_int_equal(n_special[1], 4);
}

static void ids_are_those_of_transformers(void **state) {
    (void)state;
    for (size_t i = 0; i < LR_COUNT(REFERENCE); i++) {
        const reference *r = &REFERENCE[i];
        if (access(r->tokenizer, R_OK) != 0 || access(r->config, R_OK) != 0) {
            print_message("%s: not here\n", r->tokenizer);
            skip();
        }
        char *dir = new_model();
        copy_file(r->tokenizer, dir, "tokenizer.json");
        copy_file(r->config, dir, "tokenizer_config.json");
        llmrun_engine *e = open_and_remove(dir);
        static const char opening[] = "[{\"role\": \"system\", \"content\": \"" SYSTEM "\"},"
                                      " {\"role\": \"user\", \"content\": \"" FIRST "\"}";
        char messages[1024];
        int32_t all[128];
        size_t n = r->n_first, n_answer = 0;
        snprintf(messages, sizeof messages, "%s]", opening);
        expect_ids(e, messages, r->first, n);
        memcpy(all, r->first, n * sizeof *all);
        EXPECT_OK(llmrun_tokenize(llmrun_engine_tokenizer(e), ANSWER, strlen(ANSWER), 0, all + n, 128 - n, &n_answer, &err));
        memcpy(all + n + n_answer, r->second, r->n_second * sizeof *all);
        snprintf(messages, sizeof messages, "%s, {\"role\": \"assistant\", \"content\": \"" ANSWER "\"},"
                 " {\"role\": \"user\", \"content\": \"" SECOND "\"}]", opening);
        expect_ids(e, messages, all, n + n_answer + r->n_second);
        expect_harmless(e, r);
        llmrun_engine_close(e);
    }
}

/* ---- a vocabulary of characters with control tokens: special, merely added, blank, that take white space ---- */

static const char TOKENIZER[] =
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"<\": 0, \"|\": 1, \">\": 2, \"a\": 3, \"b\": 4, \"c\": 5, \"/\": 6,"
    " \"\xc4\xa0\": 7, \"\xc4\x8a\": 8, \"s\": 9, \"ab\": 10, \"\\\"\": 11, \"[\": 12, \"]\": 13, \"{\": 14, \"}\": 15,"
    " \":\": 16}, \"merges\": [\"a b\"]},"
    " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false},"
    " \"decoder\": {\"type\": \"ByteLevel\"}, \"added_tokens\": ["
    "{\"id\": 17, \"content\": \"<|a|>\", \"special\": true},"
    "{\"id\": 18, \"content\": \"<b>\", \"special\": false},"
    "{\"id\": 19, \"content\": \"<c>\", \"special\": false},"
    "{\"id\": 20, \"content\": \"\\n\\n\", \"special\": false},"
    "{\"id\": 21, \"content\": \"</s>\", \"special\": true, \"rstrip\": true},"
    "{\"id\": 22, \"content\": \"<s>\", \"special\": true, \"lstrip\": true}]}";

static llmrun_engine *open_characters(const char *template) {
    char *dir = new_model();
    write_text(dir, "tokenizer.json", TOKENIZER);
    write_text(dir, "chat_template.jinja", template);
    return open_and_remove(dir);
}

static void content_is_never_a_control_token(void **state) {
    (void)state;
    llmrun_engine *e = open_characters("{% for m in messages %}{{ '<|a|>' + m.content + '<b>\n\n' }}{% endfor %}");
    static const struct { const char *content; int32_t ids[24]; size_t n; } cases[] = {
        { "ab", { 17, 10, 18, 20 }, 4 },
        { "<|a|>", { 17, 0, 1, 3, 1, 2, 18, 20 }, 8 },        /* a special token */
        { "<b>", { 17, 0, 4, 2, 18, 20 }, 6 },                /* an added one that the template writes */
        { "<c>", { 17, 19, 18, 20 }, 4 },                     /* one that is only vocabulary */
        { "a\\n\\nb", { 17, 3, 20, 4, 18, 20 }, 6 },          /* a blank one */
        { "<s> a", { 17, 0, 9, 2, 7, 3, 18, 20 }, 8 },
        { " </s> ", { 17, 7, 0, 6, 9, 2, 7, 18, 20 }, 9 },
        { "<<b>", { 17, 0, 0, 4, 2, 18, 20 }, 7 },
        { "<", { 17, 0, 18, 20 }, 4 },                        /* next to what the template writes */
        { "<|a|", { 17, 0, 1, 3, 1, 18, 20 }, 7 },
        { "<|a|><|a|><b><b>", { 17, 0, 1, 3, 1, 2, 0, 1, 3, 1, 2, 0, 4, 2, 0, 4, 2, 18, 20 }, 19 },
    };
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        char messages[256];
        snprintf(messages, sizeof messages, "[{\"role\": \"user\", \"content\": \"%s\"}]", cases[i].content);
        expect_ids(e, messages, cases[i].ids, cases[i].n);
    }
    llmrun_engine_close(e);

    /* Half written by the template, half by the conversation: no token.  Roles that are words are the template's. */
    e = open_characters("{{ '<|' + messages[0].content + '|>' }}");
    expect_ids(e, "[{\"role\": \"a\", \"content\": \"a\"}]", (const int32_t[]){ 0, 1, 3, 1, 2 }, 5);
    llmrun_engine_close(e);
    e = open_characters("{{ '<|' + messages[0].role + '|>' + messages[0].content }}");
    expect_ids(e, "[{\"role\": \"a\", \"content\": \"<|a|>\"}]", (const int32_t[]){ 17, 0, 1, 3, 1, 2 }, 6);
    expect_ids(e, "[{\"role\": \"a|><|a\", \"content\": \"\"}]", (const int32_t[]){ 0, 1, 3, 1, 2, 0, 1, 3, 1, 2 }, 10);
    llmrun_engine_close(e);

    /* Through filters, and in tools, keys and variables. */
    e = open_characters("{{ messages[0].content | upper | lower }}{{ '[' ~ tools | tojson ~ v ~ ']' }}");
    llmrun_chat_options o;
    llmrun_chat_options_default(&o);
    o.messages = "[{\"role\": \"user\", \"content\": \"<|a|>\"}]";
    o.tools = "[{\"<s>\": \"<|a|>\"}]";
    o.variables = "{\"v\": \"<|a|>\"}";
    int32_t ids[128];
    size_t n = 0;
    EXPECT_OK(llmrun_chat_tokenize(e, &o, ids, 128, &n, &err));
    assert_true(n > 20);
    for (size_t i = 0; i < n; i++) assert_true(ids[i] < 17);
    llmrun_engine_close(e);

    /* White space beside a token that takes it. */
    e = open_characters("{{ 'a </s> ' + messages[0].content + ' <s>' }}");
    expect_ids(e, "[{\"role\": \"user\", \"content\": \" b \"}]", (const int32_t[]){ 3, 7, 21, 4, 22 }, 5);
    llmrun_engine_close(e);
}

/* Tokens that SentencePiece knows by itself, in a model whose tokenizer has no list of added ones.                     */
static void own_tokens_of_sentencepiece_are_control_tokens_too(void **state) {
    (void)state;
    static const char *const templates[] = { "{{ '<think>' + messages[0].content }}", "{{ 'x' + messages[0].content }}" };
    int n_think[2] = { 0, 0 };
    for (int i = 0; i < 2; i++) {
        char *dir = new_model();
        copy_file("tests/corpus/sentencepiece/bpe_bytes.model", dir, "tokenizer.model");
        write_text(dir, "chat_template.jinja", templates[i]);
        llmrun_engine *e = open_and_remove(dir);
        int32_t ids[64], think = -1;
        for (int32_t id = 0; id < llmrun_token_count(llmrun_engine_tokenizer(e)); id++) {
            size_t n_bytes;
            const char *text = llmrun_token_text(llmrun_engine_tokenizer(e), id, true, false, &n_bytes);
            if (n_bytes == 7 && memcmp(text, "<think>", 7) == 0) think = id;
        }
        assert_true(think >= 0);
        size_t n = ids_of(e, "[{\"role\": \"user\", \"content\": \"a<think>b\"}]", ids, 64);
        for (size_t k = 0; k < n; k++) n_think[i] += ids[k] == think;
        llmrun_engine_close(e);
    }
    assert_int_equal(n_think[0], 1); /* the one that the template writes */
    assert_int_equal(n_think[1], 1); /* vocabulary as any other */
}

/* ---- templates and options ---- */

static void templates_are_found(void **state) {
    (void)state;
    static const struct { const char *file, *text, *want, *want_tools; } places[] = {
        { "tokenizer_config.json", "{\"chat_template\": \"one\"}", "one", "one" },
        { "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"default\", \"template\": \"two\"}]}", "two", "two" },
        { "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"tools\"},"
                                   " {\"name\": \"default\", \"template\": \"three\"}]}", "three", "tools" },
        { "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"four\"}]}", "four", "four" },
        { "chat_template.jinja", "{{ 'five' }}\n", "five", "five" },
        { "tokenizer_config.json", "{\"chat_template\": \"{{ bos_token ~ eos_token ~ unk_token ~ image_token ~ pad_token }}\","
                                   " \"bos_token\": \"B\", \"eos_token\": {\"content\": \"E\"}, \"pad_token\": null,"
                                   " \"extra_special_tokens\": {\"image_token\": \"I\"}}", "BEI", "BEI" },
    };
    static const char messages[] = "[{\"role\": \"user\", \"content\": \"x\"}]";
    for (size_t i = 0; i < LR_COUNT(places); i++) {
        char *dir = new_model();
        write_text(dir, "tokenizer.json", TOKENIZER);
        write_text(dir, places[i].file, places[i].text);
        llmrun_engine *e = open_and_remove(dir);
        llmrun_model_info info = { .struct_size = sizeof info };
        assert_int_equal(llmrun_engine_info(e, &info), LLMRUN_OK);
        assert_true(info.has_chat_template);
        expect_text(e, messages, NULL, places[i].want);
        expect_text(e, messages, "[]", places[i].want_tools);
        llmrun_engine_close(e);
    }
    char *dir = new_model();
    write_text(dir, "chat_template.jinja", "own");
    llmrun_engine *e = open_with(dir, "{{ 'given' }}");
    expect_text(e, messages, NULL, "given");
    llmrun_engine_close(e);
}

static void options_reach_the_template(void **state) {
    (void)state;
    llmrun_engine *e = open_characters(
        "{{ tools is none }} {{ documents }} {{ add_generation_prompt }} {{ thinking | default('-') }}"
        " {{ strftime_now('%Y') }} {% for m in messages %}[{{ m.content if m.content is string else m.content[0].text }}]"
        "{% endfor %}");
    llmrun_chat_options o;
    char *text = NULL;
    size_t n;
    llmrun_chat_options_default(&o);
    o.messages = "[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", \"content\": \"y \"}]";
    o.unix_time = 1000000000;
    expect_rendered(e, &o, "True None True - 2001 [x][y ]");
    o.tools = "[]";
    o.variables = "{\"thinking\": false, \"documents\": [1]}";
    o.add_generation_prompt = false;
    expect_rendered(e, &o, "False [1] False False 2001 [x][y ]");
    o.continue_last = true;
    expect_rendered(e, &o, "False [1] False False 2001 [x][y ");
    o.messages = "[{\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"z\"}, {\"type\": \"image\"}]}]";
    expect_rendered(e, &o, "False [1] False False 2001 [z");

    o.messages = "[{\"role\": \"assistant\"}]";
    EXPECT_FAIL(llmrun_chat_render(e, &o, &text, &err), LLMRUN_ARG, "expected a text in the last one");
    o.add_generation_prompt = true;
    EXPECT_FAIL(llmrun_chat_render(e, &o, &text, &err), LLMRUN_ARG, "contradict");
    assert_null(text);
    llmrun_chat_options_default(&o);
    EXPECT_FAIL(llmrun_chat_render(e, &o, &text, &err), LLMRUN_ARG, "messages");
    o.messages = "[{]";
    EXPECT_FAIL(llmrun_chat_render(e, &o, &text, &err), LLMRUN_FORMAT, "messages");
    o.messages = "[{\"role\": \"user\", \"content\": \"x\"}]";
    o.tools = "{";
    EXPECT_FAIL(llmrun_chat_render(e, &o, &text, &err), LLMRUN_FORMAT, "tools");
    o.tools = NULL;
    o.variables = "[]";
    EXPECT_FAIL(llmrun_chat_render(e, &o, &text, &err), LLMRUN_FORMAT, "variables: expected an object");
    EXPECT_FAIL(llmrun_chat_render(NULL, &o, &text, &err), LLMRUN_ARG, "engine");
    EXPECT_FAIL(llmrun_chat_render(e, NULL, &text, &err), LLMRUN_ARG, "options");
    EXPECT_FAIL(llmrun_chat_render(e, &o, NULL, &err), LLMRUN_ARG, "NULL");
    EXPECT_FAIL(llmrun_chat_tokenize(e, &o, NULL, 1, &n, &err), LLMRUN_ARG, "NULL");
    llmrun_engine_close(e);
}

static void without_a_template_texts_are_completed(void **state) {
    (void)state;
    static const char messages[] = "[{\"role\": \"user\", \"content\": \"ab<|a|>\"}, {\"role\": \"assistant\", \"content\": \"c\\n\"},"
                                   " {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}]}]";
    char *dir = new_model();
    write_text(dir, "tokenizer.json", TOKENIZER);
    write_text(dir, "tokenizer_config.json", "{\"bos_token\": \"<s>\", \"add_bos_token\": true}");
    llmrun_engine *e = open_and_remove(dir);
    expect_text(e, messages, NULL, "ab<|a|>\nc\na");
    expect_ids(e, messages, (const int32_t[]){ 22, 10, 0, 1, 3, 1, 2, 8, 5, 8, 3 }, 11);
    llmrun_engine_close(e);

    e = open_and_remove(new_model());
    llmrun_chat_options o;
    size_t n = 0;
    llmrun_chat_options_default(&o);
    o.messages = messages;
    EXPECT_FAIL(llmrun_chat_tokenize(e, &o, NULL, 0, &n, &err), LLMRUN_UNSUPPORTED, "no tokenizer");
    llmrun_engine_close(e);
}

/* ---- memory ---- */

static long until_failure, held;

static void *failing(void *user, void *old, size_t size) {
    (void)user;
    if (size == 0) {
        held -= old != NULL;
        free(old);
        return NULL;
    }
    if (--until_failure == 0) return NULL;
    held += !old;
    return realloc(old, size);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    llmrun_engine *e = open_characters("{{ bos_token }}{% for m in messages %}{{ '<|a|>' + m.content | trim + '<b>' }}{% endfor %}");
    llmrun_chat_options o;
    int32_t ids[64];
    size_t n = 0;
    long count = 0;
    llmrun_chat_options_default(&o);
    o.messages = "[{\"role\": \"user\", \"content\": \"ab <c> <|a|>\"}]";
    o.variables = "{\"x\": [1, {\"y\": \"z\"}]}";
    for (llmrun_status status = LLMRUN_NOMEM; status; count++) {
        until_failure = count + 1;
        llmrun_set_allocator(failing, NULL);
        status = llmrun_chat_tokenize(e, &o, ids, 64, &n, &err);
        llmrun_set_allocator(NULL, NULL);
        if (status && status != LLMRUN_NOMEM) fail_msg("allocation %ld: %s", count, err.message);
        if (status && !strstr(err.message, "memory")) fail_msg("allocation %ld: unclear: %s", count, err.message);
        if (held) fail_msg("allocation %ld: %ld blocks leaked", count, held);
    }
    assert_true(count > 8);
    until_failure = 1;
    char *text = NULL;
    llmrun_set_allocator(failing, NULL);
    assert_int_equal(llmrun_chat_render(e, &o, &text, &err), LLMRUN_NOMEM);
    llmrun_set_allocator(NULL, NULL);
    assert_null(text);
    llmrun_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_transformers),
        cmocka_unit_test(content_is_never_a_control_token),
        cmocka_unit_test(own_tokens_of_sentencepiece_are_control_tokens_too),
        cmocka_unit_test(templates_are_found),
        cmocka_unit_test(options_reach_the_template),
        cmocka_unit_test(without_a_template_texts_are_completed),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
