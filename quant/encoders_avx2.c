/* The encoders compiled for AVX2, FMA, F16C.                                                                             */
#if defined(__x86_64__)
#define LR_ENCODERS_NAME lr_encoders_avx2
#define LR_ENCODERS_ISA "avx2"
#include "quant/encoders_body.h"
#endif
