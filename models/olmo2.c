/* OLMo 2: Llama without norms in front of the blocks; what a block adds to x is normed, and queries and keys over all
 * heads.                                                                                                               */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/olmo_core.def"
};

const lr_family lr_family_olmo2 = {
    .name = "olmo2",
    .model_types = { "olmo2" },
    .architectures = { "Olmo2ForCausalLM" },
    .gguf_architectures = { "olmo2" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .no_window = true,
    .post_norms = true,
    .norm_rows = true,
};
