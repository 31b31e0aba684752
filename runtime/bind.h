/* Joins a model family's tables to what a checkpoint holds.                                                           */
#ifndef LR_BIND_H
#define LR_BIND_H

#include "loaders/packed.h"
#include "models/model.h"
#include "runtime/plan.h"

/* A checkpoint understood: which family, which numbers, which tensor plays which role.                                */
typedef struct lr_binding {
    const lr_family *family;
    lr_hparams hparams;
    lr_plan_tensor *tensors;   /* (n) what the planner needs to know */
    lr_source *sources;        /* (n) where each comes from; without a tensor for a bare config.json */
    size_t n;
    lr_packing packing;        /* what config.json says of packed weights */
    lr_packed **packed;        /* (n_packed) matrices that are packed; sources point to them */
    size_t n_packed;
    lr_source *parts;          /* of the experts that are tensors of their own; sources point into it */
    uint64_t n_params;
    size_t n_vision, n_next;    /* tensors of parts that see pictures, that guess further tokens: not used */
    const lr_tensor *rope_factors; /* (n_rot / 2) f32 that inverse frequencies are divided by, or NULL */
} lr_binding;

/* Family and hyperparameters of a config.json.  UNSUPPORTED names the key and value that this version cannot run.
 * [errors: FORMAT UNSUPPORTED]                                                                                        */
llmrun_status lr_hparams_read(lr_hparams *h, const lr_family **family, const lr_config *config,
                              const lr_config *generation, llmrun_error *err);
/* The same of a GGUF file's metadata.                                                                                 */
llmrun_status lr_hparams_read_gguf(lr_hparams *h, const lr_family **family, const lr_checkpoint *c, llmrun_error *err);
/* Parts of it.  hparams_layers.c: rope, and what sets layers apart.                                                  */
llmrun_status lr_hparams_read_rope(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err);
llmrun_status lr_hparams_read_layers(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err);
/* hparams_experts.c: how tokens are given to experts, and which layers have them.                                    */
llmrun_status lr_hparams_read_experts(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err);
llmrun_status lr_hparams_read_experts_gguf(lr_hparams *h, const lr_family *family, const char *arch, const lr_config *c,
                                           llmrun_error *err);
/* What neither container says: constants of the family, numbers that follow from the shape.                          */
void lr_hparams_settle(lr_hparams *h, const lr_family *family);
/* End-of-text ids and the names of known families, for both.                                                         */
void lr_hparams_add_end(lr_hparams *h, double id); /* appends it unless it is known, or no token */
const char *lr_hparams_families(char *buf, size_t size);

/* All of it.  The binding points into the checkpoint.  Every mismatch of name, shape or type is reported here.
 * [errors: FORMAT UNSUPPORTED NOMEM]                                                                                  */
llmrun_status lr_bind(lr_binding *b, const lr_checkpoint *c, llmrun_error *err);
void lr_binding_close(lr_binding *b);

/* The order of columns that a packed matrix has in its run format, of the part-th where there are parts; NULL: the
 * model's own.                                                                                                        */
const int32_t *lr_binding_order(const lr_source *s, int32_t part);

/* Divides inverse frequencies (n_rot / 2) by the file's factors, where it has them.                                   */
void lr_binding_scale_rope(const lr_binding *b, double *freq);

/* Index of the tensor with that role in that layer (-1: outside the layers), or -1.                                   */
int64_t lr_binding_find(const lr_binding *b, lr_role role, int32_t layer);

#endif
