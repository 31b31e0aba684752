/* The pre-tokenizers that GGUF files name in tokenizer.ggml.pre, as the patterns of the models' own tokenizer.json: each
 * cuts the pieces that the one before it left.  A name that is not here is UNSUPPORTED, never a guess.                */
#include "loaders/tokenizer_pre.h"

#include <string.h>

/* ---- patterns ---- */

#define CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define DIGIT "\\p{N}"
#define THREE_DIGITS "\\p{N}{1,3}"
#define CL100K(digits)                                                                                                 \
    "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN35                                                                                                         \
    "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K(tail, digits)                                                                                            \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" tail "|" digits       \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define PUNCTUATION(more) "[\\p{P}$+<=>^~|" more "]+"
#define CJK "[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+"
#define CJK_OLD "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+"
#define DEEPSEEK_V3                                                                                                    \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES
/* The letters of cased scripts. */
#define DEEPSEEK_LETTERS                                                                                               \
    "\\s?[A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf\\u01c4-\\u0293\\u0295-\\u02af"     \
    "\\u0370-\\u0373\\u0376\\u0377\\u037b-\\u037d\\u037f\\u0386\\u0388-\\u038a\\u038c\\u038e-\\u03a1"                  \
    "\\u03a3-\\u03f5\\u03f7-\\u0481\\u048a-\\u052f\\u0531-\\u0556\\u10a0-\\u10c5\\u13a0-\\u13f5\\u13f8-\\u13fd"        \
    "\\u1c90-\\u1cba\\u1cbd-\\u1cbf\\u1d00-\\u1d2b\\u1d6b-\\u1d77\\u1d79-\\u1d9a\\u1e00-\\u1f15\\u1f18-\\u1f1d"        \
    "\\u1f20-\\u1f45\\u1f48-\\u1f4d\\u1f50-\\u1f57\\u1f59\\u1f5b\\u1f5d\\u1f5f-\\u1f7d\\u1f80-\\u1fb4"                 \
    "\\u1fb6-\\u1fbc\\u1fbe\\u1fc2-\\u1fc4\\u1fc6-\\u1fcc\\u1fd0-\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-\\u1fec"                \
    "\\u1ff2-\\u1ff4\\u1ff6-\\u1ffc\\u2102\\u2107\\u210a-\\u2113\\u2115\\u2119-\\u211d\\u2124\\u2126\\u2128"           \
    "\\u212a-\\u212d\\u212f-\\u2134\\u2139\\u213c-\\u213f\\u2145-\\u2149\\u214e\\u2183\\u2184\\u2c00-\\u2c7b"          \
    "\\u2c7e-\\u2ce4\\u2ceb-\\u2cee\\u2cf2\\u2cf3\\ua640-\\ua66d\\ua680-\\ua69b\\ua722-\\ua76f\\ua771-\\ua787"         \
    "\\ua78b-\\ua78e\\uab70-\\uabbf\\ufb00-\\ufb06\\ufb13-\\ufb17\\uff21-\\uff3a\\uff41-\\uff5a"                       \
    "\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"        \
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+"
#define DEEPSEEK_PUNCTUATION "\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+"
#define BLOOM " ?[^(\\s|.,!?\\u2026\\u3002\\uff0c\\u3001\\u0964\\u06d4\\u060c)]+"

/* ---- names ---- */

enum { NFC = LR_PRE_NFC, WHOLE = LR_PRE_IGNORE_MERGES, BOS = LR_PRE_ADD_BOS, RAW = LR_PRE_RAW };

static const lr_pre pres[] = {
    {"gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert exaone4 mpt jais trillion "
     "granite-docling", {GPT2}, 0},
    {"olmo", {GPT2}, NFC},
    {"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2", {CL100K(THREE_DIGITS)}, WHOLE | BOS},
    {"dbrx smaug-bpe glm4 chatglm-bpe", {CL100K(THREE_DIGITS)}, 0},
    {"qwen2 deepseek-r1-qwen megrez", {CL100K(DIGIT)}, NFC},
    {"stablelm2 hunyuan solar-open grok-2 kormo f2llmv2", {CL100K(DIGIT)}, 0},
    {"qwen35", {QWEN35}, NFC},
    {"gpt-4o llama4 kanana2 minimax-m2", {O200K("(?i:" CONTRACTION ")?", THREE_DIGITS)}, 0},
    {"tekken", {O200K("", DIGIT)}, WHOLE | BOS},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", {THREE_DIGITS, CJK, DEEPSEEK_V3}, 0},
    {"deepseek-llm", {"[\\r\\n]", DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, "\\s+$", CJK_OLD, DIGIT}, 0},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_OLD, DIGIT}, 0},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", {DIGIT, GPT2}, 0},
    {"falcon", {PUNCTUATION("`"), GPT2, "[0-9][0-9][0-9]"}, 0},
    {"default", {PUNCTUATION(""), GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, 0},
    {"poro-chat bloom gpt3-finnish", {BLOOM}, 0},
    {"viking", {BLOOM, DIGIT}, 0},
    {"gemma4", {"[^\\n]+|[\\n]+"}, RAW},
};

/* Files from before tokenizer.ggml.pre, of families that have only ever had one.                                      */
static const struct {
    const char *architecture, *pre;
} only_one[] = {{"gpt2", "gpt-2"},           {"gptneox", "olmo"},  {"falcon", "falcon"}, {"qwen2", "qwen2"},
                {"starcoder", "starcoder"}, {"starcoder2", "starcoder"}, {"mpt", "mpt"},       {"bloom", "bloom"}};

const char *lr_pre_of_architecture(const char *architecture, size_t n) {
    for (size_t i = 0; i < LR_COUNT(only_one); i++)
        if (strlen(only_one[i].architecture) == n && !memcmp(only_one[i].architecture, architecture, n))
            return only_one[i].pre;
    return NULL;
}

const lr_pre *lr_pre_find(const char *name, size_t n) {
    for (size_t i = 0; i < LR_COUNT(pres); i++)
        for (const char *at = pres[i].names; *at;) {
            size_t word = strcspn(at, " ");
            if (word == n && !memcmp(at, name, n)) return &pres[i];
            at += word + (at[word] == ' ');
        }
    return NULL;
}

const lr_pre *lr_pre_match(const char *const *patterns, size_t n, unsigned flags) {
    for (size_t i = 0; i < LR_COUNT(pres); i++) {
        size_t same = 0;
        if ((pres[i].flags & (NFC | WHOLE | RAW)) != flags) continue;
        while (same < n && same < LR_COUNT(pres[i].patterns) && pres[i].patterns[same] &&
               strcmp(pres[i].patterns[same], patterns[same]) == 0)
            same++;
        if (same == n && (n == LR_COUNT(pres[i].patterns) || !pres[i].patterns[n])) return &pres[i];
    }
    return NULL;
}
