/* Planner, places: which groups of tensors go to which GPU.
 *
 * A pass goes through embedding, layers and head in order, so each GPU takes consecutive layers and the last the head;
 * where that is also the embedding the first has it, or chunks of a prompt would wait for each other.  What no GPU has room
 * for is at the start and computed by the CPU.  Where everything fits, layers are split so that no GPU takes much longer
 * than another.  Where it does not, GPUs are filled from the last layer down, whole layers first; the room that is left
 * then takes single groups of the layers beside them, until none fits any more.  Experts count as such groups, and come
 * last: a token reads few of their bytes.  Where one GPU streams the rest, its own layers then spread over all.      */
#include <math.h>
#include <string.h>

#include "runtime/plan_layout.h"

/* One GPU while it is being filled.                                                                                  */
typedef struct room {
    lr_plan_load load, streamed; /* streamed: the most that can be, while that is not known */
    uint64_t buffers;            /* without the lists of sequences, which grow with every layer */
    uint64_t staging, capacity;
} room;

typedef struct placer {
    const lr_plan_input *in;
    const lr_plan_weights *w;
    const lr_plan_choice *c;
    lr_plan_sizes *s;
    lr_plan_places *p;
    room rooms[LR_PLAN_MAX_GPUS];
    bool attention[LR_N_CACHE_KINDS]; /* GPUs can compute it with these caches */
    bool experts;        /* they go with their layers */
    int32_t n_able;      /* layers of which a GPU takes any group */
} placer;

static bool attention_on_gpus(const lr_plan_input *in, lr_format kv, lr_cache_kind cache) {
    const lr_hparams *h = in->model;
    if (cache == LR_CACHE_STATE) return lr_gpu_delta_takes(h->delta_k_dim, h->delta_v_dim, h->delta_conv);
    return h->kv_rank ? lr_gpu_latent_takes(kv, h->kv_rank, h->n_nope, h->n_rot) : lr_gpu_attention_takes(kv, h->head_dim);
}

static bool is_attention(const lr_plan_input *in, size_t part) {
    return part < (size_t)in->model->n_layers * LR_N_GROUPS && part % LR_N_GROUPS == LR_GROUP_ATTN;
}

bool lr_plan_gpu_takes(const lr_plan_input *in, const lr_plan_weights *w, lr_format kv, size_t part) {
    if (!w->parts[part].gpu_takes) return false;
    return !is_attention(in, part) || attention_on_gpus(in, kv, lr_layer_cache(in->model, (int32_t)(part / LR_N_GROUPS)));
}

bool lr_plan_streams(const lr_plan_input *in, const lr_plan_weights *w, lr_format kv, size_t part) {
    if (in->model->parallel && part < (size_t)in->model->n_layers * LR_N_GROUPS) part -= part % LR_N_GROUPS;
    bool state = is_attention(in, part) && lr_layer_cache(in->model, (int32_t)(part / LR_N_GROUPS)) == LR_CACHE_STATE;
    return w->parts[part].streams && !state && lr_plan_gpu_takes(in, w, kv, part);
}

static size_t head_of(const placer *k) { return lr_plan_part_index(k->in, -1, LR_GROUP_HEAD); }

static int head_gpu(const placer *k) { return k->w->tied ? 0 : k->in->n_gpus - 1; }

static bool takes(const placer *k, int32_t layer, int g) {
    if (k->in->model->parallel) g = LR_GROUP_ATTN; /* all of the layer */
    const lr_plan_part *p = &k->w->parts[(size_t)layer * LR_N_GROUPS + (size_t)g];
    bool attention = g != LR_GROUP_ATTN || k->attention[lr_layer_cache(k->in->model, layer)];
    return p->gpu_takes && attention && (k->experts || !p->is_experts);
}

static bool able(const placer *k, int32_t layer) {
    return takes(k, layer, LR_GROUP_ATTN) || takes(k, layer, LR_GROUP_GATE_UP) || takes(k, layer, LR_GROUP_DOWN);
}

/* ---- what a GPU has room for ---- */

static uint64_t used(const placer *k, const room *r) {
    uint64_t n_lists = (uint64_t)(lr_plan_load_layers(&r->load) + lr_plan_load_layers(&r->streamed));
    uint64_t lists = lr_aligned(sizeof(lr_seq) * (uint64_t)k->in->n_sessions * n_lists);
    return r->load.weights + r->load.kv + r->buffers + lists + r->staging;
}

/* Sizes the buffers anew; false where they overflow or the GPU is too full.                                          */
static bool settle(const placer *k, room *r) {
    uint64_t buffer[LR_N_BUFFERS];
    if (!lr_plan_gpu_buffers(k->in, k->w, k->c, k->s->n_batch, &r->load, &r->streamed, buffer, &r->buffers))
        return false;
    r->buffers -= lr_aligned(buffer[LR_BUFFER_seqs]);
    return used(k, r) <= r->capacity;
}

/* Takes the load if it fits.  Buffers change only with the kinds of groups and the widths.                           */
static bool take(const placer *k, room *r, const lr_plan_load *load) {
    const lr_plan_load *old = &r->load;
    bool same = old->kinds == load->kinds && old->widths == load->widths && old->hidden_widths == load->hidden_widths &&
                old->experts_out == load->experts_out && old->experts_ordered == load->experts_ordered &&
                old->heads_row == load->heads_row;
    room before = *r;
    r->load = *load;
    if (same ? used(k, r) <= r->capacity : settle(k, r)) return true;
    *r = before;
    return false;
}

/* Adds what GPUs take of a layer.                                                                                    */
static void add_layer(const placer *k, lr_plan_load *load, int32_t layer) {
    size_t first = (size_t)layer * LR_N_GROUPS;
    for (int g = 0; g < LR_N_GROUPS; g++)
        if (takes(k, layer, g))
            lr_plan_load_add(load, &k->w->parts[first + (size_t)g], (lr_group)g, lr_layer_cache(k->in->model, layer),
                             g == LR_GROUP_DOWN && takes(k, layer, LR_GROUP_GATE_UP), k->s);
}

static bool take_layer(const placer *k, room *r, int32_t layer) {
    lr_plan_load load = r->load;
    add_layer(k, &load, layer);
    return take(k, r, &load);
}

static bool take_head(const placer *k, room *r) {
    if (!k->w->parts[head_of(k)].gpu_takes) return false;
    lr_plan_load load = r->load;
    lr_plan_load_add(&load, &k->w->parts[head_of(k)], LR_GROUP_HEAD, LR_CACHE_FULL, false, k->s);
    if (k->w->tied) load.kinds |= 1u << LR_GROUP_EMBED;
    return take(k, r, &load);
}

static void put_layer(const placer *k, int32_t layer, int gpu) {
    for (int g = 0; g < LR_N_GROUPS; g++)
        if (takes(k, layer, g)) k->p->group[layer * LR_N_GROUPS + g] = (int8_t)gpu;
}

static void put_head(const placer *k, int gpu) {
    k->p->head = (int8_t)gpu;
    k->p->embed = k->w->tied ? (int8_t)gpu : LR_PLACE_HOST;
}

static void empty(placer *k) {
    size_t n = (size_t)k->in->model->n_layers * LR_N_GROUPS;
    for (size_t i = 0; i < n; i++) k->p->group[i] = k->p->stream[i] = LR_PLACE_HOST;
    k->p->head = k->p->embed = LR_PLACE_HOST;
    for (int i = 0; i < k->in->n_gpus; i++) k->rooms[i] = (room){ .capacity = lr_plan_capacity(&k->in->gpus[i]) };
}

/* ---- everything on GPUs: a split in proportion to their rates ---- */

/* What the split balances: matmul work where all rates of it are known, else bytes read, else layers' bytes alone.   */
typedef struct scale {
    bool by_flops, by_read;
} scale;

static scale scale_of(const lr_plan_input *in) {
    scale z = { true, true };
    for (int i = 0; i < in->n_gpus; i++) {
        z.by_flops &= in->gpus[i].flops_per_s > 0;
        z.by_read &= in->gpus[i].read_bytes_per_s > 0;
    }
    return z;
}

static double layer_time(const placer *k, scale z, int32_t layer, int gpu) {
    const lr_plan_part *p = &k->w->parts[(size_t)layer * LR_N_GROUPS];
    if (z.by_flops) return (double)(p[0].params + p[1].params + p[2].params) / k->in->gpus[gpu].flops_per_s;
    double bytes = (double)(p[0].gpu + p[1].gpu + p[2].gpu);
    return z.by_read ? bytes / k->in->gpus[gpu].read_bytes_per_s : bytes;
}

/* Work that a GPU has with the head beside its layers; prompts need that for one row only.                              */
static double head_time(const placer *k, scale z) {
    double bytes = (double)k->w->parts[head_of(k)].gpu;
    return z.by_flops ? 0 : z.by_read ? bytes / k->in->gpus[head_gpu(k)].read_bytes_per_s : bytes;
}

/* Each GPU in turn takes as many layers as fit and as `bound` seconds allow; the last takes the rest.                */
static bool split_within(placer *k, scale z, double bound) {
    int32_t layer = 0, n_layers = k->in->model->n_layers;
    int last = k->in->n_gpus - 1;
    empty(k);
    for (int gpu = 0; gpu <= last; gpu++) {
        int32_t first = layer, end = n_layers - (last - gpu);
        double time = 0;
        if (gpu == head_gpu(k)) {
            if (!take_head(k, &k->rooms[gpu])) return false;
            put_head(k, gpu);
            time = head_time(k, z);
        }
        for (; layer < end; layer++) {
            time += layer_time(k, z, layer, gpu);
            if (time > bound || !take_layer(k, &k->rooms[gpu], layer)) break;
            put_layer(k, layer, gpu);
        }
        if (layer == first) return false;
    }
    return layer == n_layers;
}

/* Bisections of the bound.  Without a GPU too small for its share the best bound lies within one layer's time of the
 * ideal one, where few suffice.                                                                                      */
enum { BISECTIONS = 7, BISECTIONS_WIDE = 22 };

/* The split whose slowest GPU is fastest.                                                                            */
static bool split(placer *k) {
    int32_t n_layers = k->in->model->n_layers;
    for (int32_t l = 0; l < n_layers; l++)
        if (!takes(k, l, LR_GROUP_ATTN) || !takes(k, l, LR_GROUP_GATE_UP) || !takes(k, l, LR_GROUP_DOWN)) return false;
    scale z = scale_of(k->in);
    double all = head_time(k, z), lo = 0, hi, slowest_layer = 0, speed = 0;
    if (!split_within(k, z, 1e300)) return false;
    if (k->in->n_gpus == 1) return true;
    for (int32_t l = 0; l < n_layers; l++) all += layer_time(k, z, l, k->in->n_gpus - 1);
    for (int gpu = 0; gpu < k->in->n_gpus; gpu++) {
        speed += layer_time(k, z, 0, k->in->n_gpus - 1) / layer_time(k, z, 0, gpu); /* in units of the last GPU */
        for (int32_t l = 0; l < n_layers; l++)
            if (layer_time(k, z, l, gpu) > slowest_layer) slowest_layer = layer_time(k, z, l, gpu);
    }
    bool near = split_within(k, z, all / speed + slowest_layer);
    lo = near ? all / speed - slowest_layer : all / speed;
    hi = near ? all / speed + slowest_layer : head_time(k, z) + slowest_layer * n_layers;
    for (int i = 0; i < (near ? BISECTIONS : BISECTIONS_WIDE); i++) {
        double mid = (lo + hi) / 2;
        if (split_within(k, z, mid)) hi = mid;
        else lo = mid;
    }
    return split_within(k, z, hi);
}

/* ---- not everything fits: fill to the brim ---- */

/* Room that streaming takes at most: every group that could be streamed.                                             */
static void reserve_streaming(placer *k) {
    room *r = &k->rooms[k->c->stream];
    for (int32_t l = 0; l < k->in->model->n_layers; l++) add_layer(k, &r->streamed, l);
    r->staging = lr_plan_staging(&r->streamed);
}

/* Layers of a mixture for this GPU, of those that are left for it and the ones before it: so that each has room for
 * experts beside its attention.                                                                                      */
static int32_t share_of(const placer *k, int gpu, int32_t left) {
    double all = 0;
    if (!k->in->model->n_experts) return left;
    for (int i = 0; i <= gpu; i++) all += (double)k->rooms[i].capacity;
    return (int32_t)ceil(left * (double)k->rooms[gpu].capacity / (all > 0 ? all : 1));
}

/* Whole layers, from the last down, for the last GPU first; each must get one.  Experts wait for top_up: a token reads
 * few of their bytes.                                                                                                */
static bool fill(placer *k) {
    int last = k->in->n_gpus - 1;
    int32_t layer = k->in->model->n_layers, left = k->n_able;
    empty(k);
    if (k->c->stream != LR_PLACE_HOST) reserve_streaming(k);
    for (int gpu = last; gpu >= 0; gpu--) {
        room *r = &k->rooms[gpu], bare = *r;
        bool head = gpu == head_gpu(k) && !k->c->layers_first && take_head(k, r);
        int32_t got = 0, share = share_of(k, gpu, left);
        for (; layer > 0 && left > gpu && got < share; layer--) {
            if (!able(k, layer - 1)) continue;
            if (!take_layer(k, r, layer - 1)) {
                if (got || !head) break;
                *r = bare; /* a layer goes before the head */
                head = false;
                if (!take_layer(k, r, layer - 1)) break;
            }
            put_layer(k, layer - 1, gpu);
            got++;
            left--;
        }
        if (!got) {
            lr_plan_load load = { 0 };
            if (layer > 0) add_layer(k, &load, layer - 1);
            *r = bare;
            r->load = load;
            settle(k, r);
            k->s->short_gpu = gpu;
            k->s->short_weights = r->load.weights;
            k->s->short_kv = r->load.kv;
            k->s->short_buffers = r->buffers + r->staging;
            k->s->short_needs = lr_plan_in_granules(used(k, r), &k->in->gpus[gpu]) + k->in->gpus[gpu].overhead_bytes;
            return false;
        }
        if (head) put_head(k, gpu);
    }
    return true;
}

/* Everything of the host that can be streamed is.                                                                    */
static void stream_rest(const placer *k) {
    size_t n = (size_t)k->in->model->n_layers * LR_N_GROUPS;
    for (size_t i = 0; i < n; i++)
        k->p->stream[i] = k->p->group[i] == LR_PLACE_HOST && lr_plan_streams(k->in, k->w, k->c->kv, i) ? k->c->stream
                                                                                                       : LR_PLACE_HOST;
}

/* Exactly what a GPU takes with the places as they are.                                                              */
static bool recount(placer *k, int gpu) {
    room *r = &k->rooms[gpu];
    if (k->c->stream == gpu) stream_rest(k);
    lr_plan_gpu_loads(k->in, k->w, k->p, k->s, gpu, &r->load, &r->streamed);
    r->staging = lr_plan_staging(&r->streamed);
    return settle(k, r);
}

/* Where attention and feed-forward are one group, the two empty ones go with it.                                      */
static void put_group(const placer *k, size_t part, int place) {
    int n = k->in->model->parallel ? LR_N_GROUPS : 1;
    for (int i = 0; i < n; i++) k->p->group[part + (size_t)i] = (int8_t)place;
}

/* Moves a group, or the head, from the host to the GPU if there is room.                                             */
static bool move(placer *k, size_t part, int gpu) {
    const lr_plan_part *p = &k->w->parts[part];
    room *r = &k->rooms[gpu], before = *r;
    int32_t layer = (int32_t)(part / LR_N_GROUPS);
    bool head = part == head_of(k), attention = !head && part % LR_N_GROUPS == LR_GROUP_ATTN;
    uint64_t bytes = p->gpu + (attention ? k->s->page_room[lr_layer_cache(k->in->model, layer)] : 0);
    if (used(k, r) > r->capacity || bytes > r->capacity - used(k, r)) return false;
    if (!lr_plan_gpu_takes(k->in, k->w, k->c->kv, part)) return false;
    if (head) put_head(k, gpu);
    else put_group(k, part, gpu);
    if (recount(k, gpu)) return true;
    if (head) k->p->head = k->p->embed = LR_PLACE_HOST;
    else put_group(k, part, LR_PLACE_HOST);
    *r = before;
    if (k->c->stream != LR_PLACE_HOST) stream_rest(k);
    return false;
}

/* Single groups into what room a GPU has left, nearest to its layers first: all but experts, then experts beside the
 * attention of their layer, then any.                                                                                */
enum { TURN_OTHERS, TURN_BESIDE, TURN_EXPERTS, TURNS };

static void top_up_gpu(placer *k, int gpu, int turn) {
    static const lr_group order[LR_N_GROUPS] = { LR_GROUP_DOWN, LR_GROUP_GATE_UP, LR_GROUP_ATTN };
    for (int32_t layer = k->in->model->n_layers; layer-- > 0;)
        for (int i = 0; i < LR_N_GROUPS; i++) {
            size_t part = lr_plan_part_index(k->in, layer, order[i]);
            bool empty = k->in->model->parallel && order[i] != LR_GROUP_ATTN, is_experts = k->w->parts[part].is_experts;
            bool beside = k->p->group[lr_plan_part_index(k->in, layer, LR_GROUP_ATTN)] == gpu;
            if (empty || k->p->group[part] != LR_PLACE_HOST || is_experts != (turn != TURN_OTHERS)) continue;
            if (turn != TURN_BESIDE || beside) move(k, part, gpu);
        }
}

static void top_up(placer *k) {
    int turns = k->in->model->n_experts ? TURNS : TURN_OTHERS + 1;
    if (k->c->stream != LR_PLACE_HOST) recount(k, k->c->stream);
    for (int gpu = k->in->n_gpus - 1; gpu >= 0 && k->p->head == LR_PLACE_HOST; gpu--) move(k, head_of(k), gpu);
    for (int turn = 0; turn < turns; turn++)
        for (int gpu = 0; gpu < k->in->n_gpus; gpu++) top_up_gpu(k, gpu, turn);
}

/* ---- streamed layers between those of the GPU ---- */

enum { PATTERNS = 1 << LR_N_GROUPS }; /* sets of groups that the GPU has of a layer */

/* The pattern among those left that keeps the GPU's share of the layers so far nearest to its share of all.          */
static unsigned next_pattern(const int32_t *left, const double *share, double wanted) {
    unsigned best = PATTERNS;
    for (unsigned i = 0; i < PATTERNS; i++)
        if (left[i] && (best == PATTERNS || fabs(share[i] - wanted) < fabs(share[best] - wanted))) best = i;
    return best;
}

/* Copies go on while the GPU computes layers of its own, but only until the slots, one layer, are full.  So streamed
 * layers and others alternate, as evenly as their numbers allow; each change costs a decoded token no more than a copy of
 * x.  Where layers differ too much for that, all stays as it was.                                                    */
static void spread(placer *k, int gpu) {
    size_t n = (size_t)k->in->model->n_layers, n_groups = n * LR_N_GROUPS;
    int8_t before[LR_MAX_LAYERS * LR_N_GROUPS], *group = k->p->group;
    int32_t left[PATTERNS] = { 0 };
    double bytes[LR_N_GROUPS], share[PATTERNS] = { 0 }, all = 0, so_far = 0;
    bool fits = true;
    memcpy(before, group, n_groups);
    for (int g = 0; g < LR_N_GROUPS; g++) bytes[g] = (double)k->w->parts[g].gpu;
    for (unsigned i = 0; i < PATTERNS; i++)
        for (int g = 0; g < LR_N_GROUPS; g++) share[i] += i >> g & 1 ? bytes[g] : 0;
    for (size_t l = 0; l < n; l++) {
        unsigned pattern = 0;
        for (unsigned g = 0; g < LR_N_GROUPS; g++) pattern |= (unsigned)(group[l * LR_N_GROUPS + g] == gpu) << g;
        left[pattern]++;
        all += share[pattern];
    }
    for (size_t l = 0; l < n; l++) {
        unsigned pattern = next_pattern(left, share, all * (double)(l + 1) / (double)n - so_far);
        left[pattern]--;
        so_far += share[pattern];
        for (int g = 0; g < LR_N_GROUPS; g++) {
            bool own = pattern >> g & 1;
            group[l * LR_N_GROUPS + (size_t)g] = own ? (int8_t)gpu : LR_PLACE_HOST;
            fits &= !own || takes(k, (int32_t)l, g);
        }
    }
    fits = fits && recount(k, gpu);
    for (size_t i = 0; i < n_groups; i++) fits &= group[i] == gpu || k->p->stream[i] == gpu;
    if (fits) return;
    memcpy(group, before, n_groups);
    recount(k, gpu);
}

bool lr_plan_place_groups(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                          lr_plan_places *places, lr_plan_sizes *s) {
    placer k = { .in = in, .w = w, .c = c, .s = s, .p = places, .experts = true };
    for (int i = 0; i < LR_N_CACHE_KINDS; i++) k.attention[i] = attention_on_gpus(in, c->kv, (lr_cache_kind)i);
    if (c->stream == LR_PLACE_HOST && split(&k)) return true;
    k.experts = false;
    for (int32_t l = 0; l < in->model->n_layers; l++) k.n_able += able(&k, l);
    if (!fill(&k)) return false;
    top_up(&k);
    if (c->stream != LR_PLACE_HOST && in->n_gpus == 1) spread(&k, c->stream);
    return true;
}
