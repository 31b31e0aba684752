/* Time on the virtual clock of simulated GPUs: copies hide behind computing, several GPUs share the work, and the plan
 * predicts both.  Rates are so low that what a kernel moves and computes is all that counts.                          */
#include "tests/gpu_models.h"

enum { N_CTX = 512 };

static llmrun_engine *open_timed(const setup *s) {
    llmrun_engine *e;
    if (open_setup(&e, s)) fail_msg("%s on %s: %s", s->model, s->gpus, err.message);
    return e;
}

/* Virtual seconds that a session takes for tokens [from, from + n) behind what it has.                                 */
static double time_tokens(llmrun_session *s, const llmrun_engine *e, int32_t n) {
    static int32_t tokens[N_CTX];
    static float logits[VOCAB_MOST];
    for (int32_t i = 0; i < n; i++) tokens[i] = 3 + i * 7 % (e->binding.hparams.n_vocab - 3);
    double start = sim.seconds();
    EXPECT_OK(llmrun_session_eval(s, tokens, n, logits, &err));
    return sim.seconds() - start;
}

static double time_prompt(const setup *s, int32_t n) {
    llmrun_engine *e = open_timed(s);
    llmrun_session *session;
    EXPECT_OK(llmrun_session_open(&session, e, &err));
    double t = time_tokens(session, e, n);
    llmrun_session_close(session);
    llmrun_engine_close(e);
    return t;
}

static void two_gpus_share_a_prompt(void **state) {
    (void)state;
    setup s = { .model = "llama-mha", .quant = "f16", .kv = "f16", .n_batch = 16, .n_ctx = N_CTX,
                .gpus = "1x64M:0.1:0.001:10" };
    double one = time_prompt(&s, 480);
    s.gpus = "2x64M:0.1:0.001:10";
    double two = time_prompt(&s, 480);
    print_message("480 tokens: one GPU %.3g s, two %.3g s: %.2f times\n", one, two, one / two);
    assert_true(one / two >= 1.8);
}

static void uneven_gpus_split_by_their_rates(void **state) {
    (void)state;
    setup s = { .model = "models/demo", .quant = "f16", .kv = "f16", .n_batch = 16, .gpus = "64M:90:9,64M:30:3" };
    llmrun_engine *e = open_timed(&s);
    int32_t layers[2] = { 0 };
    for (int32_t l = 0; l < e->binding.hparams.n_layers; l++) layers[e->plan.place[l * LR_N_GROUPS]]++;
    llmrun_engine_close(e);
    print_message("8 layers on GPUs of 3 to 1: %d and %d\n", layers[0], layers[1]);
    assert_int_equal(layers[0], 6);
    assert_int_equal(layers[1], 2);
}

/* Bytes that a prompt in so many chunks sends to the GPU: streamed weights once a chunk, and of caches whose attention is
 * streamed the rows before the chunk.                                                                                 */
static double streamed_bytes(const llmrun_engine *e, int chunks) {
    const lr_plan *p = &e->plan;
    double weights = 0, row = 0, rows = (double)p->n_batch * chunks * (chunks - 1) / 2;
    for (size_t k = 0; k < e->binding.n; k++) {
        const lr_plan_tensor *t = &e->binding.tensors[k];
        size_t at = (size_t)lr_max(0, t->layer) * LR_N_GROUPS + (size_t)lr_plan_group(&e->binding.hparams, t->role);
        if (t->layer >= 0 && p->stream[at] != LR_PLACE_HOST) weights += (double)p->placements[k].bytes;
    }
    for (int32_t l = 0; l < e->binding.hparams.n_layers; l++)
        if (p->stream[(size_t)l * LR_N_GROUPS + LR_GROUP_ATTN] != LR_PLACE_HOST)
            row += (double)p->kv_page_bytes[l] / p->kv_slots[l];
    return chunks * weights + rows * row;
}

/* Chunks through a GPU that holds a part of the model; the link is as fast as makes copying take `ratio` times as
 * long as computing.                                                                                                  */
static void check_streaming(setup s, uint64_t part, int chunks, double computing, double ratio) {
    char gpus[80];
    int32_t n = s.n_ctx;
    double link = 1e9, copying = 0;
    s.gpus = gpus;
    for (int round = 0; round < 3; round++) { /* what is streamed depends on the link */
        snprintf(gpus, sizeof gpus, "1x%llu:100:0.02:%.6g", (unsigned long long)part, link / 1e9);
        llmrun_engine *e = open_timed(&s);
        if (!(e->plan.stream_from > 0 && e->plan.stream_from <= s.n_batch)) fail_msg("%s %s: does not stream", s.model, gpus);
        copying = streamed_bytes(e, chunks) / link;
        if (round < 2) link = streamed_bytes(e, chunks) / (ratio * computing);
        llmrun_engine_close(e);
    }
    double took = time_prompt(&s, n), bound = fmax(computing, copying);
    print_message("%s %s, %d chunks of %d: computing %.3g s, copying %.3g s, streamed %.3g s: %.3f of the longer\n", s.model,
                  s.quant, chunks, s.n_batch, computing, copying, took, took / bound);
    assert_true(took <= 1.1 * bound);
}

/* Weights cross the link while the GPU computes on those before them: whichever takes longer, and where both take the
 * same time.                                                                                                          */
static void copies_hide_behind_computing(void **state) {
    (void)state;
    static const struct {
        const char *model, *quant;
        int32_t n_batch;
        int chunks;
        uint64_t percent; /* of what all of the model takes there */
    } cases[] = {
        { "models/demo", "f16", 32, 3, 75 },
        { "models/demo", "f16", 12, 3, 60 },
        { "models/demo", "q8_0", 48, 8, 85 }, /* few layers streamed: the first and the last copy are a larger part of all */
        { "models/demo", "q4_k", 64, 4, 60 },
    };
    static const double ratios[] = { 6, 1, 0.15 };
    for (size_t i = 0; i < LR_COUNT(cases); i += QUICK ? LR_COUNT(cases) : 1) {
        setup s = { .model = cases[i].model, .quant = cases[i].quant, .kv = "f16", .n_batch = cases[i].n_batch,
                    .n_ctx = cases[i].chunks * cases[i].n_batch, .host_read = 40e9, .host_flops = 1e7, .gpus = "1x64M:100:0.02:1" };
        double computing = time_prompt(&s, s.n_ctx);
        llmrun_engine *e = open_timed(&s);
        uint64_t part = e->plan.gpus[0].total_bytes * cases[i].percent / 100 / 256 * 256;
        llmrun_engine_close(e);
        for (size_t k = 0; k < LR_COUNT(ratios); k += QUICK ? 2 : 1) check_streaming(s, part, cases[i].chunks, computing, ratios[k]);
    }
}

/* Decoding in the middle of the context, and a prompt as long as the plan's reference, against what the plan says.     */
static void plans_predict(void **state) {
    (void)state;
    static const setup setups[] = {
        { .model = "llama-mha", .quant = "f16", .kv = "f16", .gpus = "1x64M:0.1:0.001:0.1" },
        { .model = "qwen3", .quant = "q8_0", .kv = "f16", .gpus = "2x64M:0.1:0.001:0.1" },
        { .model = "qwen3", .quant = "f16", .kv = "f16", .gpus = "1x230K:0.1:0.01:0.01", .host_read = 5e7, .host_flops = 1e9 },
        { .model = "models/demo", .quant = "q8_0", .kv = "f16", .gpus = "1x5M:0.5:0.2:0.05", .host_read = 2e8, .host_flops = 2e9 },
        { .model = "models/demo", .quant = "q8_0", .kv = "f16", .gpus = "1x6M:0.5:0.2:0.02", .host_read = 2e8, .host_flops = 1e8 },
    };
    for (size_t i = 0; i < LR_COUNT(setups); i++) {
        setup s = setups[i];
        bool small = strcmp(s.model, "models/demo") != 0;
        s.n_ctx = small ? N_CTX : 96;
        s.n_batch = small ? 64 : 32;
        llmrun_engine *e = open_timed(&s);
        llmrun_session *session;
        EXPECT_OK(llmrun_session_open(&session, e, &err));
        double prefill = s.n_ctx / time_tokens(session, e, s.n_ctx);
        EXPECT_OK(llmrun_session_rewind(session, s.n_ctx / 2 - 4, &err));
        double seconds = 0;
        for (int k = 0; k < 8; k++) seconds += time_tokens(session, e, 1);
        double decode = 8 / seconds, said_decode = e->plan.decode_tokens_per_s, said_prefill = e->plan.prefill_tokens_per_s;
        print_message("%s on %s, %d host layers, streams from %d: decode %.4g tokens/s, predicted %.4g; prefill %.4g, predicted %.4g\n",
                      s.model, s.gpus, e->plan.n_host_layers, e->plan.stream_from, decode, said_decode, prefill, said_prefill);
        llmrun_session_close(session);
        llmrun_engine_close(e);
        assert_true(fabs(said_decode / decode - 1) <= 0.05);
        assert_true(fabs(said_prefill / prefill - 1) <= 0.05);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uneven_gpus_split_by_their_rates),
        cmocka_unit_test(copies_hide_behind_computing),
        cmocka_unit_test(two_gpus_share_a_prompt),
        cmocka_unit_test(plans_predict),
    };
    /* The code is that of the other tests: sanitizers need to see no more than the first two. */
    return _cmocka_run_group_tests("time", tests, QUICK ? 2 : LR_COUNT(tests), load_controls, NULL);
}
