/* The table's matmul_few entries, AVX-512.                                                                            */
#include "kernels/cpu/cpu.h"

void lr_gemv_fill_avx512(lr_ops *ops) {
    static const struct { lr_act_format act; int32_t row_step; } wants[LR_N_FORMATS] = {
        [LR_F32] = { LR_ACT_F32, 8 }, [LR_F16] = { LR_ACT_F32, 8 }, [LR_BF16] = { LR_ACT_F32, 8 },
        [LR_Q8_0] = { LR_ACT_Q8, 8 }, [LR_Q4_K] = { LR_ACT_Q8, 8 }, [LR_IQ4_NL] = { LR_ACT_Q8, 8 },
        [LR_NF4] = { LR_ACT_Q8, 8 }, [LR_FP4] = { LR_ACT_Q8, 8 }, [LR_U4] = { LR_ACT_Q8, 8 },
        [LR_U4_32] = { LR_ACT_Q8, 8 }, [LR_I8] = { LR_ACT_Q8, 8 }, [LR_FP8] = { LR_ACT_F32, 4 },
    };
#define LR_FORMAT(id, format, block, quant_bytes, scale_bytes, bits, file)                                             \
    ops->matmul_few[id] = (lr_matmul_kernel){ "matmul_" format "_avx512", wants[id].act, wants[id].row_step,           \
                                              lr_matmul_##file##_avx512 };
#define LR_BLOCK_FORMAT(id, format, block, bytes, bits, file, encoder)                                                 \
    ops->matmul_few[id] = (lr_matmul_kernel){ "matmul_" format "_avx512", LR_ACT_Q8, 8, lr_matmul_##file##_avx512 };
#include "quant/formats.def"
#undef LR_FORMAT
}
