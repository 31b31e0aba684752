/* Converts weights from a file's element types to their run formats, on all threads, each byte once.                 */
#ifndef LR_UPLOAD_H
#define LR_UPLOAD_H

#include "loaders/source.h"
#include "runtime/threads.h"

/* Scratch that each thread of the pool must have (lr_threads_set_scratch) while lr_upload runs.  lr_upload allocates
 * nothing.                                                                                                            */
enum { LR_UPLOAD_SCRATCH_BYTES = 16384 };

typedef struct lr_upload_job {
    const char *name;    /* for messages */
    const void *src;     /* rows x cols values, any alignment; NULL: see source */
    const lr_source *source; /* where the values do not lie one after another: from its row first_row on */
    lr_dtype dtype;
    int64_t rows, cols;  /* cols a multiple of the format's block */
    int64_t first_row;   /* of a tensor that comes in parts: where this one starts */
    lr_format format;    /* in: wanted.  out: what dst holds (see or_bf16) */
    bool from_file;      /* src is in a file's mapping: its pages are let go once they are converted */
    bool or_bf16;        /* f16 wanted: when a value is out of f16's range, the tensor becomes bf16 (same size) */
    const float *weights; /* (n_weights) how much each column matters, or NULL; value i of the tensor is of column i % n_weights */
    int64_t n_weights;   /* a multiple of the format's block */
    void *dst;           /* lr_format_measure bytes, LR_ALIGN-aligned; padding between the planes is zeroed */
    float abs_max;       /* out: the largest magnitude */

    int64_t first_item, n_items; /* private */
    uint64_t bad;
    uint32_t abs_max_bits;
} lr_upload_job;

/* Runs all jobs.  Progress is reported as "convert" from the calling thread.  The bytes do not depend on the threads.
 * FORMAT       a value is NaN or infinite: names tensor and element
 * UNSUPPORTED  no conversion from that element type, or a value that the format cannot hold: f16 without or_bf16 above
 *              65504; q8_0, q4_k, iq4_nl above 7.4 million (their f16 scale ends)
 * CANCELLED    the progress callback said stop
 * After a failure the content of every dst is undefined.                                                              */
llmrun_status lr_upload(lr_upload_job *jobs, size_t n, lr_threads *threads, const lr_report *report, llmrun_error *err);

/* For small tensors that are used as f32 (norms, biases): converts n values to x, FORMAT if one is NaN or infinite.    */
llmrun_status lr_upload_vector(float *x, const char *name, const void *src, lr_dtype dtype, int64_t n,
                               llmrun_error *err);

/* True if every value survives as f16 (magnitude below 65520), so a caller can plan for bf16 instead.  Non-finite
 * values and types without conversion: false.  Reads all of it, on the calling thread.                                */
bool lr_upload_range_fits_f16(const lr_source *source);

#endif
