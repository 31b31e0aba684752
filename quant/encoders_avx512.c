/* The encoders compiled for AVX-512.                                                                             */
#if defined(__x86_64__)
#define LR_ENCODERS_NAME lr_encoders_avx512
#define LR_ENCODERS_ISA "avx512"
#include "quant/encoders_body.h"
#endif
