/* Inside of the planner.  A plan is found in steps that share no state: weigh the tensors in a precision (plan_weigh.c),
 * place the groups (plan_place.c), measure what each place then takes (plan_measure.c), predict how long a reference job
 * takes (plan_predict.c), choose among what fits (plan_choose.c).  Only the winner is laid out (plan_layout.c); sizes and
 * layout come from one table, so they cannot differ.                                                                 */
#ifndef LR_PLAN_LAYOUT_H
#define LR_PLAN_LAYOUT_H

#include "runtime/plan.h"

#define LR_PLAN_MOST ((uint64_t)1 << 60) /* no total may pass it: sums of a few such sizes cannot wrap around */

/* ---- weights in one precision ---- */

enum { LR_PLAN_WIDTHS = 3 }; /* different row lengths a format: matmuls read rows of dim, q_dim or hidden values */
__extension__ typedef unsigned __int128 lr_plan_widths; /* set of indices into lr_plan_weights.cols */
static inline int lr_plan_first_width(lr_plan_widths set) { /* of a set that is not empty */
    uint64_t low = (uint64_t)set;
    return low ? __builtin_ctzll(low) : 64 + __builtin_ctzll((uint64_t)(set >> 64));
}

/* One group's weights.                                                                                               */
typedef struct lr_plan_part {
    uint64_t gpu, gpu_read;  /* on a GPU: in its arena, each tensor rounded up to LR_ALIGN; as a token reads them */
    uint64_t block, mapped;  /* on the host: converted, used from the file */
    uint64_t read;           /* of both, by a token */
    uint64_t params;         /* values that a token's matmuls read */
    lr_plan_widths widths, gpu_widths; /* sets of lr_plan_weights.cols */
    lr_plan_widths gpu_hidden; /* of a part that is a layer: its w_down's, not in gpu_widths */
    lr_plan_widths gpu_apart;  /* of w_down with columns in another order: packed by itself, like the input of others */
    int64_t longest_row;     /* values */
    int64_t heads_row;       /* values of all heads' inputs that products of heads want packed as int8 (latent attention) */
    bool gpu_takes;          /* a GPU has kernels for all its formats */
    bool streams;            /* in the formats of the host, too */
    bool is_layer;           /* LR_GROUP_ATTN that holds all of its layer */
    bool is_experts;         /* LR_GROUP_DOWN of a layer with experts: */
    lr_format experts_in;    /* of their gate and up on a GPU */
    uint64_t experts_out;    /* of their down, set of 1 << lr_format */
    bool experts_ordered;    /* any of them has columns in another order */
    uint64_t experts_read;   /* bytes of theirs that a token reads, part of read */
} lr_plan_part;

/* All weights; sizes in bytes.                                                                                       */
typedef struct lr_plan_weights {
    uint64_t block;          /* converted tensors */
    uint64_t mapped;         /* used from the file and read by every token */
    uint64_t mapped_rows;    /* used from the file, one row a token */
    uint64_t total, per_token, source; /* source: file bytes of the converted ones */
    int64_t cols[LR_N_FORMATS * LR_PLAN_WIDTHS]; /* [format * LR_PLAN_WIDTHS + i] of matrices that a matmul reads, or 0 */
    lr_plan_widths widths;   /* set of those that the host has */
    uint64_t gpu_total;      /* were everything on GPUs */
    int64_t max_cols;        /* widest matrix of all */
    uint64_t n_params, n_matmul_params;
    uint64_t experts_read;   /* of the experts, by a token: part of per_token */
    bool tied;
    bool shared_gate;        /* shared experts have a gate */
    lr_plan_part *parts;     /* by lr_plan_part_index; NULL without GPUs */
} lr_plan_weights;
_Static_assert(LR_N_FORMATS <= 64, "sets of formats have 64 bits");
_Static_assert(LR_N_FORMATS * LR_PLAN_WIDTHS <= 128, "sets of widths have 128 bits");

static inline size_t lr_plan_part_index(const lr_plan_input *in, int32_t layer, lr_group group) {
    return group < LR_N_GROUPS ? (size_t)layer * LR_N_GROUPS + group
                               : (size_t)in->model->n_layers * LR_N_GROUPS + (group == LR_GROUP_HEAD);
}

/* One matrix is both embedding and head, under whichever of the two roles the file has it.                           */
bool lr_plan_tied(const lr_plan_input *in);
/* Index of the part that a tensor belongs to.                                                                        */
size_t lr_plan_part_of(const lr_plan_input *in, bool tied, const lr_plan_tensor *t);
/* Of an amount that a whole tensor has, what a token reads: a row of a table, some of the experts.                   */
uint64_t lr_plan_token_share(const lr_plan_input *in, bool tied, const lr_plan_tensor *t, uint64_t amount);
/* How a tensor runs in that precision on the host or a GPU; place, offsets left 0.  False: its size overflows.       */
LR_MUST_CHECK bool lr_plan_place(const lr_plan_input *in, bool tied, lr_format quant, const lr_plan_tensor *t,
                                 bool on_gpu, lr_plan_placement *out);

/* Where groups go; arrays of the caller's.                                                                           */
typedef struct lr_plan_places {
    int8_t *group, *stream; /* (n_layers x LR_N_GROUPS), as in lr_plan */
    int8_t embed, head;
} lr_plan_places;

/* Weights already weighed, by quant + 1, and room for a candidate's places.  Tensors, use_mmap and cached are the same
 * for all users of one.  Zeroed to begin with.                                                                       */
typedef struct lr_plan_scale {
    bool done[LR_N_FORMATS + 1], ok[LR_N_FORMATS + 1];
    lr_plan_weights weights[LR_N_FORMATS + 1];
    lr_plan_places places;
    bool no_memory;
} lr_plan_scale;
/* NULL: a size overflows, or no_memory.                                                                              */
const lr_plan_weights *lr_plan_weighed(lr_plan_scale *scale, const lr_plan_input *in, lr_format quant);
void lr_plan_scale_close(lr_plan_scale *scale);

/* ---- measuring a choice ---- */

/* What may be left open, decided.                                                                                    */
typedef struct lr_plan_choice {
    lr_format quant; /* LR_FORMAT_NONE: each matrix in its file's own precision */
    lr_format kv;
    int32_t n_ctx, n_batch;
    int8_t stream;    /* GPU that long passes stream host groups to, or LR_PLACE_HOST: none */
    bool layers_first; /* GPUs take layers before the head */
    int32_t stream_from; /* 0: where streaming begins to pay */
    bool disk;         /* mapped weights may exceed the host's budget */
} lr_plan_choice;

/* Regions after weights and KV, one row each: field of lr_plan_buffers, name.                                        */
#define LR_PLAN_BUFFERS(X) \
    X(x) X(y) X(h) X(inner) X(q) X(k) X(v) X(att) X(gate) X(up) X(act) X(act_hidden) X(route) X(experts) X(cos_sin) \
    X(partial) X(logits) X(seqs) X(tokens) X(ids) X(scratch)
enum {
#define LR_X(name) LR_BUFFER_##name,
    LR_PLAN_BUFFERS(LR_X)
#undef LR_X
    LR_N_BUFFERS
};

/* What one place computes.                                                                                           */
typedef struct lr_plan_load {
    unsigned kinds;            /* set of 1 << lr_group */
    lr_plan_widths widths;     /* inputs of matmuls that are packed into `act`, set of lr_plan_weights.cols */
    lr_plan_widths hidden_widths; /* into `act_hidden` */
    int32_t n_layers[LR_N_CACHE_KINDS]; /* with attention here, by what they remember */
    int32_t n_groups[LR_N_GROUPS];
    uint64_t weights;          /* GPU: in its arena.  Host: converted */
    uint64_t mapped;           /* host */
    uint64_t kv;               /* all sessions */
    uint64_t read, params;     /* weights that one token reads, values of them; the head's are apart */
    uint64_t experts_read;     /* of experts, in read: several tokens read more of them */
    uint64_t experts_out;      /* as in lr_plan_part */
    uint64_t experts_ordered;  /* the same of gate and up, where columns are in another order */
    int32_t n_experts;         /* groups of experts, part of n_groups[LR_GROUP_DOWN] */
    uint64_t head_read;
    uint64_t largest[LR_N_GROUPS], largest_page; /* streamed: of a group's weights by kind, of one layer's cache */
    int64_t longest_row, heads_row; /* values; of heads_row, see lr_plan_part */
} lr_plan_load;
/* Values of a row that crosses where a feed-forward is cut: hidden ones, or the normed ones that experts read.         */
static inline uint64_t lr_plan_cut_width(const lr_hparams *h) {
    return (uint64_t)lr_max(lr_hidden_most(h), h->n_experts ? h->dim : 0);
}
static inline int32_t lr_plan_load_layers(const lr_plan_load *l) {
    int32_t n = 0;
    for (int i = 0; i < LR_N_CACHE_KINDS; i++) n += l->n_layers[i];
    return n;
}
/* Bytes of the slots that streaming this takes.                                                                      */
static inline uint64_t lr_plan_staging(const lr_plan_load *l) {
    return l->largest[0] + l->largest[1] + l->largest[2] + 2 * l->largest_page;
}

/* How often activations come to a GPU or leave it for the host.                                                      */
typedef struct lr_plan_crossings {
    int32_t x_host, hidden_host; /* to and from the host */
    int32_t x_peer, hidden_peer; /* from another GPU */
} lr_plan_crossings;

typedef struct lr_plan_gpu_sizes {
    lr_plan_load own, streamed;
    uint64_t buffer[LR_N_BUFFERS]; /* bytes, exact */
    uint64_t activations, staging, slot[LR_N_GROUPS], kv_slot, arena, header;
    lr_plan_crossings crossings[2]; /* in a pass that does not stream, in one that does */
    bool back_to_host;             /* the host waits for it in the midst of the layers */
    int32_t stretches;             /* of its own groups before streamed ones: copies go on meanwhile; the last layers */
    bool last_stretch;             /* are before the first ones of the next chunk */
    uint64_t pinned_slot, pinned;
    uint64_t library, overhead;    /* workspace of the vendor's library, or 0; of the device, with the library's */
} lr_plan_gpu_sizes;

/* Do x, or the hidden values of a feed-forward, ever cross between that GPU and the host?                            */
static inline bool lr_plan_crosses(const lr_plan_gpu_sizes *g, bool hidden) {
    const lr_plan_crossings *c = g->crossings;
    return hidden ? c[0].hidden_host + c[1].hidden_host > 0 : c[0].x_host + c[1].x_host > 0;
}

/* What a choice takes.                                                                                               */
typedef struct lr_plan_sizes {
    int32_t n_batch;                 /* as run: not above n_ctx, not below n_sessions */
    int32_t slots[LR_N_CACHE_KINDS]; /* positions a layer keeps; 0: a state that has none */
    uint64_t page[LR_N_CACHE_KINDS]; /* bytes of its cache */
    uint64_t page_room[LR_N_CACHE_KINDS]; /* of all sessions, each page rounded up to LR_ALIGN */
    uint64_t session;                /* one session's pages */
    lr_plan_load host;
    uint64_t buffer[LR_N_BUFFERS];   /* host, exact */
    uint64_t scratch_stride;
    uint64_t activations;            /* buffers, each rounded up to LR_ALIGN */
    uint64_t arena, pinned, needed;  /* host; needed: at least, where weights may stay on disk */
    uint64_t disk;                   /* mapped bytes beyond RAM: on disk */
    uint64_t disk_read;              /* of them, by a token */
    int8_t embed_place, head_place;
    int32_t n_host_layers, n_left_out; /* n_left_out: groups, the head among them, that the CPU computes */
    int32_t short_gpu;               /* that cannot hold a layer, or -1 */
    uint64_t short_needs;            /* its least budget for one, of it: */
    uint64_t short_weights, short_kv, short_buffers;
    int32_t stream_from;
    double seconds;                  /* of the reference job; see plan_predict.c */
    lr_plan_gpu_sizes gpu[LR_PLAN_MAX_GPUS];
} lr_plan_sizes;

/* Rounded up to what an arena there is a multiple of; bytes <= LR_PLAN_MOST.                                         */
uint64_t lr_plan_in_granules(uint64_t bytes, const lr_plan_device *d);
/* Largest arena that a device's budget has room for.                                                                 */
uint64_t lr_plan_capacity(const lr_plan_device *d);
/* Places the groups and measures.  False: a size overflows, or the KV format cannot hold this head_dim.              */
LR_MUST_CHECK bool lr_plan_measure(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                                   lr_plan_places *places, lr_plan_sizes *out);
/* The same with places given.                                                                                        */
LR_MUST_CHECK bool lr_plan_measure_placed(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                                          const lr_plan_places *places, lr_plan_sizes *out);
/* Chunk and caches alone, which placing starts from.                                                                 */
LR_MUST_CHECK bool lr_plan_measure_kv(const lr_plan_input *in, const lr_plan_choice *c, lr_plan_sizes *out);
/* Bytes of a GPU's buffers for these loads, each rounded up to LR_ALIGN; buffer (LR_N_BUFFERS) gets them exactly.
 * False: a size overflows.                                                                                           */
LR_MUST_CHECK bool lr_plan_gpu_buffers(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                                       int32_t n_batch, const lr_plan_load *own, const lr_plan_load *streamed,
                                       uint64_t *buffer, uint64_t *bytes);
/* Adds a group.  shared: for LR_GROUP_DOWN, the same place has just computed its input.                              */
void lr_plan_load_add(lr_plan_load *load, const lr_plan_part *part, lr_group group, lr_cache_kind cache, bool shared,
                      const lr_plan_sizes *s);
/* Own and streamed load of a GPU with these places.                                                                  */
void lr_plan_gpu_loads(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_places *places,
                       const lr_plan_sizes *s, int gpu, lr_plan_load *own, lr_plan_load *streamed);

enum { LR_PLAN_LIBRARY_ALIGN = 256 }; /* of cuBLAS's workspace; an arena is aligned to that at least */
/* Gives the vendor's library its workspace where the GPU computes long dense products and all of it fits into the room
 * that is left.  Changes g->arena, library, overhead.                                                                */
void lr_plan_add_library(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_places *p, int32_t n_batch,
                         int gpu, lr_plan_gpu_sizes *g);

/* Can a GPU compute that group?  Can the host's be streamed to it?                                                   */
bool lr_plan_gpu_takes(const lr_plan_input *in, const lr_plan_weights *w, lr_format kv, size_t part);
bool lr_plan_streams(const lr_plan_input *in, const lr_plan_weights *w, lr_format kv, size_t part);
/* Fills places; s has what lr_plan_measure_kv gave.  False: s->short_gpu cannot hold a layer.                        */
LR_MUST_CHECK bool lr_plan_place_groups(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                                        lr_plan_places *places, lr_plan_sizes *s);

/* Allocates and fills the plan's arrays, offsets and totals.  places: NULL to place as lr_plan_measure does.  s gets
 * the sizes.  [errors: NOMEM]                                                                                        */
llmrun_status lr_plan_lay_out(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                              const lr_plan_places *places, lr_plan_sizes *s, llmrun_error *err);

/* ---- choosing ---- */

/* The outcome of choosing.                                                                                           */
typedef struct lr_plan_found {
    bool fits;
    bool overflows;          /* nothing could even be measured */
    lr_plan_choice choice;   /* fits: the first that does; else the one that needs least */
    lr_plan_sizes sizes;
    lr_format tried[3];      /* precisions that did not fit before it, and what each needs at least */
    uint64_t tried_needs[3];
    int32_t n_tried;
    int32_t n_ctx_full;      /* that auto wanted */
    uint64_t full_needs;     /* where it was lowered: what it would need, 0: too much to count */
} lr_plan_found;
void lr_plan_choose(lr_plan_scale *scale, const lr_plan_input *in, lr_plan_found *out);
/* Would lr_plan_choose find anything?  With GPUs it looks at the choice that asks least alone.                       */
bool lr_plan_can_fit(lr_plan_scale *scale, const lr_plan_input *in);
/* Predicted, 0 where a rate is unknown.                                                                              */
double lr_plan_decode_rate(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                           const lr_plan_sizes *s);

/* Seconds of the reference job, and from how many tokens on streaming pays (s->stream_from).                         */
void lr_plan_estimate(const lr_plan_input *in, const lr_plan_choice *c, lr_plan_sizes *s);
/* GPU to stream to.                                                                                                  */
int8_t lr_plan_stream_gpu(const lr_plan_input *in);

/* ARG, UNSUPPORTED or FORMAT with the sentence for an input that no budget can help.                                 */
llmrun_status lr_plan_check(const lr_plan_input *in, llmrun_error *err);
/* lr_plan_remedies with weights already weighed.                                                                     */
int lr_plan_remedies_from(lr_plan_scale *scale, const lr_plan_input *in, lr_plan_remedy out[LR_PLAN_MAX_REMEDIES]);
/* Fills err with the refusal; returns NOMEM or VRAM.                                                                 */
llmrun_status lr_plan_refuse(lr_plan_scale *scale, const lr_plan_input *in, const lr_plan_found *found,
                             llmrun_error *err);
/* Predicted rates, why, hash.                                                                                        */
void lr_plan_predict(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                     const lr_plan_sizes *s);
void lr_plan_explain(lr_plan *plan, const lr_plan_input *in, const lr_plan_found *found);
/* Appends to a NUL-terminated text of that size; what does not fit is cut.                                           */
void lr_plan_say(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint64_t lr_plan_hash(const lr_plan *plan);
/* "cpu", "GPU 0"; returns buf or a constant.                                                                         */
const char *lr_plan_place_name(char buf[16], int place);
/* The command line that repeats the plan.                                                                            */
void lr_plan_command(const lr_plan *plan, const lr_plan_input *in, lr_text *out);

#endif
