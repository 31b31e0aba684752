/* OLMo 3: OLMo 2 with windows in three of four layers, whose rope is not stretched.                                  */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/olmo_core.def"
};

const lr_family lr_family_olmo3 = {
    .name = "olmo3",
    .model_types = { "olmo3" },
    .architectures = { "Olmo3ForCausalLM" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .full_every = 4,
    .post_norms = true,
    .norm_rows = true,
    .theta = 500000,
    .local_theta = 500000,
};
