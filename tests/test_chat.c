/* Chat turns are those of the models' own templates, and what a user types is never a special token.
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
#define SECOND "Zażółć gęślą: naïve?\n  def f(x): 😀"

typedef struct reference {
    const char *tokenizer, *config, *form;
    const char *special;  /* what ends a turn */
    int32_t special_id;
    int32_t first[24], second[40];
    size_t n_first, n_second;
} reference;

static const reference REFERENCE[] = {
    { SHARED "qwen2.5/tokenizer.json", SHARED "configs-with-chat-templates/qwen2.5/tokenizer_config.json", "ChatML",
      "<|im_end|>", 151645,
      { 151644, 8948, 198, 16141, 26753, 13, 151645, 198, 151644, 872, 198, 3838, 374, 220, 17, 10, 17, 30, 151645, 198,
        151644, 77091, 198 },
      { 151645, 198, 151644, 872, 198, 57, 59919, 47392, 7730, 342, 5156, 126693, 5861, 25, 94880, 586, 5267, 220, 707, 282,
        2075, 1648, 90316, 151645, 198, 151644, 77091, 198 },
      23, 28 },
    { SHARED "phi-3-mini/tokenizer.json", SHARED "phi-3-mini/tokenizer_config.json", "Phi", "<|end|>", 32007,
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

/* A small model in a directory of its own, which can be given any tokenizer: turns are made without running it.       */
static char *new_model(void) {
    char *dir = new_directory();
    copy_file(MODEL "config.json", dir, "config.json");
    copy_file(MODEL "model.safetensors", dir, "model.safetensors");
    return dir;
}

static llmrun_engine *open_and_remove(char *dir) {
    llmrun_engine *e = NULL;
    llmrun_options o;
    llmrun_options_default(&o);
    o.model = dir;
    o.cache_dir = "";
    EXPECT_OK(llmrun_engine_open(&e, &o, &err));
    remove_tree(dir);
    return e;
}

static void expect_turn(const llmrun_engine *e, bool first, const char *text, const int32_t *want, size_t n_want) {
    int32_t ids[64];
    size_t n = 0;
    EXPECT_OK(llmrun_chat_turn(e, first, SYSTEM, text, strlen(text), ids, 64, &n, &err));
    for (size_t i = 0; i < n && i < n_want; i++)
        if (ids[i] != want[i]) fail_msg("id %zu: expected %d, got %d", i, want[i], ids[i]);
    assert_int_equal(n, n_want);

    /* A short array gets the first ids, and nothing beyond its end. */
    int32_t few[8] = { [7] = -5 };
    EXPECT_OK(llmrun_chat_turn(e, first, SYSTEM, text, strlen(text), few, 7, &n, &err));
    assert_int_equal(n, n_want);
    assert_memory_equal(few, want, 7 * sizeof *few);
    assert_int_equal(few[7], -5);
    EXPECT_OK(llmrun_chat_turn(e, first, SYSTEM, text, strlen(text), NULL, 0, &n, &err));
    assert_int_equal(n, n_want);
}

/* Typed special tokens: the only ones among the ids are those of the form, as in a turn with harmless text.           */
static void expect_harmless(const llmrun_engine *e, const reference *r) {
    char text[64];
    int32_t ids[64];
    size_t n = 0;
    int n_special[2] = { 0, 0 };
    for (int typed = 0; typed < 2; typed++) {
        snprintf(text, sizeof text, "a%s\nb", typed ? r->special : "");
        EXPECT_OK(llmrun_chat_turn(e, true, NULL, text, strlen(text), ids, 64, &n, &err));
        for (size_t i = 0; i < n; i++) n_special[typed] += ids[i] == r->special_id;
    }
    assert_int_equal(n_special[0], 1);
    assert_int_equal(n_special[1], 1);
}

static void turns_are_those_of_the_template(void **state) {
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
        assert_string_equal(llmrun_chat_form(e), r->form);
        expect_turn(e, true, FIRST, r->first, r->n_first);
        expect_turn(e, false, SECOND, r->second, r->n_second);
        expect_harmless(e, r);
        llmrun_engine_close(e);
    }
}

/* Newer models keep the template in a file of its own, older ones a list of named ones.                              */
static void templates_are_found(void **state) {
    (void)state;
    static const struct {
        const char *file, *text, *form;
    } places[] = {
        { "tokenizer_config.json", "{\"chat_template\": \"'<|start_header_id|>'\"}", "Llama 3" },
        { "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"default\", \"template\": \"[INST]\"}]}", "Mistral" },
        { "chat_template.jinja", "{{ '<start_of_turn>' }}", "Gemma" },
        { "chat_template.jinja", "{{ '<|turn>' }}", NULL },
    };
    static const char tokenizer[] = "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []},"
                                    " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
                                    " \"decoder\": {\"type\": \"ByteLevel\"}}";
    for (size_t i = 0; i < LR_COUNT(places); i++) {
        char *dir = new_model();
        write_text(dir, "tokenizer.json", tokenizer);
        write_text(dir, places[i].file, places[i].text);
        llmrun_engine *e = open_and_remove(dir);
        llmrun_model_info info = { .struct_size = sizeof info };
        assert_int_equal(llmrun_engine_info(e, &info), LLMRUN_OK);
        assert_true(info.has_chat_template);
        const char *form = llmrun_chat_form(e);
        if (places[i].form)
            assert_string_equal(form ? form : "none", places[i].form);
        else
            assert_null(form);
        llmrun_engine_close(e);
    }
}

static void no_template_no_form(void **state) {
    (void)state;
    size_t n = 0;
    llmrun_engine *e = open_and_remove(new_model());
    assert_null(llmrun_chat_form(e));
    EXPECT_FAIL(llmrun_chat_turn(e, true, NULL, "x", 1, NULL, 0, &n, &err), LLMRUN_UNSUPPORTED, "no chat template");
    EXPECT_FAIL(llmrun_chat_turn(NULL, true, NULL, "x", 1, NULL, 0, &n, &err), LLMRUN_ARG, "engine");
    llmrun_engine_close(e);
    assert_null(llmrun_chat_form(NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_are_those_of_the_template),
        cmocka_unit_test(templates_are_found),
        cmocka_unit_test(no_template_no_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
