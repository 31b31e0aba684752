/* Brings weights to where the plan puts them: used from the file's map, from the cache of converted weights, converted
 * now, or (benchmarks of a bare config.json) made up.  Then fills the tables that the forward pass reads.             */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "loaders/packed.h"
#include "runtime/debug.h"
#include "runtime/forward.h"
#include "runtime/upload.h"

/* ---- tables: role -> member of lr_layer ---- */

static const struct {
    lr_role role;
    size_t offset;
} matrices[] = {
    { LR_WQ, offsetof(lr_layer, wq) },         { LR_WK, offsetof(lr_layer, wk) },
    { LR_WV, offsetof(lr_layer, wv) },         { LR_WO, offsetof(lr_layer, wo) },
    { LR_W_GATE, offsetof(lr_layer, w_gate) }, { LR_W_UP, offsetof(lr_layer, w_up) },
    { LR_W_DOWN, offsetof(lr_layer, w_down) }, { LR_WQ_A, offsetof(lr_layer, wq_a) },
    { LR_WKV_A, offsetof(lr_layer, wkv_a) },   { LR_WK_B, offsetof(lr_layer, wk_b) },
    { LR_WV_B, offsetof(lr_layer, wv_b) },
    { LR_W_GATE_SHARED, offsetof(lr_layer, w_gate) },
    { LR_W_UP_SHARED, offsetof(lr_layer, w_up) },
    { LR_W_DOWN_SHARED, offsetof(lr_layer, w_down) },
    { LR_SHARED_GATE, offsetof(lr_layer, experts.shared_gate) },
    { LR_ROUTER, offsetof(lr_layer, experts.router) },
    { LR_WQ_GATE, offsetof(lr_layer, wq_gate) }, { LR_DELTA_OUT, offsetof(lr_layer, delta.out) },
    { LR_DELTA_Q, offsetof(lr_layer, delta.q) }, { LR_DELTA_K, offsetof(lr_layer, delta.k) },
    { LR_DELTA_V, offsetof(lr_layer, delta.v) }, { LR_DELTA_Z, offsetof(lr_layer, delta.z) },
    { LR_DELTA_B, offsetof(lr_layer, delta.b) }, { LR_DELTA_A, offsetof(lr_layer, delta.a) },
};
static const struct {
    lr_role role;
    size_t offset;
} vectors[] = {
    { LR_ATTN_NORM, offsetof(lr_layer, attn_norm) },
    { LR_FFN_NORM, offsetof(lr_layer, ffn_norm) },
    { LR_B_ATTN_NORM, offsetof(lr_layer, b_attn_norm) },
    { LR_B_FFN_NORM, offsetof(lr_layer, b_ffn_norm) },
    { LR_ATTN_POST_NORM, offsetof(lr_layer, attn_post_norm) },
    { LR_FFN_POST_NORM, offsetof(lr_layer, ffn_post_norm) },
    { LR_SINKS, offsetof(lr_layer, sinks) },
    { LR_Q_A_NORM, offsetof(lr_layer, q_a_norm) },
    { LR_KV_A_NORM, offsetof(lr_layer, kv_a_norm) },
    { LR_Q_NORM, offsetof(lr_layer, q_norm) },
    { LR_K_NORM, offsetof(lr_layer, k_norm) },
    { LR_DELTA_CONV, offsetof(lr_layer, delta.conv) },
    { LR_DELTA_DT, offsetof(lr_layer, delta.dt) },
    { LR_DELTA_RATE, offsetof(lr_layer, delta.rate) },
    { LR_DELTA_NORM, offsetof(lr_layer, delta.norm) },
    { LR_BQ, offsetof(lr_layer, bq) },
    { LR_BK, offsetof(lr_layer, bk) },
    { LR_BV, offsetof(lr_layer, bv) },
    { LR_BO, offsetof(lr_layer, bo) },
    { LR_B_GATE, offsetof(lr_layer, b_gate) },
    { LR_B_UP, offsetof(lr_layer, b_up) },
    { LR_B_DOWN, offsetof(lr_layer, b_down) },
    { LR_B_ROUTER, offsetof(lr_layer, experts.b_router) },
    { LR_B_GATE_EXPERTS, offsetof(lr_layer, experts.b_gate) },
    { LR_B_UP_EXPERTS, offsetof(lr_layer, experts.b_up) },
    { LR_B_DOWN_EXPERTS, offsetof(lr_layer, experts.b_down) },
};

/* Matrices that read the same input mostly have the same order of columns.  That of the first one stands for it, so that
 * their input is packed once.                                                                                         */
static size_t first_in_order(const llmrun_engine *e, size_t i) {
    const lr_plan_placement *p = e->plan.placements;
    const lr_plan_tensor *t = e->binding.tensors;
    const lr_source *s = e->binding.sources;
    size_t first = i;
    for (size_t k = i; k-- > 0 && t[k].layer == t[i].layer && !t[i].experts;)
        if (!t[k].experts && p[k].order_bytes == p[i].order_bytes && p[k].place == p[i].place &&
            memcmp(lr_binding_order(&s[k], 0), lr_binding_order(&s[i], 0), p[i].order_bytes) == 0)
            first = k;
    return first;
}

lr_matrix lr_engine_tensor(const llmrun_engine *e, size_t i) {
    const lr_plan_tensor *t = &e->binding.tensors[i];
    const lr_plan_placement *p = &e->plan.placements[i];
    const void *at = lr_source_bytes(&e->binding.sources[i]);
    if (p->place != LR_PLACE_HOST) at = e->gpus[p->place].arena + p->offset;
    else if (p->converted) at = e->plan_input.cached ? e->cache.weights + p->block_offset : e->arena + p->offset;
    lr_matrix m = lr_matrix_at(p->format, t->rows, t->cols, at);
    if (!p->order_bytes) return m;
    i = first_in_order(e, i);
    p = &e->plan.placements[i];
    m.perm = p->place == LR_PLACE_HOST ? lr_binding_order(&e->binding.sources[i], 0)
                                       : (const void *)(e->gpus[p->place].arena + p->offset + lr_plan_order_offset(p));
    return m;
}

void lr_layer_set(lr_layer *layer, lr_role role, lr_matrix m) {
    for (size_t k = 0; k < LR_COUNT(matrices); k++)
        if (matrices[k].role == role) memcpy((char *)layer + matrices[k].offset, &m, sizeof m);
    for (size_t k = 0; k < LR_COUNT(vectors); k++)
        if (vectors[k].role == role) memcpy((char *)layer + vectors[k].offset, &m.quants, sizeof m.quants);
}

/* One matrix of those that lie one below the other in tensor i, whose matrix is all.                                  */
static lr_matrix expert_at(const llmrun_engine *e, size_t i, const lr_matrix *all, int32_t expert) {
    const lr_source *s = &e->binding.sources[i];
    const lr_plan_placement *p = &e->plan.placements[i];
    int64_t rows = all->rows / e->binding.tensors[i].experts;
    if (p->place == LR_PLACE_HOST && !p->converted && s->parts)
        return lr_matrix_at(p->format, rows, all->cols, lr_source_bytes(&s->parts[expert]));
    lr_matrix m = *all;
    m.rows = rows;
    m.quants = (const uint8_t *)all->quants + (size_t)(expert * rows) * all->quants_stride;
    if (all->scales) m.scales = (const uint8_t *)all->scales + (size_t)(expert * rows) * all->scales_stride;
    if (p->order_bytes) m.perm = p->place == LR_PLACE_HOST ? lr_binding_order(s, expert) : all->perm + expert * all->cols;
    return m;
}

/* Gives the layers their experts; e->experts has room for those of all layers.                                        */
static void fill_experts(llmrun_engine *e) {
    lr_matrix *next = e->experts;
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        if (!t->experts || t->cols == 1) continue;
        lr_layer_experts *x = &e->layers[t->layer].experts;
        lr_matrix all = lr_engine_tensor(e, i);
        *(t->role == LR_W_GATE_EXPERTS ? &x->gate : t->role == LR_W_UP_EXPERTS ? &x->up : &x->down) = next;
        for (int32_t k = 0; k < t->experts; k++) *next++ = expert_at(e, i, &all, k);
    }
}

/* Gate and up of experts read their input packed once: files may hold them in formats that want it in two ways.       */
static llmrun_status check_experts(const llmrun_engine *e, llmrun_error *err) {
    for (int32_t l = 0; l < e->binding.hparams.n_layers; l++) {
        const lr_layer_experts *x = &e->layers[l].experts;
        if (!x->gate) continue;
        lr_format gate = x->gate->format, up = x->up->format;
        bool few = e->ops.matmul_few[gate].act == e->ops.matmul_few[up].act;
        if (few && e->ops.matmul_many[gate].act == e->ops.matmul_many[up].act) continue;
        return lr_fail(err, LLMRUN_UNSUPPORTED,
                       "layer %d: experts whose gate is %s and up %s are not supported; choose one --quant for both", l,
                       lr_formats[gate].name, lr_formats[up].name);
    }
    return LLMRUN_OK;
}

static void fill_tables(llmrun_engine *e) {
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        lr_matrix m = lr_engine_tensor(e, i);
        if (t->layer >= 0) lr_layer_set(&e->layers[t->layer], t->role, m);
        else if (t->role == LR_EMBED) e->embed = m;
        else if (t->role == LR_HEAD) e->head = m;
        else if (t->role == LR_POSITIONS) e->positions = m;
        else if (t->role == LR_OUT_NORM) e->out_norm = m.quants;
        else if (t->role == LR_B_OUT_NORM) e->b_out_norm = m.quants;
        else if (t->role == LR_B_HEAD) e->b_head = m.quants;
    }
    if (!e->head.quants) e->head = e->embed;
    if (!e->embed.quants) e->embed = e->head;
    const lr_hparams *h = &e->binding.hparams;
    fill_experts(e);
    for (int32_t l = 0; l < h->n_layers; l++) e->layers[l].window = lr_layer_windowed(h, l) ? h->window : 0;
}

/* ---- weights ---- */

llmrun_status lr_random_weights(void *dst, lr_format format, int64_t rows, int64_t cols, float mean,
                                llmrun_error *err) {
    enum { ROWS = 16 };
    lr_matrix m = lr_matrix_at(format, rows, cols, dst);
    uint8_t *quants = dst, *scales = m.scales ? quants + ((const uint8_t *)m.scales - (const uint8_t *)m.quants) : NULL;
    float *x = lr_alloc((size_t)cols * sizeof *x);
    if (!x) return lr_fail_nomem(err, "random weights", (size_t)cols * sizeof *x);
    uint64_t state = (uint64_t)cols;
    for (int64_t r = 0; r < rows; r++) {
        if (r >= ROWS) {
            memcpy(quants + (size_t)r * m.quants_stride, quants + (size_t)(r % ROWS) * m.quants_stride,
                   m.quants_stride);
            if (scales)
                memcpy(scales + (size_t)r * m.scales_stride, scales + (size_t)(r % ROWS) * m.scales_stride,
                       m.scales_stride);
            continue;
        }
        for (int64_t c = 0; c < cols; c++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            x[c] = ((float)(state >> 40) / (float)(1 << 24) - 0.5f) * 0.07f + mean;
        }
        lr_formats[format].encode(quants + (size_t)r * m.quants_stride,
                                  scales ? scales + (size_t)r * m.scales_stride : NULL, x, cols);
    }
    lr_free(x);
    return LLMRUN_OK;
}

/* The host's part of a model that is a bare config.json.                                                              */
static llmrun_status make_up(llmrun_engine *e, llmrun_error *err) {
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < e->binding.n && !status; i++) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        const lr_plan_placement *p = &e->plan.placements[i];
        if (p->place != LR_PLACE_HOST) continue;
        status = lr_random_weights(e->arena + p->offset, p->format, t->rows, t->cols, t->cols == 1 ? 1.0f : 0.0f, err);
    }
    return status;
}

/* One job for every tensor of the host that the plan converts.  Where f16 cannot hold a tensor's values it becomes bf16.           */
static llmrun_status convert(llmrun_engine *e, llmrun_error *err) {
    size_t n = 0;
    lr_upload_job *jobs = lr_zalloc(e->binding.n, sizeof *jobs);
    size_t *index = lr_zalloc(e->binding.n, sizeof *index);
    llmrun_status status = LLMRUN_OK;
    if (!jobs || !index) {
        status = lr_fail_nomem(err, "conversion", e->binding.n * sizeof *jobs);
        goto done;
    }
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_source *source = &e->binding.sources[i];
        const lr_tensor *t = source->tensor;
        const lr_plan_tensor *want = &e->binding.tensors[i];
        const lr_plan_placement *p = &e->plan.placements[i];
        if (!p->converted || p->place != LR_PLACE_HOST) continue;
        bool vector = want->cols == 1;
        const uint8_t *bytes = lr_source_bytes(source);
        index[n] = i;
        jobs[n++] = (lr_upload_job){ .name = t->name,
                                     .src = bytes,
                                     .source = bytes ? NULL : source,
                                     .from_file = !e->checkpoint.files[t->file].heap,
                                     .dtype = t->dtype,
                                     .rows = vector ? 1 : want->rows,
                                     .cols = vector ? want->rows : want->cols,
                                     .format = p->format,
                                     .or_bf16 = e->plan_input.quant == LR_FORMAT_NONE,
                                     .dst = e->arena + p->offset };
    }
    status = lr_upload(jobs, n, e->threads, &e->report, err);
    for (size_t k = 0; k < n && !status; k++) e->plan.placements[index[k]].format = jobs[k].format;
done:
    lr_free(jobs);
    lr_free(index);
    return status;
}

/* ---- the cache of converted weights ---- */

enum { CACHE_LEAST = 32 << 20 }; /* converting less takes a fraction of a second */
static const uint64_t CACHE_LIMIT = (uint64_t)32 << 30;

/* Formats of the converted tensors, in their order; the cache file is named by them.  NULL: no memory.                */
static lr_format *converted_formats(const llmrun_engine *e, size_t *n) {
    lr_format *formats = lr_zalloc(e->binding.n, sizeof *formats);
    *n = 0;
    for (size_t i = 0; formats && i < e->binding.n; i++)
        if (e->plan.placements[i].converted) formats[(*n)++] = e->plan.placements[i].format;
    return formats;
}

/* Where this engine keeps converted weights, NULL: nowhere.  Release with lr_free.                                    */
static char *cache_dir(const llmrun_engine *e, const llmrun_options *o) {
    if (o->random_weights || e->plan.block_bytes == 0) return NULL;
    if (o->cache_dir) return *o->cache_dir ? lr_strdup(o->cache_dir) : NULL;
    return e->plan.block_bytes >= CACHE_LEAST ? lr_debug_cache_dir() : NULL;
}

/* A hit turns the plan into one that maps the weights block.  Should that plan choose other formats (the budget is a
 * few bytes nearer then), the hit is no use.                                                                          */
static llmrun_status look_up(llmrun_engine *e, const char *dir, const lr_cache_id *id, llmrun_error *err) {
    lr_format *formats = lr_zalloc(id->n, sizeof *formats), *again = NULL;
    llmrun_status status = LLMRUN_OK;
    size_t n;
    if (!formats) return lr_fail_nomem(err, "cache", id->n * sizeof *formats);
    if (!lr_cache_open(&e->cache, dir, id, formats)) goto done;
    e->plan_input.cached = true;
    lr_plan_close(&e->plan);
    status = lr_plan_make(&e->plan, &e->plan_input, err);
    if (status) goto done;
    again = converted_formats(e, &n);
    if (again && n == id->n && memcmp(again, id->planned, n * sizeof *again) == 0) {
        for (size_t i = 0, k = 0; i < e->binding.n; i++)
            if (e->plan.placements[i].converted) e->plan.placements[i].format = formats[k++];
    } else {
        lr_cache_close(&e->cache);
        e->plan_input.cached = false;
        lr_plan_close(&e->plan);
        status = lr_plan_make(&e->plan, &e->plan_input, err);
    }
done:
    lr_free(again);
    lr_free(formats);
    return status;
}

/* ---- all of it ---- */

static llmrun_status allocate(llmrun_engine *e, llmrun_error *err) {
    const lr_plan *p = &e->plan;
    e->arena = lr_alloc_aligned(p->arena_bytes);
    if (!e->arena) return lr_fail_nomem(err, "arena", p->arena_bytes);
    const lr_hparams *h = &e->binding.hparams;
    int32_t n_layers = h->n_layers;
    e->layers = lr_zalloc((size_t)n_layers, sizeof *e->layers);
    e->slot_taken = lr_zalloc((size_t)p->n_sessions, sizeof *e->slot_taken);
    e->rope_freq = lr_zalloc((size_t)(h->n_ropes * h->n_rot / 2 + 1), sizeof *e->rope_freq);
    e->seq_list = lr_zalloc((size_t)n_layers, sizeof *e->seq_list);
    e->experts = lr_zalloc((size_t)n_layers * 3 * (size_t)h->n_experts + 1, sizeof *e->experts);
    if (!e->experts || !e->layers || !e->slot_taken || !e->rope_freq || !e->seq_list)
        return lr_fail_nomem(err, "layer table", (size_t)n_layers * sizeof *e->layers);
    if (pthread_mutex_init(&e->lock, NULL) != 0) return lr_fail(err, LLMRUN_NOMEM, "engine: cannot make a lock");
    e->has_lock = true;
    for (int32_t i = 0; i < h->n_ropes; i++) lr_rope_frequencies(h, i, p->n_ctx, e->rope_freq + i * (h->n_rot / 2));
    lr_binding_scale_rope(&e->binding, e->rope_freq);
    llmrun_status status = lr_threads_open(&e->threads, p->n_threads, err);
    if (status) return status;
    lr_threads_set_scratch(e->threads, e->arena + p->buffers.scratch, p->buffers.scratch_stride);
    e->cpu = (lr_cpu_device){ .ops = &e->ops,
                              .threads = e->threads,
                              .host_work = e->backend ? e->backend->host_work : NULL,
                              .read_bytes_per_s = e->plan_input.host.read_bytes_per_s,
                              .flops_per_s = e->plan_input.host.flops_per_s };
    e->host = (lr_place){ .ops = &lr_cpu_device_ops, .device = (lr_device *)&e->cpu, .arena = e->arena,
                          .buffers = &p->buffers };
    return lr_gpus_attach(e, err);
}

/* Converts for the host, then for the GPUs; a directory keeps the result for the next start.                          */
static llmrun_status convert_all(llmrun_engine *e, const llmrun_options *o, const char *dir, lr_cache_id *id,
                                 llmrun_error *err) {
    lr_cache_writer writer, *cache = dir ? &writer : NULL;
    lr_format *stored = NULL;
    if (cache) lr_cache_begin(cache, dir, id, CACHE_LIMIT, &e->report);
    llmrun_status status = o->random_weights ? make_up(e, err) : convert(e, err);
    for (size_t i = 0; i < e->binding.n && cache && !status; i++) {
        const lr_plan_placement *p = &e->plan.placements[i];
        if (p->converted && p->place == LR_PLACE_HOST) lr_cache_put(cache, p->block_offset, e->arena + p->offset, p->bytes);
        if (!lr_progress(&e->report, "cache", (double)(i + 1) / (double)e->binding.n))
            status = lr_fail(err, LLMRUN_CANCELLED, "load: cancelled");
    }
    if (!status) status = lr_load_gpus(e, o, cache, err);
    if (cache && !status) stored = converted_formats(e, &id->n);
    if (cache) lr_cache_end(cache, stored);
    lr_free(stored);
    return status;
}

/* Weights from the cache where it has them, else converted.                                                           */
static llmrun_status bring_weights(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    lr_cache_id id = { .header_hash = e->checkpoint.header_hash, .weights_bytes = e->plan.block_bytes };
    char *dir = cache_dir(e, o);
    lr_format *planned = dir ? converted_formats(e, &id.n) : NULL;
    llmrun_status status = LLMRUN_OK;
    id.planned = planned;
    if (dir && !planned) status = lr_fail_nomem(err, "cache", e->binding.n * sizeof *planned);
    if (!status && dir) status = look_up(e, dir, &id, err);
    if (!status) status = allocate(e, err);
    if (!status) status = e->plan_input.cached ? lr_load_gpus(e, o, NULL, err) : convert_all(e, o, dir, &id, err);
    lr_free(planned);
    lr_free(dir);
    return status;
}

/* Pins arena and mapped weights in RAM.  Where the system does not allow it one line says so, and the run goes on.    */
static void pin(const llmrun_engine *e) {
    bool ok = mlock(e->arena, e->plan.arena_bytes) == 0;
    for (size_t i = 0; i < e->checkpoint.n_files && ok && e->plan.mapped_bytes; i++)
        ok = mlock(e->checkpoint.files[i].data, e->checkpoint.files[i].size) == 0;
    if (e->cache.weights && ok) ok = mlock(e->cache.weights, e->cache.weights_bytes) == 0;
    if (!ok)
        lr_log(&e->report, LLMRUN_LOG_WARN, "cannot pin the weights in RAM: %s; raise the limit (ulimit -l)",
               strerror(errno));
}

/* The first plan.  GPUs that nobody asked for and that cannot hold a layer are left alone.                             */
static llmrun_status plan(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    llmrun_error why = { 0 };
    bool asked = o->n_vram > 0 || o->n_cards > 0 || (o->device && strcmp(o->device, "auto") != 0);
    llmrun_status status = lr_plan_make(&e->plan, &e->plan_input, &why);
    if (status == LLMRUN_VRAM && !asked) {
        lr_log(&e->report, LLMRUN_LOG_INFO, "too little GPU memory is free; running on the CPU");
        e->plan_input.n_gpus = 0;
        status = lr_plan_make(&e->plan, &e->plan_input, &why);
    }
    if (status && err) *err = why;
    return status;
}

llmrun_status lr_engine_plan(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    if (o->plan_json) return lr_plan_replay(&e->plan, &e->plan_input, o->plan_json, err);
    return plan(e, o, err);
}

/* True where the plan does less than a user who said nothing would expect: that line is always shown.                   */
static bool is_news(const llmrun_engine *e) {
    const lr_plan_input *in = &e->plan_input;
    bool fewer_bits = !e->plan.quant_kept && in->quant == LR_FORMAT_NONE && !in->quant_bits && !in->mixed;
    return fewer_bits || e->plan.n_ctx_lowered || (e->plan.n_gpus > 0 && e->plan.n_host_layers > 0);
}

llmrun_status lr_engine_load(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    llmrun_status status = lr_engine_plan(e, o, err);
    if (!status) status = lr_gpus_open(e, o, err);
    if (!status) lr_log(&e->report, is_news(e) ? LLMRUN_LOG_WARN : LLMRUN_LOG_INFO, "%s", e->plan.why);
    if (!status) status = bring_weights(e, o, err);
    if (status) return status;
    fill_tables(e);
    status = check_experts(e, err);
    if (status) return status;
    if (o->mlock) pin(e);
    if (lr_debug_graphs() || !e->backend || !e->backend->clock) status = lr_forward_record(e, err);
    return status;
}
