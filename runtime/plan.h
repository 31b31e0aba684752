/* The planner: a pure function from shapes, formats and budgets to a placement.  No I/O, no device, no clock: the same
 * input gives the same plan, byte for byte.  Every byte that the run will use has a named region here.               */
#ifndef LR_PLAN_H
#define LR_PLAN_H

#include "kernels/kernels.h"
#include "models/model.h"

#define LR_PLAN_MAX_DEVICES 16

typedef enum lr_tier {
    LR_TIER_RESIDENT, /* converted: in the device's arena */
    LR_TIER_MAPPED,   /* used straight from the file's mapping (host), no arena bytes */
    LR_TIER_HOST,     /* computed by the CPU although a GPU was asked for */
    LR_TIER_STREAMED, /* copied to the GPU when needed */
    LR_TIER_DISK      /* mapped, larger than RAM: read from disk in layer order */
} lr_tier;

/* One weight tensor of the model as the planner sees it.                                                              */
typedef struct lr_plan_tensor {
    lr_role role;
    int32_t layer;          /* -1: outside the layers */
    int64_t rows, cols;
    lr_format file_format;  /* run format that the file's bytes already are (f32 f16 bf16), or LR_FORMAT_NONE */
    bool aligned;           /* the file's bytes can be used in place (alignment of the element) */
} lr_plan_tensor;

typedef struct lr_plan_device {
    char name[64];          /* "cpu", "GPU 0" */
    uint64_t budget_bytes;  /* all that may be added there */
    uint64_t overhead_bytes; /* context, libraries: measured or estimated; 0 on the simulated GPU */
    uint64_t granule_bytes; /* the arena is a multiple of this */
    double read_bytes_per_s, flops_per_s, link_bytes_per_s; /* measured or stated rates; 0: unknown */
} lr_plan_device;

typedef struct lr_plan_input {
    const lr_hparams *model;
    const lr_plan_tensor *tensors;
    size_t n_tensors;
    lr_format quant;        /* LR_FORMAT_NONE: auto (file precision, then 8-bit, then 4-bit) */
    int32_t quant_bits;     /* 0, or 8 / 4 from "8bit" / "4bit": best format of that width; goes before quant */
    lr_format kv;           /* LR_FORMAT_NONE: auto (f16, never changed silently) */
    int32_t n_ctx;          /* 0: auto (model's own, lowered only when it does not fit) */
    int32_t n_ctx_most;     /* upper limit for auto, 0: n_ctx_train */
    int32_t n_batch;        /* 0: auto (512, lowered to 32 to fit); never above n_ctx, never below n_sessions */
    int32_t n_sessions, n_threads;
    bool prefer_speed;      /* auto goes to 4-bit at once: fewest bytes a token */
    bool use_mmap;          /* mapped weights possible */
    bool cached;            /* converted weights come from the on-disk cache: mapped, not in the arena */
    lr_plan_device host;    /* the CPU */
    uint64_t host_fixed_bytes;   /* tokenizer, directory, threads: known before planning */
    const lr_ops *ops;      /* which activation format each matmul reads; NULL: f32 */
    const char *model_path; /* for the command that repeats the plan; NULL: "MODEL" */
    double convert_bytes_per_s;  /* file bytes that conversion takes in, all threads; 0: unknown */
    size_t (*scratch_bytes)(int64_t max_cols, int64_t n, int32_t n_heads, int32_t head_dim); /* of lr_ops */
    size_t scratch_least;        /* what a thread needs besides, for converting weights */
    size_t (*partial_bytes)(int32_t n_rows, int32_t n_ctx, int32_t n_heads, int32_t head_dim);
} lr_plan_input;

typedef struct lr_plan_region {
    char name[48];          /* "layers.3.weights", "kv.3", "activations.x", "logits", "scratch" */
    uint64_t offset, bytes; /* in its device's arena; offset a multiple of LR_ALIGN */
} lr_plan_region;

/* Where one tensor goes.                                                                                              */
typedef struct lr_plan_placement {
    lr_format format;       /* it runs in */
    lr_tier tier;
    uint64_t offset, bytes; /* converted: in the weights block; used from the model's file: 0, bytes of the mapping */
    bool converted;         /* lives in the weights block: in the arena, or (lr_plan_input.cached) in the cache file */
    bool fell_back;         /* rows do not divide by the asked format's block */
} lr_plan_placement;

/* Activation buffers of a pass, offsets in the host arena.                                                            */
typedef struct lr_plan_buffers {
    uint64_t x, y, q, k, v, att, gate, up;    /* float rows of dim, dim, q_dim, kv_dim, kv_dim, q_dim, hidden, hidden */
    uint64_t act;                             /* packed activations, widest needed */
    uint64_t cos_sin, partial, logits;        /* logits: logit_rows x n_vocab */
    uint64_t seqs;                            /* n_sessions x lr_seq */
    uint64_t tokens;                          /* n_sessions x n_ctx ids */
    uint64_t scratch, scratch_stride;         /* per thread */
} lr_plan_buffers;

typedef struct lr_plan {
    int32_t n_ctx, n_batch, n_sessions, n_threads, logit_rows;
    lr_format quant;        /* asked for or chosen; as in the file: the format of most matrix bytes */
    bool quant_kept;        /* each matrix runs in its file's own precision (f32 files: f16) */
    lr_format kv;
    bool n_ctx_lowered;     /* auto context had to shrink below the model's own */
    lr_plan_placement *placements; /* (n_tensors), same order as the input */
    size_t n_tensors;
    lr_plan_region *regions;
    size_t n_regions;
    lr_plan_buffers buffers;
    uint64_t arena_bytes;    /* host arena: ends the last region, rounded up to the granule */
    uint64_t weights_bytes;  /* the weights block: all converted tensors; starts the arena, or is the cache file */
    uint64_t mapped_bytes;   /* weights used from mappings, read by every token; counted apart */
    uint64_t mapped_rows_bytes; /* embedding beside an own head: mapped, a token reads one row; not in needed_bytes */
    uint64_t fixed_bytes;    /* host_fixed_bytes + device overhead */
    uint64_t total_bytes;    /* arena + fixed: planned peak beside the mappings */
    uint64_t needed_bytes;   /* total + mapped: what the budget must hold */
    uint64_t weight_bytes;   /* all weights in their run formats, file padding not counted */
    uint64_t format_bytes[LR_N_FORMATS]; /* weight_bytes by format */
    uint64_t weight_bytes_per_token; /* read by one decoded token (input embedding: one row) */
    uint64_t kv_bytes_per_token;     /* all layers, one session */
    uint64_t kv_slot_bytes;          /* one session's cache, its pages rounded up to LR_ALIGN */
    uint64_t kv_bytes, activation_bytes; /* regions of that class, rounded up to LR_ALIGN; with weights: the arena */
    uint64_t *kv_offset;     /* (n_sessions x n_layers) in the arena: session * n_layers + layer */
    uint64_t *kv_page_bytes; /* (n_layers) */
    int32_t *kv_slots;       /* (n_layers) positions the layer keeps */
    uint64_t n_params;
    double decode_tokens_per_s, prefill_tokens_per_s, load_seconds; /* predicted; 0 where rates are unknown */
    char why[512];           /* one line: what was chosen and why */
    uint64_t hash;           /* of choices, placements, regions, offsets and sizes; predictions and why are not in it */
} lr_plan;

/* Makes the plan.  Order in auto mode, first that fits: (1) precision as in the file with the full context, then with a
 * context lowered to what fits but not below 4096; (2) the same in 8-bit; (3) in 4-bit; (4) 4-bit with a context down
 * to 512.  At each step the chunk goes from 512 down to 32 before anything else gives way; beside a lowered context it
 * starts from 128.  What the caller pinned is kept.  in->model etc. must outlive the call only.
 * NOMEM when nothing fits: needed, available and the remedies below.  ARG, UNSUPPORTED, FORMAT: impossible input.
 * Cost: <= 1 ms for 100 layers.                                                                                       */
llmrun_status lr_plan_make(lr_plan *plan, const lr_plan_input *in, llmrun_error *err);
void lr_plan_close(lr_plan *plan); /* frees its arrays; accepts a zeroed plan */

/* A change of the command line that makes a refused plan fit: proved by planning again.                               */
typedef struct lr_plan_remedy {
    char words[80];        /* "--quant 4bit -c 2048" */
    lr_plan_input input;   /* the input with that change */
    uint64_t needed_bytes; /* of the plan it gives */
} lr_plan_remedy;
enum { LR_PLAN_MAX_REMEDIES = 5 };
/* Fills the smallest changes, single ones first, exact --ram last; returns their number, 0 when `in` fits already.    */
int lr_plan_remedies(const lr_plan_input *in, lr_plan_remedy out[LR_PLAN_MAX_REMEDIES]);

void lr_plan_text(const lr_plan *plan, const lr_plan_input *in, lr_text *out); /* for people */
void lr_plan_json(const lr_plan *plan, const lr_plan_input *in, lr_text *out); /* one JSON document */

#endif
