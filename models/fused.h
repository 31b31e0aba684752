/* Where matrices lie in a tensor that holds several: query, key and value rows, or gate and up rows, one after another. */
#ifndef LR_FUSED_H
#define LR_FUSED_H

#define LR_FUSED_Q .after = { LR_D_KV, LR_D_KV }
#define LR_FUSED_K .before = { LR_D_Q }, .after = { LR_D_KV }
#define LR_FUSED_V .before = { LR_D_Q, LR_D_KV }
#define LR_FUSED_GATE .after = { LR_D_HIDDEN }
#define LR_FUSED_UP .before = { LR_D_HIDDEN }

#endif
