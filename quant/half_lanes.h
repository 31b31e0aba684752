/* Arrays of f16 and bf16 to and from f32, and the largest magnitude of an array.  Part of encoders_body.h.           */
#include "quant/lanes.h"

#if !defined(__F16C__)
/* lr_f16_to_f32 without branches.                                                                                    */
static inline vf f16_lanes(vu h) {
    vu a = h & 0x7fff, is_tiny = (vu)(a < 0x400), is_special = (vu)(a >= 0x7c00);
    vu normal = (a << 13) + 0x38000000, tiny = (vu)(__builtin_convertvector((vi)a, vf) * 0x1p-24f);
    vu special = ((a << 13) + 0x70000000) | ((vu)(a > 0x7c00) & 0x400000);
    vu r = (is_tiny & tiny) | (is_special & special) | (~(is_tiny | is_special) & normal);
    return (vf)(r | (h & 0x8000) << 16);
}
#endif

static void f16_to_f32(float *x, const void *src, int64_t n) {
    const char *p = src;
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(x + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p + 2 * i))));
#elif defined(__F16C__)
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(x + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 2 * i))));
#else
    for (; i + LANES <= n; i += LANES) v_store(x + i, f16_lanes(v_load_halves(p + 2 * i)));
#endif
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        x[i] = lr_f16_to_f32(h);
    }
}

static void f32_to_f16(void *out, const float *x, int64_t n) {
    char *p = out;
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(p + 2 * i), _mm512_cvtps_ph(_mm512_loadu_ps(x + i), 0));
#elif defined(__F16C__)
    for (; i + 8 <= n; i += 8) _mm_storeu_si128((__m128i *)(p + 2 * i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), 0));
#endif
    for (; i < n; i++) {
        uint16_t h = lr_f32_to_f16(x[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

static void bf16_to_f32(float *x, const void *src, int64_t n) {
    const char *p = src;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(x + i, (vf)(v_load_halves(p + 2 * i) << 16));
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        x[i] = lr_bf16_to_f32(h);
    }
}

static void f32_to_bf16(void *out, const float *x, int64_t n) {
    char *p = out;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vu u = (vu)v_load(x + i), is_nan = (vu)((u & 0x7fffffff) > 0x7f800000);
        vu rounded = u + 0x7fff + (u >> 16 & 1); /* wraps for a NaN only */
        v_store_halves(p + 2 * i, ((is_nan & (u | 0x400000)) | (~is_nan & rounded)) >> 16);
    }
    for (; i < n; i++) {
        uint16_t h = lr_f32_to_bf16(x[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

static uint32_t abs_max_bits(const float *x, int64_t n) {
    vi most = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vi b = v_bits(v_load(x + i)) & 0x7fffffff, m = b > most;
        most = (m & b) | (~m & most);
    }
    int32_t result = 0;
    for (int k = 0; k < LANES; k++) result = most[k] > result ? most[k] : result;
    for (; i < n; i++) {
        int32_t b;
        memcpy(&b, x + i, sizeof b);
        b &= 0x7fffffff;
        result = b > result ? b : result;
    }
    return (uint32_t)result;
}
