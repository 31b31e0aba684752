/* llmrun: run transformer language models inside a memory budget.
 *
 * This header is the manual.  It needs only the C99 standard library and compiles as C99, C17 and C++.
 *
 * Objects
 *   llmrun_engine    a loaded model: weights, plan, tokenizer.  Constant after open; any number of sessions share it.
 *   llmrun_session   one sequence of tokens: its KV cache and position.  One thread at a time.
 *
 * Rules that hold everywhere
 *   - A function that can fail returns llmrun_status, LLMRUN_OK (0) on success.  Outputs are written on success only;
 *     a handle is set to NULL on failure.  The last parameter, llmrun_error *err, may be NULL; else it gets one sentence.
 *   - The library never prints, exits, aborts, installs signal handlers or reads environment variables (see debug.c for
 *     the documented exceptions).  All memory comes from one allocator (llmrun_set_allocator).
 *   - Everything a session needs is allocated by llmrun_session_open; evaluating allocates nothing.
 *   - Strings are UTF-8.  Sizes are bytes.  Pointers returned by a handle live until that handle is closed.
 *   - _close functions accept NULL.                                                                                     */
#ifndef LLMRUN_H
#define LLMRUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LLMRUN_VERSION_MAJOR 0
#define LLMRUN_VERSION_MINOR 1
#define LLMRUN_VERSION_PATCH 0

#if defined(__GNUC__)
#define LLMRUN_API __attribute__((visibility("default")))
#else
#define LLMRUN_API
#endif

/* Version of the library that runs, "0.1.0".  Compare with the macros above.                      [errors: none] */
LLMRUN_API const char *llmrun_version(void);

/* ---- status ------------------------------------------------------------------------------------------------- */

typedef enum llmrun_status {
    LLMRUN_OK = 0,
    LLMRUN_ARG,         /* the caller asked for something impossible */
    LLMRUN_IO,          /* a file could not be opened, read or written */
    LLMRUN_FORMAT,      /* a file is damaged or contradicts itself */
    LLMRUN_UNSUPPORTED, /* a valid file that this version cannot run */
    LLMRUN_NOMEM,       /* host memory: the allocator failed, or the host budget is too small */
    LLMRUN_VRAM,        /* device memory: the device budget is too small */
    LLMRUN_DEVICE,      /* the device failed */
    LLMRUN_CANCELLED,   /* llmrun_session_cancel, or a progress callback said stop */
    LLMRUN_CONTEXT,     /* more tokens than the context has room for */
    LLMRUN_INTERNAL     /* a bug in llmrun */
} llmrun_status;

typedef struct llmrun_error {
    llmrun_status status;
    char message[1024]; /* one sentence, "where: object: expected X, got Y; hint"; a refusal may have several lines */
} llmrun_error;

/* "out of host memory" and so on; static text.                                                    [errors: none] */
LLMRUN_API const char *llmrun_status_text(llmrun_status status);

/* ---- process-wide set-up ------------------------------------------------------------------------------------ */

/* Replaces the allocator of the library.  Call it before anything else, once, from one thread.
 * realloc(user, old, size): size > 0 allocates (old NULL) or resizes, NULL on failure; size 0 frees old and returns
 * NULL.  Blocks are aligned as malloc's.  realloc NULL restores malloc.                             [errors: none] */
LLMRUN_API void llmrun_set_allocator(void *(*realloc)(void *user, void *old, size_t size), void *user);

/* ---- options ------------------------------------------------------------------------------------------------ */

#define LLMRUN_MAX_GPUS 16

typedef enum llmrun_log_level { LLMRUN_LOG_ERROR, LLMRUN_LOG_WARN, LLMRUN_LOG_INFO, LLMRUN_LOG_DEBUG } llmrun_log_level;

/* How to open an engine.  Fill with llmrun_options_default, then change what you need.  Strings are read during the
 * call only.                                                                                                         */
typedef struct llmrun_options {
    size_t struct_size; /* sizeof(llmrun_options): set by llmrun_options_default, lets later versions grow the struct */

    const char *model; /* directory, .safetensors or .gguf file, config.json (plan only), or org/name in the HF cache */
    const char *quant; /* "auto" "f16" "8bit" "4bit" "f32" "bf16" "q8_0" "q4_k" "iq4_nl" "nf4"; default "auto".  "mixed":
                        * tensors of 4, 8 and the file's bits, as many as fit; "mixed:5.5": so many a weight at most; both
                        * need llmrun_sensitivity once, and with it "auto" mixes too where the file's precision does not fit */
    const char *kv;    /* "auto" "f32" "f16" "q8_0" "q4_rot" (4 bits of rotated rows); default "auto" (f16) */
    uint64_t ram_bytes;   /* budget for host memory, 0: what is available now less a margin */
    int32_t n_ctx;        /* tokens a session can hold, 0: the model's own length, or what the budget allows */
    int32_t n_sessions;   /* sessions open at once that the plan must hold; default 1 */
    int32_t n_batch;      /* largest prefill chunk in tokens, 0: chosen by the plan */
    int32_t n_threads;    /* 0: from affinity and cgroup quota */
    const char *cpu_isa;  /* "auto" "c" "avx2" "avx512": upper limit for the kernels */
    const char *cache_dir; /* directory for converted weights; "" = none; NULL = the user's cache directory */
    bool use_mmap;        /* default true; false reads the weights into memory */
    bool mlock;           /* default false; true pins weights in RAM */
    const char *prefer;   /* "auto": file's precision if it fits, else 8-bit, 4-bit, then offload; "quality": offload before
                           * fewer bits; "speed": 4-bit at once */
    bool random_weights;  /* default false; true: fill a bare config.json with random weights (benchmarks) */

    void (*log)(void *user, llmrun_log_level level, const char *text); /* one line, no newline; NULL: silence */
    bool (*progress)(void *user, const char *stage, double done);      /* done 0..1; return false to cancel; or NULL */
    void *user;                                                        /* first argument of both callbacks */

    const char *device;   /* "auto" (GPUs where they work, else the CPU, one line says which) "cpu" "cuda" "sim" */
    uint64_t vram_bytes[LLMRUN_MAX_GPUS]; /* cap of what llmrun adds to each GPU, context and libraries included */
    int32_t n_vram;       /* 0: what is free less a margin; 1: for each GPU; else one for each, 0 bytes: without it */
    const char *sim_gpus; /* device "sim": "2x512M", "1G:900:80:25,512M" = size[:GB/s[:TFLOP/s[:link GB/s]]] */
    const struct llmrun_card *cards; /* (n_cards) llmrun_plan only: plan for these GPUs, which need not be there */
    int32_t n_cards;
    const char *plan_json; /* text of an earlier plan (llmrun_plan): replay it exactly, or fail; NULL: make one */
    bool disk;            /* weights beyond ram_bytes may be read from disk for every token; default false */
    const char *chat_template; /* text of a Jinja template instead of the model's own; NULL: the model's */
    const char *calibrate; /* llmrun_quantize only: a text that shows which columns of the 4-bit formats matter; NULL: none */
} llmrun_options;

/* A GPU to plan for.  A rate of 0: an assumed one, which the plan states.                                             */
typedef struct llmrun_card {
    uint64_t bytes;                                               /* what llmrun may use of it */
    double read_bytes_per_s, flops_per_s, link_bytes_per_s;       /* memory, f16 matrix products, link to the host */
} llmrun_card;

LLMRUN_API void llmrun_options_default(llmrun_options *o);

/* ---- plan ---------------------------------------------------------------------------------------------------- */

/* Plans without loading: reads file headers only, allocates no weights, touches no device.
 * json    receives a JSON document, NUL-terminated; release with llmrun_free.
 * text    receives the plan as a person reads it; release with llmrun_free.  Either may be NULL.
 * When nothing fits the result is LLMRUN_NOMEM or LLMRUN_VRAM and err->message lists needed, available and the smallest
 * changes that would fit, each proved by planning again.
 * [errors: ARG IO FORMAT UNSUPPORTED NOMEM VRAM]   Cost: the headers; about a millisecond for a single file.         */
LLMRUN_API llmrun_status llmrun_plan(const llmrun_options *o, char **json, char **text, llmrun_error *err);

/* Describes a model file or directory: family, shapes, tensors per format, what is supported.  As llmrun_plan otherwise.
 * [errors: ARG IO FORMAT UNSUPPORTED NOMEM]                                                                           */
LLMRUN_API llmrun_status llmrun_info(const llmrun_options *o, char **json, char **text, llmrun_error *err);

/* What there is to run on: the CPU, and the GPUs that o->device allows ("auto": those of the CUDA driver): memory in
 * total, free and used by others, measured rates (cached per machine), and why a GPU cannot be used.
 * [errors: ARG NOMEM DEVICE]   Cost: a fraction of a second for measuring the CPU, and each GPU once.                 */
LLMRUN_API llmrun_status llmrun_devices(const llmrun_options *o, char **json, char **text, llmrun_error *err);

/* A number that stands for the files of o->model: it changes when one of them does.  [errors: ARG IO FORMAT UNSUPPORTED
 * NOMEM]   Cost: the headers.                                                                                         */
LLMRUN_API llmrun_status llmrun_model_hash(const llmrun_options *o, uint64_t *hash, llmrun_error *err);

/* What fewer bits cost each tensor of o->model, for o->quant "mixed" and "auto": measured on a sample of text (on the CPU,
 * against f32 where that fits o->ram_bytes) and kept in the cache directory.  sample NULL: what is kept there; *json and
 * *text are NULL if there is nothing.
 * json    receives a JSON document, release with llmrun_free: KL divergence in nats a token that each tensor alone adds in
 *         q8_0 and in q4_k (gate and up together, at gate).
 * text    receives a table for people, release with llmrun_free.  Either may be NULL.
 * UNSUPPORTED: no tokenizer, or weights that are quantized already.   [errors: ARG IO FORMAT UNSUPPORTED NOMEM CANCELLED]
 * Cost: runs up to 2048 tokens once for each matrix; a 7 million parameter model half a minute, 1 billion half an hour. */
LLMRUN_API llmrun_status llmrun_sensitivity(const llmrun_options *o, const char *sample, char **json, char **text,
                                            llmrun_error *err);

/* The directory for what is kept between runs, made where it is missing: o->cache_dir, else the user's.  NULL: there is
 * none, or none is wanted.  Release it with llmrun_free.                                              [errors: none] */
LLMRUN_API char *llmrun_cache_dir(const llmrun_options *o);

/* Releases a string that the library returned.  NULL is fine.                                       [errors: none] */
LLMRUN_API void llmrun_free(void *p);

/* ---- engine -------------------------------------------------------------------------------------------------- */

typedef struct llmrun_engine llmrun_engine;

/* Plans, then loads.  Weights that already have the planned format are used straight from the file's mapping; others
 * are converted on all threads, once (see cache_dir).
 * [errors: ARG IO FORMAT UNSUPPORTED NOMEM VRAM DEVICE CANCELLED]
 * Cost: reads each converted byte once; allocates what llmrun_plan reports.                                          */
LLMRUN_API llmrun_status llmrun_engine_open(llmrun_engine **out, const llmrun_options *o, llmrun_error *err);

/* Closes the engine.  Close its sessions first.                                                     [errors: none] */
LLMRUN_API void llmrun_engine_close(llmrun_engine *e);

typedef struct llmrun_model_info {
    size_t struct_size; /* set by the caller to sizeof(llmrun_model_info) */
    const char *family; /* "llama" */
    const char *quant;  /* format that most weights run in, "f16" */
    const char *kv;     /* format of the KV cache, "f16" */
    int32_t n_layers, dim, n_heads, n_kv_heads, head_dim, hidden_dim, n_vocab;
    int32_t n_ctx;       /* tokens a session can hold */
    int32_t n_ctx_train; /* tokens the model was trained for */
    int32_t n_batch;     /* largest prefill chunk */
    int32_t n_threads;
    uint64_t n_params;
    uint64_t weight_bytes_per_token; /* weight bytes that one decoded token reads */
    uint64_t mapped_bytes;           /* weights used straight from files */
    uint64_t planned_bytes;          /* host memory of the plan: arena, overhead; mapped weights not counted */
    uint64_t ram_budget_bytes;       /* what planned and mapped bytes together had to fit */
    int32_t bos_id;                  /* -1: none */
    int32_t eos_id;                  /* first end-of-text id, -1: none */
    bool has_chat_template;
    const char *cpu_isa;             /* level the kernels run at, "avx512" */
    int32_t n_gpus;                  /* in use; 0: all on the CPU */
    int32_t n_host_layers;           /* layers that the CPU computes at least a part of */
} llmrun_model_info;

/* [errors: ARG] */
LLMRUN_API llmrun_status llmrun_engine_info(const llmrun_engine *e, llmrun_model_info *info);

/* Memory of GPU `gpu` (0 .. n_gpus - 1), or of the host (-1).                                                         */
typedef struct llmrun_memory {
    size_t struct_size; /* set by the caller to sizeof(llmrun_memory) */
    char name[64];
    uint64_t budget_bytes;
    uint64_t planned_bytes;  /* <= budget: arena and overhead; host: also pinned memory, mapped weights not counted */
    uint64_t arena_bytes, overhead_bytes;
    uint64_t peak_bytes;     /* seen so far: of this process on the device as the driver says; host: resident set */
    uint64_t weights_bytes, kv_bytes, activation_bytes, staging_bytes; /* the arena by class */
} llmrun_memory;

/* [errors: ARG] */
LLMRUN_API llmrun_status llmrun_engine_memory(const llmrun_engine *e, int32_t gpu, llmrun_memory *memory);

/* A named part of the memory of GPU `gpu`, or of the host (-1): the regions of its arena in their order, then what lies
 * outside of it ("overhead"; host: "pinned", "mapped weights" too).                                                   */
typedef struct llmrun_region {
    size_t struct_size;      /* set by the caller to sizeof(llmrun_region) */
    char name[48];           /* "layers.3.weights", "kv.3", "activations.x" */
    uint64_t offset, bytes;  /* in the arena; as planned */
    uint64_t peak_bytes;     /* host: touched so far.  GPU: all of a region, which opening takes; overhead: measured */
} llmrun_region;

/* ARG: there is no region of that index, so counting up to it visits all.                              [errors: ARG] */
LLMRUN_API llmrun_status llmrun_engine_region(const llmrun_engine *e, int32_t gpu, size_t index, llmrun_region *region);

/* One weight tensor, numbered from 0 in the order of the layers.                                                       */
typedef struct llmrun_tensor_info {
    size_t struct_size; /* set by the caller to sizeof(llmrun_tensor_info) */
    const char *role;   /* "wq" */
    int32_t layer;      /* -1: outside the layers */
    int64_t rows, cols;
    const char *format; /* it runs in, "q4_k" */
    uint64_t bytes;     /* in that format */
    bool fell_back;     /* its rows do not divide into the blocks of the format that was asked for */
} llmrun_tensor_info;

/* ARG: there is no tensor of that index, so counting up to it visits all.                              [errors: ARG] */
LLMRUN_API llmrun_status llmrun_engine_tensor(const llmrun_engine *e, size_t index, llmrun_tensor_info *tensor);

/* ---- quantize ------------------------------------------------------------------------------------------------ */

typedef struct llmrun_quantize_result {
    size_t struct_size;      /* set by llmrun_quantize */
    uint64_t n_params;
    int32_t n_tensors;       /* of the new file */
    uint64_t source_bytes, file_bytes;
    double bits_per_weight;  /* all tensors of the new file, scales included */
    double seconds;
} llmrun_quantize_result;

/* Writes o->model in the format o->quant.  out ends in ".gguf": a GGUF file (f32 f16 bf16 q8_0 q4_k q4_0 iq4_nl; "8bit" is
 * q8_0, "4bit" q4_k); else a directory in the layout of Hugging Face (f32 f16 bf16 nf4; "4bit" is nf4, as bitsandbytes
 * stores it).  Rows that a format's blocks do not divide fall back as in llmrun_plan.  Of the options, model, quant,
 * calibrate, n_threads and the callbacks count; with calibrate also those that opening the model at its own precision
 * needs.  What was at out stays whole until the new one is complete and on the disk, then is replaced in one step; a
 * directory only if it holds a model and nothing else.  result may be NULL.
 * ARG: out is the model itself, or something else is there; IO: not writable, or too little free.
 * [errors: ARG IO FORMAT UNSUPPORTED NOMEM CANCELLED]   Cost: reads each byte once; some 20 MB of memory.            */
LLMRUN_API llmrun_status llmrun_quantize(const llmrun_options *o, const char *out, llmrun_quantize_result *result,
                                         llmrun_error *err);

/* ---- tokens -------------------------------------------------------------------------------------------------- */

/* Opens a tokenizer alone, from a tokenizer.json, a tokenizer.model (SentencePiece), a .gguf, or a directory that holds
 * one of them (in this order).
 * [errors: ARG IO FORMAT UNSUPPORTED NOMEM]                                                                          */
typedef struct llmrun_tokenizer llmrun_tokenizer;
LLMRUN_API llmrun_status llmrun_tokenizer_open(llmrun_tokenizer **out, const char *path, llmrun_error *err);
LLMRUN_API void llmrun_tokenizer_close(llmrun_tokenizer *t);

/* The engine's tokenizer; NULL if the model has none.  Lives as long as the engine. */
LLMRUN_API const llmrun_tokenizer *llmrun_engine_tokenizer(const llmrun_engine *e);

enum { LLMRUN_ADD_SPECIAL = 1,   /* add BOS/EOS as the model's post-processor does */
       LLMRUN_PARSE_SPECIAL = 2  /* text such as <|eot_id|> becomes that special token; off for untrusted text */ };

/* Splits text into ids.  Any bytes are accepted; invalid UTF-8 becomes U+FFFD.  Linear in the length of the text.
 * text    (n_bytes) read during the call only; may hold NUL.
 * ids     (max) filled with the first max ids; NULL with max 0 to count.
 * n_ids   number of ids the text has, also when it is larger than max.
 * UNSUPPORTED: a pattern of the tokenizer's file takes too many steps on this text.
 * Thread-safe.  [errors: ARG UNSUPPORTED NOMEM]                                                                       */
LLMRUN_API llmrun_status llmrun_tokenize(const llmrun_tokenizer *t, const char *text, size_t n_bytes, unsigned flags,
                                         int32_t *ids, size_t max, size_t *n_ids, llmrun_error *err);

/* Bytes that one id stands for; not NUL-terminated, may be part of a character.  special: also print control tokens.
 * first: the id opens the text (some tokenizers drop one leading space there).
 * Returns a pointer that lives as long as the tokenizer, and its length; length 0 for an unknown id. [errors: none] */
LLMRUN_API const char *llmrun_token_text(const llmrun_tokenizer *t, int32_t id, bool special, bool first, size_t *n_bytes);

/* True if the id ends a turn or the text (every eos id of the model's files).                        [errors: none] */
LLMRUN_API bool llmrun_token_is_end(const llmrun_tokenizer *t, int32_t id);

LLMRUN_API int32_t llmrun_token_count(const llmrun_tokenizer *t);

/* ---- session ------------------------------------------------------------------------------------------------- */

typedef struct llmrun_session llmrun_session;

/* [errors: ARG NOMEM]   Cost: takes one of the plan's n_sessions KV caches; ARG when all are taken.                  */
LLMRUN_API llmrun_status llmrun_session_open(llmrun_session **out, llmrun_engine *e, llmrun_error *err);
LLMRUN_API void llmrun_session_close(llmrun_session *s);

LLMRUN_API int32_t llmrun_session_position(const llmrun_session *s); /* tokens in the cache */
LLMRUN_API int32_t llmrun_session_room(const llmrun_session *s);     /* tokens that still fit */

/* Runs n tokens and appends them to the session's KV cache.
 * tokens  (n) ids, each in [0, n_vocab).
 * n       1 .. llmrun_session_room(s); more than n_batch are run in chunks.
 * logits  (n_vocab) float32 of the LAST token, unnormalised natural log; NULL skips the output matmul.
 * ARG, CONTEXT: nothing changed.  CANCELLED: the cache is back at its position before the call, or of a
 *         model with recurrent layers at 0, as after any failure of a pass.
 * IO: a model file changed on disk while in use.  [errors: ARG IO CONTEXT DEVICE CANCELLED]
 * Cost: allocates nothing; reads each weight byte once a chunk, and the KV cache up to the position.
 * Calls on sessions of one engine may come from different threads: they run one after the other.
 * The same engine gives the same bits for any number of threads.
 * Source: online softmax, arXiv:1805.02867; tiling, arXiv:2205.14135.                                                */
LLMRUN_API llmrun_status llmrun_session_eval(llmrun_session *s, const int32_t *tokens, int32_t n, float *logits,
                                             llmrun_error *err);

/* As llmrun_session_eval, with logits of every token: logits is (n, n_vocab).                                        */
LLMRUN_API llmrun_status llmrun_session_eval_all(llmrun_session *s, const int32_t *tokens, int32_t n, float *logits,
                                                 llmrun_error *err);

/* Runs one token of each of n sessions of one engine in a single pass: weights are read once for all of them.
 * logits  (n, n_vocab) or NULL.  No session may appear twice.  Errors as llmrun_session_eval.                        */
LLMRUN_API llmrun_status llmrun_batch_eval(llmrun_session *const *s, const int32_t *tokens, int32_t n, float *logits,
                                           llmrun_error *err);

/* Makes the session hold exactly these tokens: keeps the common prefix, drops the rest, evaluates what is new.
 * n_reused (may be NULL) gets the length of the prefix kept.  At least the last token is always evaluated.           */
LLMRUN_API llmrun_status llmrun_session_sync(llmrun_session *s, const int32_t *tokens, int32_t n, float *logits,
                                             int32_t *n_reused, llmrun_error *err);

/* Drops all tokens from position on (0 .. llmrun_session_position).  ARG if a sliding-window cache no longer holds
 * what that position needs, or a recurrent state, which holds the last one alone, would have to go back (then rewind to
 * 0 and evaluate again, as llmrun_session_sync does).                                                 [errors: ARG] */
LLMRUN_API llmrun_status llmrun_session_rewind(llmrun_session *s, int32_t position, llmrun_error *err);

/* Makes dst a copy of src (same engine).  Cost: copies the used part of the cache.                    [errors: ARG] */
LLMRUN_API llmrun_status llmrun_session_copy(llmrun_session *dst, const llmrun_session *src, llmrun_error *err);

/* Writes the session's tokens and cache to a file (atomically), and reads them back into a session of an engine with
 * the same model, formats and context.  The file is checked; a foreign or damaged one is FORMAT and changes nothing.
 * [errors: ARG IO FORMAT NOMEM]                                                                                      */
LLMRUN_API llmrun_status llmrun_session_save(const llmrun_session *s, const char *path, llmrun_error *err);
LLMRUN_API llmrun_status llmrun_session_restore(llmrun_session *s, const char *path, llmrun_error *err);

/* Lets watch see the residual stream of the passes that follow: x (n, dim) float32 after the embedding (layer -1) and
 * after each layer.  What it writes there, the pass goes on with.  For measuring: each call waits for the device.
 * watch NULL ends it.  Passes of llmrun_batch_eval are not watched.        [errors: ARG NOMEM]   Cost: n_batch rows. */
typedef void (*llmrun_watch)(void *user, int32_t layer, float *x, int32_t n, int32_t dim);
LLMRUN_API llmrun_status llmrun_session_watch(llmrun_session *s, llmrun_watch watch, void *user, llmrun_error *err);

/* Makes the call that runs on the session, or the next one, return CANCELLED soon (within one layer).  From any
 * thread; async-signal-safe.                                                                         [errors: none] */
LLMRUN_API void llmrun_session_cancel(llmrun_session *s);

/* ---- sampling ------------------------------------------------------------------------------------------------ */

typedef struct llmrun_sampling {
    size_t struct_size;   /* set by llmrun_sampling_default */
    float temperature;    /* 0: greedy.  default 0.8 */
    int32_t top_k;        /* 0: off.  default 40 */
    float top_p;          /* 1: off.  default 0.95 */
    float min_p;          /* 0: off.  default 0.05 */
    float repeat_penalty; /* 1: off.  default 1 */
    int32_t repeat_last;  /* tokens the penalty looks back, default 64 */
    uint64_t seed;        /* the same seed gives the same text */
} llmrun_sampling;

LLMRUN_API void llmrun_sampling_default(llmrun_sampling *p);

/* Draws the next id from logits (n_vocab), which it overwrites.  rng is the caller's state, seeded with p->seed.
 * history (n_history) ids for the repeat penalty, newest last; may be NULL.
 * logprob (may be NULL) gets ln p(id) under the unmodified logits.   Returns the id.                  [errors: none] */
LLMRUN_API int32_t llmrun_sample(float *logits, int32_t n_vocab, const llmrun_sampling *p, uint64_t *rng,
                                 const int32_t *history, int32_t n_history, float *logprob);

/* ---- text generation ----------------------------------------------------------------------------------------- */

typedef enum llmrun_finish {
    LLMRUN_FINISH_LENGTH,    /* max_tokens reached */
    LLMRUN_FINISH_END,       /* the model ended its text */
    LLMRUN_FINISH_STOP,      /* a stop string appeared; it is not part of the text */
    LLMRUN_FINISH_CONTEXT,   /* the context is full */
    LLMRUN_FINISH_CANCELLED, /* cancelled, or a callback said stop */
    LLMRUN_FINISH_ERROR
} llmrun_finish;

typedef struct llmrun_generate_options {
    size_t struct_size;          /* set by llmrun_generate_options_default */
    llmrun_sampling sampling;
    int32_t max_tokens;          /* -1: until the model ends or the context is full */
    const char *const *stop;     /* (n_stop) strings */
    int32_t n_stop;
    bool ignore_end;             /* go on after an end token */
    bool special;                /* print control tokens too */
    /* Text as it comes, whole UTF-8 characters only; return false to stop.  NULL: no text.                           */
    bool (*text)(void *user, const char *utf8, size_t n_bytes);
    /* The caller's own sampling: gets the logits (n_vocab, may be changed), returns the next id, or -1 to stop.      */
    int32_t (*choose)(void *user, float *logits, int32_t n_vocab);
    void *user;
} llmrun_generate_options;

LLMRUN_API void llmrun_generate_options_default(llmrun_generate_options *g);

typedef struct llmrun_generate_result {
    size_t struct_size; /* set by the caller to sizeof(llmrun_generate_result) */
    llmrun_finish finish;
    int32_t n_prompt, n_reused, n_generated;
    double prefill_seconds, decode_seconds;
    uint64_t logits_hash; /* of the first 4 KiB of the last logits: equal for equal runs */
} llmrun_generate_result;

/* Syncs the session to the prompt, then generates.  prompt (n) ids, n >= 1.
 * CONTEXT: the prompt alone is longer than the context; nothing changed.
 * [errors: ARG CONTEXT DEVICE NOMEM]   (cancelling is a finish reason, not an error)                                 */
LLMRUN_API llmrun_status llmrun_generate(llmrun_session *s, const int32_t *prompt, int32_t n,
                                         const llmrun_generate_options *g, llmrun_generate_result *result,
                                         llmrun_error *err);

/* ---- chat ---------------------------------------------------------------------------------------------------- */

/* A conversation for the model's own chat template (chat_template of llmrun_options, else chat_template.jinja,
 * tokenizer_config.json or the GGUF metadata).  Strings are JSON.                                                     */
typedef struct llmrun_chat_options {
    size_t struct_size;   /* set by llmrun_chat_options_default */
    const char *messages; /* array of {"role", "content" (text or parts), "tool_calls", "tool_call_id", ...} */
    const char *tools;    /* array of function descriptions, NULL: none */
    const char *variables; /* object with further variables of the template, {"enable_thinking": false}; NULL: none */
    bool add_generation_prompt; /* end where the model answers; default true */
    bool continue_last;   /* the last message is the start of the answer: end behind its text; default false */
    int64_t unix_time;    /* what templates print as the date, 0: now */
} llmrun_chat_options;

LLMRUN_API void llmrun_chat_options_default(llmrun_chat_options *o);

/* The text that the template makes of the conversation, as apply_chat_template of Hugging Face transformers does; of a
 * model without a template: the messages' texts, each from a new line on.  Release it with llmrun_free.
 * The template is an untrusted program: its steps, memory and output are limited.
 * ARG: the template refuses the conversation ("roles must alternate"); FORMAT: the template or the JSON is not valid, or
 * the template treats a value as what it is not; UNSUPPORTED: the template needs what this version has not, or exceeds a
 * limit.  Messages give the template's line.                                      [errors: ARG FORMAT UNSUPPORTED NOMEM] */
LLMRUN_API llmrun_status llmrun_chat_render(const llmrun_engine *e, const llmrun_chat_options *o, char **text,
                                            llmrun_error *err);

/* Ids of that text, ready for llmrun_generate, which reuses what the session already holds.  Control tokens that the
 * template writes are special; text of messages, tools and variables never becomes one, whatever it holds.
 * ids     (max) filled with the first max ids; *n_ids: how many there are.
 * [errors: ARG FORMAT UNSUPPORTED NOMEM]                                                                              */
LLMRUN_API llmrun_status llmrun_chat_tokenize(const llmrun_engine *e, const llmrun_chat_options *o, int32_t *ids, size_t max,
                                              size_t *n_ids, llmrun_error *err);

#ifdef __cplusplus
}
#endif
#endif
