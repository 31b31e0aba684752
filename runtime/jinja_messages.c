/* Conversations as templates expect them, with what apply_chat_template does to them before it renders.                */
#include "runtime/jinja_parts.h"

/* "user", "tool": nothing that could be part of a control token but the name of a role.                                */
static bool is_word(lr_jvalue v) {
    if (v.kind != LR_J_STRING || v.n > 32) return false;
    for (uint32_t i = 0; i < v.n; i++) {
        char c = v.s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return true;
}

/* A message as templates expect it: no null members; the reasoning under "thinking" in front and "reasoning_content".  */
static lr_jvalue read_message(lr_jinja *j, lr_jvalue message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    lr_jdict *d = lr_jinja_dict(j);
    const lr_jvalue *reasoning = NULL;
    if (message.kind != LR_J_DICT) lr_jinja_fail(j, LLMRUN_FORMAT, "messages: expected objects");
    for (size_t i = 0; i < LR_COUNT(names); i++) {
        const lr_jvalue *found = lr_jinja_find_text(j, message.dict, names[i]);
        if (found && found->kind != LR_J_NONE && !reasoning) reasoning = found;
    }
    if (reasoning) lr_jinja_put(j, d, lr_jinja_literal("thinking"), *reasoning);
    for (uint32_t i = 0; i < message.dict->n; i++) {
        struct lr_jpair pair = message.dict->pairs[i];
        bool is_role = pair.key.n == 4 && memcmp(pair.key.s, "role", 4) == 0;
        if (is_role && is_word(pair.value)) pair.value.mark = NULL;
        if (pair.value.kind != LR_J_NONE) lr_jinja_put(j, d, pair.key, pair.value);
    }
    if (reasoning) lr_jinja_put(j, d, lr_jinja_literal("reasoning_content"), *reasoning);
    return lr_jinja_dict_value(d, LR_J_DICT);
}

/* A last message that goes on is found again by a text that is put behind its content.                                 */
static const char END[] = "CONTINUE_FINAL_MESSAGE_TAG ";

static lr_jvalue with_end(lr_jinja *j, lr_jvalue text) {
    lr_jbuffer b = {0};
    if (text.kind != LR_J_STRING) lr_jinja_fail(j, LLMRUN_ARG, "messages: expected a text in the last one, so that it can go on");
    lr_jinja_append_value(j, &b, text);
    lr_jinja_append(j, &b, END, sizeof END - 1, NULL);
    return lr_jinja_finish(&b);
}

/* content is a text, or parts of which the last one with a text is meant.                                              */
static void open_end(lr_jinja *j, lr_jvalue *message) {
    const lr_jvalue *content = lr_jinja_find_text(j, message->dict, "content"), *text = NULL;
    lr_jvalue key = lr_jinja_literal("content");
    if (!content || content->kind != LR_J_LIST) {
        lr_jinja_put(j, message->dict, key, with_end(j, content ? *content : (lr_jvalue){0}));
        return;
    }
    for (uint32_t i = content->n; i-- > 0 && !text;) {
        const lr_jvalue *part = &content->items[i];
        text = part->kind == LR_J_DICT ? lr_jinja_find_text(j, part->dict, "text") : NULL;
        if (text) lr_jinja_put(j, part->dict, lr_jinja_literal("text"), with_end(j, *text));
    }
    if (!text) with_end(j, (lr_jvalue){0});
}

void lr_jinja_cut_end(lr_jinja *j, lr_jbuffer *out) {
    size_t n = sizeof END - 2, at = out->n; /* without the blank, which the template may have trimmed */
    while (at > 0 && (out->n - at < n || memcmp(out->s + at, END, n) != 0)) at--;
    if (out->n - at < n || memcmp(out->s + at, END, n) != 0)
        lr_jinja_fail(j, LLMRUN_ARG, "the template does not show the last message, so it cannot go on");
    bool whole = out->n - at > n && out->s[at + n] == ' ';
    out->n = at;
    if (!whole) out->n = lr_jinja_strip(j, lr_jinja_finish(out), NULL, 2).n;
}

lr_jvalue lr_jinja_read_messages(lr_jinja *j, lr_jvalue messages) {
    if (messages.kind != LR_J_LIST) lr_jinja_fail(j, LLMRUN_FORMAT, "messages: expected an array");
    if (!messages.n) lr_jinja_fail(j, LLMRUN_ARG, "messages: expected at least one");
    lr_jvalue *items = lr_jinja_alloc(j, messages.n * sizeof *items);
    for (uint32_t i = 0; i < messages.n; i++) items[i] = read_message(j, messages.items[i]);
    if (j->job->open_end) open_end(j, &items[messages.n - 1]);
    return lr_jinja_list(items, messages.n, 0);
}
