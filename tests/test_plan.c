/* The planner, against sizes that this file works out for itself: shapes of published models x file types x formats x
 * contexts x more than 200 budgets.  Options are drawn from a fixed seed; a failure prints the case.                 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/plan_models.h"

/* ---- what this file expects ---- */

static uint64_t up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

static uint64_t matrix_bytes(lr_format f, uint64_t values) {
    switch (f) {
    case LR_F32: return up(values * 4);
    case LR_F16:
    case LR_BF16: return up(values * 2);
    case LR_Q8_0: return up(values) + up(values / 32 * 2);
    case LR_Q4_K: return up(values / 2) + up(values / 256 * 16);
    case LR_IQ4_NL: return up(values / 2) + up(values / 32 * 2);
    case LR_NF4: return up(values / 2) + up(values / 64 * 4);
    default: fail_msg("format %d", f); return 0;
    }
}

/* Format that a matrix must run in where the plan's precision is quant; kept: as in the file.                        */
static lr_format expected_format(const lr_plan_input *in, const model *m, const lr_plan *plan,
                                 const lr_plan_tensor *t) {
    lr_format file16 = t->file_format == LR_BF16 ? LR_BF16 : LR_F16;
    bool head = m->has & HAS_HEAD;
    if (t->cols == 1) return LR_F32;
    if (t->role == LR_EMBED && head && in->use_mmap && t->aligned) return t->file_format;
    if (plan->quant_kept) return file16;
    bool four = plan->quant == LR_Q4_K || plan->quant == LR_IQ4_NL || plan->quant == LR_NF4;
    lr_format want = four && t->role == LR_EMBED && !head ? LR_Q8_0 : plan->quant;
    int64_t block = want == LR_Q4_K ? 256 : want == LR_NF4 ? 64 : want == LR_Q8_0 || want == LR_IQ4_NL ? 32 : 1;
    if (t->cols % block == 0) return want;
    if (four && want != LR_Q8_0 && t->cols % 32 == 0) return LR_IQ4_NL;
    return file16;
}

static uint64_t cache_bytes(const lr_plan *plan, const model *m, int32_t layer, int32_t *slots) {
    const lr_hparams *h = &m->h;
    *slots = plan->n_ctx;
    if (lr_layer_windowed(h, layer) && h->window + plan->n_batch < *slots) *slots = h->window + plan->n_batch;
    uint64_t values = (uint64_t)h->n_kv_heads * (uint64_t)h->head_dim * (uint64_t)*slots;
    return 2 * matrix_bytes(plan->kv, values);
}

static uint64_t act_bytes(const lr_plan *plan, const lr_plan_input *in) {
    uint64_t most = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lr_plan_tensor *t = &in->tensors[i];
        lr_format f = plan->placements[i].format;
        if (t->cols == 1 || (t->role == LR_EMBED && in->tensors[in->n_tensors - 1].role == LR_HEAD)) continue;
        uint64_t cols = (uint64_t)t->cols, n = (uint64_t)plan->n_batch, few = n < 8 ? n : 8;
        uint64_t many = f == LR_F32 ? up(4 * n * cols) : lr_format_is_plain(f)
                        ? up(2 * n * cols) : up(n * cols) + 2 * up(n * cols / 32 * 4);
        uint64_t a = up(4 * few * cols) > many ? up(4 * few * cols) : many;
        if (a > most) most = a;
    }
    return most;
}

/* Bytes that the region of that name must have; sums up its tensors or knows its shape.                              */
static uint64_t region_bytes(const char *name, const lr_plan *plan, const lr_plan_input *in, const model *m) {
    const lr_hparams *h = &m->h;
    uint64_t n = (uint64_t)plan->n_batch, q = (uint64_t)h->n_heads * (uint64_t)h->head_dim;
    uint64_t kv = (uint64_t)h->n_kv_heads * (uint64_t)h->head_dim, sum = 0;
    int32_t layer = -2, session, slots;
    if (sscanf(name, "kv.%d", &layer) == 1 || sscanf(name, "sessions.%d.kv.%d", &session, &layer) == 2)
        return cache_bytes(plan, m, layer, &slots);
    if (strstr(name, ".weights")) {
        sscanf(name, "layers.%d", &layer);
        for (size_t i = 0; i < in->n_tensors; i++) {
            const lr_plan_tensor *t = &in->tensors[i];
            bool mine = layer >= 0 ? t->layer == layer : t->layer < 0 && (t->role == LR_EMBED) == (*name == 'e');
            if (mine && plan->placements[i].converted)
                sum += matrix_bytes(plan->placements[i].format, (uint64_t)(t->rows * t->cols));
        }
        return sum;
    }
    const struct { const char *name; uint64_t bytes; } rows[] = {
        { "activations.x", 4 * n * (uint64_t)h->dim }, { "activations.y", 4 * n * (uint64_t)h->dim },
        { "activations.q", 4 * n * q }, { "activations.att", 4 * n * q },
        { "activations.k", 4 * n * kv }, { "activations.v", 4 * n * kv },
        { "activations.gate", 4 * n * (uint64_t)h->hidden_dim }, { "activations.up", 4 * n * (uint64_t)h->hidden_dim },
        { "activations.act", act_bytes(plan, in) }, { "activations.cos_sin", 4 * n * (uint64_t)h->n_rot },
        { "activations.partial", partial_bytes(plan->n_batch, plan->n_ctx, h->n_heads, h->n_kv_heads, h->head_dim) },
        { "activations.seqs", sizeof(lr_seq) * (uint64_t)in->n_sessions },
        { "activations.tokens", 4 * (uint64_t)in->n_sessions * (uint64_t)plan->n_ctx },
        { "logits", 4 * (uint64_t)in->n_sessions * (uint64_t)h->n_vocab },
        { "scratch", plan->buffers.scratch_stride * (uint64_t)in->n_threads },
    };
    for (size_t i = 0; i < LR_COUNT(rows); i++)
        if (strcmp(name, rows[i].name) == 0) return rows[i].bytes;
    fail_msg("unknown region %s", name);
    return 0;
}

static const lr_plan_region *region_at(const lr_plan *plan, const char *name) {
    for (size_t i = 0; i < plan->n_regions; i++)
        if (strcmp(plan->regions[i].name, name) == 0) return &plan->regions[i];
    fail_msg("no region %s", name);
    return NULL;
}

static void check_regions(const lr_plan *plan, const lr_plan_input *in, const model *m) {
    uint64_t end = 0, sum = 0;
    for (size_t i = 0; i < plan->n_regions; i++) {
        const lr_plan_region *r = &plan->regions[i];
        assert_true(r->offset >= end && r->offset % LR_ALIGN == 0 && r->bytes > 0);
        end = r->offset + r->bytes;
        sum += up(r->bytes);
        uint64_t want = region_bytes(r->name, plan, in, m);
        if (r->bytes != want) fail_msg("%s: expected %llu bytes, got %llu", r->name, (unsigned long long)want,
                                       (unsigned long long)r->bytes);
    }
    assert_true(end <= plan->arena_bytes);
    assert_int_equal(sum, plan->arena_bytes);
    const lr_plan_buffers *b = &plan->buffers;
    const struct { const char *name; uint64_t offset; } at[] = {
        { "activations.x", b->x }, { "activations.y", b->y }, { "activations.q", b->q }, { "activations.k", b->k },
        { "activations.v", b->v }, { "activations.att", b->att }, { "activations.gate", b->gate },
        { "activations.up", b->up }, { "activations.act", b->act }, { "activations.cos_sin", b->cos_sin },
        { "activations.seqs", b->seqs }, { "activations.tokens", b->tokens }, { "logits", b->logits },
        { "scratch", b->scratch },
    };
    for (size_t i = 0; i < LR_COUNT(at); i++) assert_int_equal(region_at(plan, at[i].name)->offset, at[i].offset);
}

static int by_offset(const void *a, const void *b) {
    uint64_t x = (*(const lr_plan_placement *const *)a)->offset, y = (*(const lr_plan_placement *const *)b)->offset;
    return x < y ? -1 : x > y;
}

static void check_weights(const lr_plan *plan, const lr_plan_input *in, const model *m) {
    static const lr_plan_placement *block[MOST_TENSORS];
    uint64_t mapped = 0, mapped_rows = 0, total = 0, per_token = 0, params = 0, end = 0;
    size_t n = 0;
    for (size_t i = 0; i < in->n_tensors; i++) {
        const lr_plan_placement *p = &plan->placements[i];
        const lr_plan_tensor *t = &in->tensors[i];
        uint64_t values = (uint64_t)(t->rows * t->cols);
        assert_int_equal(p->format, expected_format(in, m, plan, t));
        bool in_place = p->format == t->file_format && t->aligned && in->use_mmap;
        bool rows_only = t->role == LR_EMBED && (m->has & HAS_HEAD);
        assert_int_equal(p->converted, !in_place);
        assert_int_equal(p->tier, in_place || in->cached ? LR_TIER_MAPPED : LR_TIER_RESIDENT);
        uint64_t bytes = matrix_bytes(p->format, values);
        if (in_place) bytes = values * (uint64_t)lr_formats[p->format].quant_bytes;
        assert_int_equal(p->bytes, bytes);
        if (p->converted) block[n++] = p;
        else *(rows_only ? &mapped_rows : &mapped) += bytes;
        total += bytes;
        per_token += rows_only ? bytes / (uint64_t)t->rows : bytes;
        params += values;
    }
    qsort(block, n, sizeof *block, by_offset);
    for (size_t i = 0; i < n; i++) { /* the block has no holes, so its layout is that of the cache file */
        assert_int_equal(block[i]->offset, end);
        end += block[i]->bytes;
    }
    assert_int_equal(plan->weights_bytes, end);
    assert_int_equal(plan->mapped_bytes, mapped + (in->cached ? end : 0));
    assert_int_equal(plan->mapped_rows_bytes, mapped_rows);
    assert_int_equal(plan->weight_bytes, total);
    assert_int_equal(plan->weight_bytes_per_token, per_token);
    assert_int_equal(plan->n_params, params);
}

static void check_caches(const lr_plan *plan, const lr_plan_input *in, const model *m) {
    for (int32_t s = 0; s < in->n_sessions; s++)
        for (int32_t l = 0; l < m->h.n_layers; l++) {
            int32_t slots;
            char name[48];
            if (in->n_sessions > 1) snprintf(name, sizeof name, "sessions.%d.kv.%d", s, l);
            else snprintf(name, sizeof name, "kv.%d", l);
            assert_int_equal(plan->kv_page_bytes[l], cache_bytes(plan, m, l, &slots));
            assert_int_equal(plan->kv_slots[l], slots);
            assert_int_equal(plan->kv_offset[s * m->h.n_layers + l], region_at(plan, name)->offset);
        }
}

static void check_plan(const lr_plan *plan, const lr_plan_input *in, const model *m) {
    check_regions(plan, in, m);
    check_weights(plan, in, m);
    check_caches(plan, in, m);
    assert_int_equal(plan->fixed_bytes, in->host_fixed_bytes + in->host.overhead_bytes);
    assert_int_equal(plan->total_bytes, plan->arena_bytes + plan->fixed_bytes);
    assert_int_equal(plan->needed_bytes, plan->total_bytes + plan->mapped_bytes);
    assert_true(plan->needed_bytes <= in->host.budget_bytes);
    if (in->n_ctx) assert_int_equal(plan->n_ctx, in->n_ctx);
    assert_int_equal(plan->kv, in->kv == LR_FORMAT_NONE ? LR_F16 : in->kv);
    assert_true(plan->n_batch <= lr_max(plan->n_ctx, in->n_sessions) && plan->n_batch >= in->n_sessions);
}

/* ---- refusals ---- */

static bool fits(const lr_plan_input *in) {
    lr_plan plan;
    llmrun_status status = lr_plan_make(&plan, in, NULL);
    lr_plan_close(&plan);
    assert_true(status == LLMRUN_OK || status == LLMRUN_NOMEM);
    return status == LLMRUN_OK;
}

/* Applies the words of a remedy as the command line would.                                                           */
static lr_plan_input apply_words(const lr_plan_input *in, const char *words) {
    lr_plan_input changed = *in;
    char copy[80], *save = NULL;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (strcmp(w, "--disk") == 0) {
            changed.disk = true;
            continue;
        }
        const char *value = strtok_r(NULL, " ", &save);
        assert_non_null(value);
        if (strcmp(w, "--quant") == 0) {
            changed.quant = LR_FORMAT_NONE;
            changed.quant_bits = atoi(value);
        } else if (strcmp(w, "--kv") == 0) {
            changed.kv = lr_format_by_name(value);
        } else if (strcmp(w, "-c") == 0) {
            changed.n_ctx = atoi(value);
        } else if (strcmp(w, "--ram") == 0) {
            changed.host.budget_bytes = strtoull(value, NULL, 10);
        } else {
            fail_msg("unknown word %s in \"%s\"", w, words);
        }
    }
    return changed;
}

static void check_refusal(const lr_plan_input *in) {
    lr_plan_remedy remedies[LR_PLAN_MAX_REMEDIES];
    lr_plan plan;
    llmrun_error err = { 0 };
    assert_int_equal(lr_plan_make(&plan, in, &err), LLMRUN_NOMEM);
    int n = lr_plan_remedies(in, remedies);
    assert_in_range(n, 1, LR_PLAN_MAX_REMEDIES);
    for (int i = 0; i < n; i++) {
        assert_non_null(strstr(err.message, remedies[i].words));
        lr_plan_input changed = apply_words(in, remedies[i].words);
        must_fit(&plan, &changed);
        assert_int_equal(plan.needed_bytes, remedies[i].needed_bytes);
        lr_plan_close(&plan);
        if (strstr(remedies[i].words, "-c ")) { /* the largest context, not just one that fits */
            changed.n_ctx++;
            assert_false(changed.n_ctx < (in->n_ctx ? in->n_ctx : 512) && fits(&changed));
        }
    }
    lr_plan_input least = apply_words(in, remedies[n - 1].words);
    assert_non_null(strstr(remedies[n - 1].words, "--ram"));
    least.host.budget_bytes--;
    assert_false(fits(&least));
    assert_non_null(strstr(err.message, "needs"));
    assert_non_null(strstr(err.message, "available"));
    assert_non_null(strstr(err.message, "KV cache"));
}

/* ---- the grid ---- */

/* budget = needed gives the same plan; one byte less refuses.                                                        */
static void check_edge(const lr_plan *plan, const lr_plan_input *in) {
    lr_plan again;
    lr_plan_input edge = *in;
    edge.host.budget_bytes = plan->needed_bytes;
    must_fit(&again, &edge);
    assert_int_equal(again.hash, plan->hash);
    lr_plan_close(&again);
    if (!plan->quant_kept) {
        edge.quant = plan->quant;
        edge.quant_bits = 0;
    } else if (in->tensors[1].file_format != LR_F32) {
        edge.quant = plan->quant;
    }
    edge.n_ctx = plan->n_ctx;
    edge.n_batch = plan->n_batch;
    edge.kv = plan->kv;
    must_fit(&again, &edge);
    assert_int_equal(again.hash, plan->hash);
    lr_plan_close(&again);
    edge.host.budget_bytes--;
    if (edge.quant != LR_FORMAT_NONE) assert_false(fits(&edge));
}

static void test_grid(void **state) {
    (void)state;
    static const lr_format files[] = { LR_F16, LR_BF16, LR_F32 };
    static const lr_format quants[] = { LR_FORMAT_NONE, LR_FORMAT_NONE, LR_F32, LR_F16, LR_BF16, LR_Q8_0, LR_Q4_K,
                                        LR_IQ4_NL, LR_NF4 };
    static const int32_t contexts[] = { 0, 0, 1, 77, 512, 4096, 20000 };
    int n_fit = 0, n_refused = 0;
    uint64_t rng = 20240611;
    for (size_t i = 0; i < LR_COUNT(models); i++)
        for (int k = 0; k < 210 * 3; k++) {
            const model *m = &models[i];
            lr_plan_input in = input_for(m, files[k % 3]);
            in.host.budget_bytes = (uint64_t)(3e6 * __builtin_pow(1.0605, k / 3)); /* 3 MB to 650 GB */
            in.quant = quants[draw(&rng, LR_COUNT(quants))];
            if (in.quant == LR_FORMAT_NONE) in.quant_bits = (int32_t[]){ 0, 0, 8, 4 }[draw(&rng, 4)];
            in.n_ctx = contexts[draw(&rng, LR_COUNT(contexts))];
            if (draw(&rng, 4) == 0 && m->h.head_dim % 32 == 0) in.kv = LR_Q8_0;
            if (draw(&rng, 8) == 0) in.kv = LR_F32;
            in.n_batch = draw(&rng, 3) ? 0 : 1 + (int32_t)draw(&rng, 700);
            in.n_sessions = draw(&rng, 4) ? 1 : 1 + (int32_t)draw(&rng, 5);
            in.n_threads = 1 + (int32_t)draw(&rng, 8);
            in.use_mmap = draw(&rng, 4) > 0;
            in.cached = draw(&rng, 5) == 0;
            in.prefer = draw(&rng, 6) == 0 ? LR_PREFER_SPEED : LR_PREFER_AUTO;
            if (draw(&rng, 6) == 0) list[2].aligned = false;
            lr_plan plan;
            llmrun_status status = lr_plan_make(&plan, &in, NULL);
            if (status == LLMRUN_NOMEM) {
                check_refusal(&in);
                n_refused++;
            } else {
                assert_int_equal(status, LLMRUN_OK);
                check_plan(&plan, &in, m);
                if (list[2].aligned) check_edge(&plan, &in);
                n_fit++;
            }
            lr_plan_close(&plan);
        }
    assert_true(n_fit > 2000 && n_refused > 1000);
}

/* ---- published figures ---- */

static void test_published_sizes(void **state) {
    (void)state;
    static const struct { const char *name; double gb; } weights[] = {
        { "llama-2-7b", 13.5e9 }, { "llama-2-13b", 26.0e9 }, { "llama-2-70b", 138e9 } };
    static const struct { const char *name; lr_format kv; uint64_t kib; } caches[] = {
        { "llama-3-8b", LR_F16, 128 }, { "llama-3-8b", LR_Q8_0, 68 }, { "llama-2-70b", LR_F16, 320 } };
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        const model *m = &models[i];
        lr_plan_input in = input_for(m, LR_F16);
        lr_plan plan;
        must_fit(&plan, &in);
        if (m->n_params) assert_int_equal(plan.n_params, m->n_params);
        assert_int_equal(plan.quant, LR_F16);
        assert_int_equal(plan.n_ctx, m->h.n_ctx_train);
        double f16 = (double)plan.weight_bytes;
        lr_plan_close(&plan);
        for (size_t j = 0; j < LR_COUNT(weights); j++) {
            if (strcmp(weights[j].name, m->name) != 0) continue;
            assert_true(f16 > 0.995 * weights[j].gb && f16 < 1.005 * weights[j].gb);
            in.use_mmap = false; /* the embedding is converted too: pure ratios */
            in.quant_bits = 8;
            must_fit(&plan, &in);
            assert_true((double)plan.weight_bytes > f16 * 0.5312 && (double)plan.weight_bytes < f16 * 0.5315);
            lr_plan_close(&plan);
            in.quant_bits = 4;
            must_fit(&plan, &in);
            assert_true((double)plan.weight_bytes > f16 * 0.2812 && (double)plan.weight_bytes < f16 * 0.2815);
            lr_plan_close(&plan);
        }
        for (size_t j = 0; j < LR_COUNT(caches); j++) {
            if (strcmp(caches[j].name, m->name) != 0) continue;
            in.kv = caches[j].kv;
            must_fit(&plan, &in);
            assert_int_equal(plan.kv_bytes_per_token, caches[j].kib << 10);
            assert_int_equal(plan.kv_bytes, (caches[j].kib << 10) * (uint64_t)plan.n_ctx);
            lr_plan_close(&plan);
        }
    }
}

/* Auto gives way in the promised order as the budget falls, and says so.                                             */
static void test_auto_order(void **state) {
    (void)state;
    const model *m = model_named("llama-3.1-8b");
    lr_plan_input in = input_for(m, LR_BF16);
    int32_t last_bits = 16, last_ctx = INT32_MAX;
    bool seen[3][2] = { { false } };
    for (uint64_t budget = (uint64_t)40 << 30; budget > (uint64_t)4 << 30; budget -= (uint64_t)100 << 20) {
        in.host.budget_bytes = budget;
        lr_plan plan;
        if (lr_plan_make(&plan, &in, NULL) != LLMRUN_OK) continue;
        int32_t bits = lr_formats[plan.quant].bits;
        assert_true(bits <= last_bits);
        if (bits < last_bits) last_ctx = INT32_MAX;
        assert_true(plan.n_ctx <= last_ctx);
        if (bits > 4) assert_true(plan.n_ctx >= 4096);
        assert_true(plan.n_ctx >= 512);
        assert_int_equal(plan.n_ctx_lowered, plan.n_ctx < 131072);
        assert_true(!plan.n_ctx_lowered || strstr(plan.why, "context lowered"));
        assert_true(bits == 16 || strstr(plan.why, "because the file's precision needs"));
        seen[bits == 16 ? 0 : bits == 8 ? 1 : 2][plan.n_ctx_lowered] = true;
        last_bits = bits;
        last_ctx = plan.n_ctx;
        lr_plan_close(&plan);
    }
    assert_true(seen[0][0] && seen[0][1] && seen[1][1] && seen[2][1]);
}

static void test_predictions(void **state) {
    (void)state;
    lr_plan_input in = input_for(model_named("tinyllama-1.1b"), LR_F16);
    lr_plan plan;
    must_fit(&plan, &in);
    assert_true(plan.decode_tokens_per_s == 0 && plan.prefill_tokens_per_s == 0 && plan.load_seconds == 0);
    lr_plan_close(&plan);
    in.host.read_bytes_per_s = 40e9;
    in.host.flops_per_s = 1e12;
    in.convert_bytes_per_s = 2e9;
    in.quant_bits = 8;
    must_fit(&plan, &in);
    double bytes = (double)plan.weight_bytes_per_token + (double)plan.kv_bytes_per_token * 1024;
    assert_true(plan.decode_tokens_per_s > 0.999 * 40e9 / bytes && plan.decode_tokens_per_s < 1.001 * 40e9 / bytes);
    assert_true(plan.prefill_tokens_per_s > 470 && plan.prefill_tokens_per_s < 490);
    assert_true(plan.load_seconds > 1 && plan.load_seconds < 1.1);
    lr_plan_close(&plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid), cmocka_unit_test(test_published_sizes), cmocka_unit_test(test_auto_order),
        cmocka_unit_test(test_predictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
