/* One set of encoders for the instruction set that the including file is compiled for.  The includer defines
 * LR_ENCODERS_NAME and LR_ENCODERS_ISA.                                                                               */
#include "quant/encoders.h"
#include "quant/lanes.h"

#include "quant/half_lanes.h"
#include "quant/iq4_nl_lanes.h"
#include "quant/nf4_lanes.h"
#include "quant/q4_k_lanes.h"
#include "quant/q8_0_lanes.h"

const lr_encoders LR_ENCODERS_NAME = {
    .isa = LR_ENCODERS_ISA,
    .q8_0 = q8_0_encode,
    .q4_k = q4_k_encode,
    .iq4_nl = iq4_nl_encode,
    .nf4 = nf4_encode,
    .q4_k_weighted = q4_k_weighted,
    .iq4_nl_weighted = iq4_nl_weighted,
    .f16_to_f32 = f16_to_f32,
    .f32_to_f16 = f32_to_f16,
    .bf16_to_f32 = bf16_to_f32,
    .f32_to_bf16 = f32_to_bf16,
    .abs_max_bits = abs_max_bits,
};
