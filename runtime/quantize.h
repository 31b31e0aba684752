/* Writing a model in another format: what the parts of quantize*.c share.                                            */
#ifndef LR_QUANTIZE_H
#define LR_QUANTIZE_H

#include "loaders/write.h"
#include "runtime/engine.h"
#include "runtime/output.h"

/* What becomes of one matrix of the model, or (src.tensor NULL) bytes that are ready.                                 */
typedef struct lr_quantize_item {
    lr_source src;
    lr_format format;    /* to write; LR_NF4: in the layout of bitsandbytes, scales in the tensor after this one */
    int64_t rows, cols;  /* a vector: cols 1 */
    uint64_t offset;     /* bytes of the tensor in front of it: others share a fused one */
    int32_t head_rows;   /* rows of q and k are written so that the halves of each head alternate; 0: as they are */
    const float *weights; /* (cols) importance of columns, or NULL: all matter alike */
    size_t out;          /* in lr_quantize.tensors */
    size_t ready;        /* no src: offset in lr_quantize.ready */
} lr_quantize_item;

/* What a text showed to matter: of each tensor of a binding, how large what its columns are multiplied with is.        */
typedef struct lr_importance {
    float **columns; /* (n) each (cols), mean square, scaled to a mean of 1; NULL: the text did not get there */
    size_t n;
} lr_importance;

typedef struct lr_quantize {
    const llmrun_engine *e; /* prepared, not loaded */
    lr_format format;
    lr_importance importance; /* of e's binding; all NULL: none */
    lr_out_tensor *tensors; /* (n_tensors) of the file */
    lr_quantize_item *items; /* (n_items) */
    size_t n_tensors, n_items, cap_tensors, cap_items;
    lr_text ready;
    llmrun_error *err;
} lr_quantize;

/* Appends a tensor and the item that fills it, or the first rows of it.  Dimensions: of the whole tensor, the last one
 * contiguous.                                                                                  [errors: NOMEM FORMAT] */
llmrun_status lr_quantize_add_item(lr_quantize *q, const char *name, const lr_quantize_item *item, int32_t n_dims,
                                   const uint64_t *shape);
/* Appends an item for a tensor that is listed: item->out is set.                                      [errors: NOMEM] */
llmrun_status lr_quantize_append(lr_quantize *q, const lr_quantize_item *item);
/* Appends a vector whose bytes are at hand.                                                                           */
llmrun_status lr_quantize_add_ready(lr_quantize *q, const char *name, lr_dtype dtype, uint64_t n, const void *bytes);

/* quantize_calibrate.c: runs the text o->calibrate through o->model, at the file's precision, on the CPU.  e: prepared
 * with the same model.  Memory: the model's own and a window's.  [errors: as llmrun_engine_open, and UNSUPPORTED CANCELLED] */
llmrun_status lr_importance_measure(lr_importance *m, const llmrun_engine *e, const llmrun_options *o, llmrun_error *err);
void lr_importance_close(lr_importance *m);

/* quantize_gguf.c: tensors and metadata of a GGUF file.                              [errors: NOMEM FORMAT UNSUPPORTED] */
llmrun_status lr_quantize_list_gguf(lr_quantize *q, lr_gguf_meta *meta);
/* quantize_verify.c: does a reader of this metadata come to the numbers of the model?  UNSUPPORTED names what GGUF has no
 * word for.                                                                                 [errors: UNSUPPORTED NOMEM] */
llmrun_status lr_quantize_verify(const lr_quantize *q, const lr_gguf_meta *meta);
/* quantize_tokenizer.c: tokenizer.ggml.* of a model that is no GGUF.                                                  */
llmrun_status lr_quantize_tokenizer(const llmrun_engine *e, lr_gguf_meta *meta, llmrun_error *err);

/* quantize_hf.c: tensors of a safetensors file, and what lies beside it in the directory.                             */
llmrun_status lr_quantize_list_hf(lr_quantize *q);
llmrun_status lr_quantize_copy_hf(const lr_quantize *q, lr_output *out);

#endif
