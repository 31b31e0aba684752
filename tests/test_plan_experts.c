/* Plans of mixtures of experts: what a token reads, memory that the experts' products take, and that GPUs get attention
 * and shared parts first.                                                                                             */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/plan_models.h"

#define GIB ((uint64_t)1 << 30)

static const model mixtures[] = {
    { "qwen3-30b-a3b", { SHAPE(48, 2048, 32, 4, 128, 6144, 151936, 40960), .n_experts = 128, .n_experts_used = 8,
      .expert_dim = 768, .layer_flags = { [0 ... 47] = LR_LAYER_EXPERTS } }, HAS_HEAD | HAS_QK_NORM, 30532122624 },
    { "mixtral-8x7b", { SHAPE(32, 4096, 32, 8, 128, 14336, 32000, 32768), .n_experts = 8, .n_experts_used = 2,
      .expert_dim = 14336, .layer_flags = { [0 ... 31] = LR_LAYER_EXPERTS } }, HAS_HEAD, 46702792704 },
    { "dense layer first, shared experts", { SHAPE(4, 512, 8, 8, 64, 2048, 1000, 4096), .n_experts = 16,
      .n_experts_used = 3, .expert_dim = 256, .shared_dim = 512, .layer_flags = { [1 ... 3] = LR_LAYER_EXPERTS } },
      HAS_HEAD, 0 },
};

/* What bind makes of them: list_tensors, with experts where a layer has them.                                         */
static lr_plan_input mixture(const model *m) {
    static lr_plan_tensor dense[MOST_TENSORS];
    const lr_hparams *h = &m->h;
    lr_plan_input in = input_for(m, LR_BF16);
    size_t n = in.n_tensors;
    memcpy(dense, list, n * sizeof *dense);
    in.n_tensors = 0;
    for (size_t i = 0; i < n; i++) {
        const lr_plan_tensor *t = &dense[i];
        int32_t l = t->layer, e = h->n_experts;
        if (lr_layer_has(h, l, t->role)) list[in.n_tensors++] = *t;
        if (t->role != LR_W_DOWN || !lr_layer_has_experts(h, l)) continue;
        add_tensor(&in, list, LR_BF16, LR_ROUTER, l, e, h->dim);
        add_tensor(&in, list, LR_BF16, LR_W_GATE_EXPERTS, l, (int64_t)e * h->expert_dim, h->dim);
        add_tensor(&in, list, LR_BF16, LR_W_UP_EXPERTS, l, (int64_t)e * h->expert_dim, h->dim);
        add_tensor(&in, list, LR_BF16, LR_W_DOWN_EXPERTS, l, (int64_t)e * h->dim, h->expert_dim);
        for (size_t k = in.n_tensors - 3; k < in.n_tensors; k++) list[k].experts = e;
        if (!h->shared_dim) continue;
        add_tensor(&in, list, LR_BF16, LR_W_GATE_SHARED, l, h->shared_dim, h->dim);
        add_tensor(&in, list, LR_BF16, LR_W_UP_SHARED, l, h->shared_dim, h->dim);
        add_tensor(&in, list, LR_BF16, LR_W_DOWN_SHARED, l, h->dim, h->shared_dim);
    }
    return in;
}

static uint64_t region(const lr_plan *p, const char *name) {
    for (size_t i = 0; i < p->n_regions; i++)
        if (strcmp(p->regions[i].name, name) == 0) return p->regions[i].bytes;
    return 0;
}

/* Bytes of bf16 weights: norms are f32.                                                                               */
static uint64_t bytes_of(const lr_plan_tensor *t) { return (uint64_t)t->rows * (uint64_t)t->cols * (t->cols == 1 ? 4 : 2); }

static void test_reads(void **state) {
    (void)state;
    for (size_t i = 0; i < LR_COUNT(mixtures); i++) {
        const model *m = &mixtures[i];
        const lr_hparams *h = &m->h;
        lr_plan_input in = mixture(m);
        uint64_t read = 0, all = 0;
        lr_plan p;
        in.n_ctx = 512;
        in.host.read_bytes_per_s = 50e9;
        must_fit(&p, &in);
        for (size_t k = 0; k < in.n_tensors; k++) {
            const lr_plan_tensor *t = &in.tensors[k];
            uint64_t bytes = bytes_of(t), experts = (uint64_t)t->experts;
            if (t->role != LR_EMBED) all += bytes;
            read += t->role == LR_EMBED ? 2 * (uint64_t)h->dim
                    : experts ? bytes / experts * (uint64_t)h->n_experts_used : bytes;
        }
        if (m->n_params) assert_int_equal(p.n_params, m->n_params);
        assert_int_equal(p.weight_bytes_per_token, read);
        assert_int_equal(p.mapped_bytes + p.weights_bytes, all); /* memory holds every expert */
        double cache = 256.0 * 2 * 2 * h->n_kv_heads * h->head_dim * h->n_layers;
        double seconds = ((double)read + cache) / 50e9;
        assert_true(p.decode_tokens_per_s * seconds > 0.999 && p.decode_tokens_per_s * seconds < 1.001);
        assert_int_equal(region(&p, "activations.experts"),
                         lr_experts_bytes(p.n_batch, h->n_experts_used, h->n_experts, h->dim, h->expert_dim));
        assert_int_equal(region(&p, "activations.route"),
                         (uint64_t)p.n_batch * 4 * (uint64_t)(h->n_experts + 2 * h->n_experts_used));
        assert_int_equal(region(&p, "activations.gate"), (uint64_t)p.n_batch * 4 * (uint64_t)lr_hidden_most(h));
        lr_plan_close(&p);
    }
}

static uint64_t gpu_region(const lr_plan_gpu *g, const char *name) {
    for (size_t i = 0; i < g->n_regions; i++)
        if (strcmp(g->regions[i].name, name) == 0) return g->regions[i].bytes;
    return 0;
}

/* Router, results and work of experts on a GPU, where it has any.                                                     */
static void check_regions(const lr_plan *p, const model *m, int gpu, int n_placed) {
    const lr_hparams *h = &m->h;
    const lr_plan_gpu *g = &p->gpus[gpu];
    size_t work = lr_gpu_experts_bytes(p->n_batch, h->n_experts_used, h->n_experts, h->dim, h->expert_dim, LR_FORMAT_NONE,
                                       LR_BF16);
    uint64_t sum = 0, route = (uint64_t)p->n_batch * 4 * (uint64_t)(h->n_experts + 2 * h->n_experts_used);
    assert_int_equal(gpu_region(g, "activations.experts"), n_placed ? work : 0);
    assert_int_equal(gpu_region(g, "activations.route"), n_placed ? route : 0);
    assert_true(!n_placed || gpu_region(g, "activations.act") >= lr_act_bytes(LR_ACT_BF16, p->n_batch, h->dim));
    for (size_t i = 0; i < g->n_regions; i++) sum += lr_aligned(g->regions[i].bytes);
    assert_true(sum <= g->arena_bytes && g->arena_bytes - sum < 256);
}

/* A small GPU gets attention and shared parts, a larger one experts besides, a very large one everything.  The room left
 * over is too small for another layer's experts.                                                                      */
static void places_on(const model *m, int n_gpus, uint64_t budget) {
    lr_plan_device gpus[2];
    lr_plan_input in = mixture(m);
    lr_plan p;
    int n_placed[2] = { 0 }, n_experts = 0, n_left = 0;
    uint64_t group = 0, read = 0;
    for (int i = 0; i < n_gpus; i++)
        gpus[i] = (lr_plan_device){ .name = "GPU", .budget_bytes = budget, .granule_bytes = 256,
                                    .read_bytes_per_s = 900e9, .flops_per_s = 90e12, .link_bytes_per_s = 25e9 };
    in.host.read_bytes_per_s = 40e9;
    in.host.flops_per_s = 0.6e12;
    in.gpus = gpus;
    in.n_gpus = n_gpus;
    in.n_ctx = 4096;
    in.prefer = LR_PREFER_QUALITY;
    must_fit(&p, &in);
    assert_int_equal(p.head_place, n_gpus - 1);
    for (int32_t l = 0; l < m->h.n_layers; l++) {
        const int8_t *at = &p.place[l * LR_N_GROUPS];
        bool experts = lr_layer_has_experts(&m->h, l);
        assert_int_not_equal(at[LR_GROUP_ATTN], LR_PLACE_HOST);
        assert_int_not_equal(at[LR_GROUP_GATE_UP], LR_PLACE_HOST);
        assert_int_equal(p.stream[l * LR_N_GROUPS + LR_GROUP_DOWN], LR_PLACE_HOST);
        assert_true(experts || at[LR_GROUP_DOWN] != LR_PLACE_HOST);
        if (!experts) continue;
        n_experts++;
        if (at[LR_GROUP_DOWN] == LR_PLACE_HOST) n_left++;
        else n_placed[at[LR_GROUP_DOWN]]++;
    }
    for (size_t k = 0; k < in.n_tensors; k++) {
        const lr_plan_tensor *t = &in.tensors[k];
        uint64_t bytes = bytes_of(t);
        if (t->layer == m->h.n_layers - 1 && lr_plan_group(&m->h, t->role) == LR_GROUP_DOWN) group += lr_aligned(bytes);
        if (!t->experts) continue;
        assert_int_equal(p.placements[k].place, p.place[t->layer * LR_N_GROUPS + LR_GROUP_DOWN]);
        if (p.placements[k].place == LR_PLACE_HOST) read += bytes / (uint64_t)t->experts * (uint64_t)m->h.n_experts_used;
    }
    print_message("%s, %d x %llu GiB: experts of %d + %d of %d layers on GPUs, %.1f tok/s\n", m->name, n_gpus,
                  (unsigned long long)(budget / GIB), n_placed[0], n_placed[1], n_experts, p.decode_tokens_per_s);
    for (int i = 0; i < n_gpus; i++) {
        const lr_plan_gpu *g = &p.gpus[i];
        uint64_t work = n_placed[i] ? 0 : lr_gpu_experts_bytes(p.n_batch, m->h.n_experts_used, m->h.n_experts, m->h.dim,
                                                               m->h.expert_dim, LR_FORMAT_NONE, LR_BF16) + GIB / 64;
        check_regions(&p, m, i, n_placed[i]);
        if (n_left) assert_true(budget - g->total_bytes < group + work);
    }
    assert_true(n_left == 0 || p.decode_tokens_per_s < 40e9 / (double)read);
    assert_true(n_left == 0 || p.decode_tokens_per_s > 0.3 * 40e9 / (double)read);
    assert_int_equal(n_left == 0, budget * (uint64_t)n_gpus > 100 * GIB || m->h.n_layers == 4);
    lr_plan_close(&p);
}

static void test_places(void **state) {
    (void)state;
    for (size_t i = 0; i < LR_COUNT(mixtures); i++) {
        places_on(&mixtures[i], 1, 6 * GIB);
        places_on(&mixtures[i], 1, 24 * GIB);
        places_on(&mixtures[i], 1, 140 * GIB);
        places_on(&mixtures[i], 2, 20 * GIB);
        places_on(&mixtures[i], 2, 80 * GIB);
    }
}

/* Experts beyond RAM are on disk; a token reads its share of them.                                                    */
static void test_disk(void **state) {
    (void)state;
    lr_plan_input in = mixture(&mixtures[0]);
    lr_plan p;
    in.disk = true;
    in.disk_bytes_per_s = 2e9;
    in.n_ctx = 4096;
    in.quant = LR_BF16;
    in.host.read_bytes_per_s = 40e9;
    in.host.budget_bytes = 20 * GIB;
    must_fit(&p, &in);
    assert_true(p.disk_bytes > 30 * GIB && p.disk_bytes < 45 * GIB);
    double share = (double)p.weight_bytes_per_token / (double)p.weight_bytes;
    double expected = 2e9 / ((double)p.disk_bytes * share);
    assert_true(p.decode_tokens_per_s > 0.8 * expected && p.decode_tokens_per_s < 1.2 * expected);
    lr_plan_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_reads), cmocka_unit_test(test_places),
                                        cmocka_unit_test(test_disk) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
