/* Encoder of q4_k: a search over scales and mins, one trial per lane.  Part of encoders_body.h.
 *
 * Squared errors are weighted equally: that is what the relative error of the decoded matrix measures, and without
 * calibration data it also keeps perplexity lower than weights of x^2 (2.7 % against 0.9 % loss, Qwen3-30B).  With such
 * data each value has a weight of its own; w NULL: all weights are 1.                                                 */
#include "quant/lanes.h"

static inline float q4_k_clamp(float x, float lo, float hi) { return x > lo ? x < hi ? x : hi : lo; } /* NaN: lo */

/* First pass: step and offset (<= 0) of one sub-block so that x ~ step * q + offset, q in 0..15.  Trial c rounds with
 * a step of range / steps[c], then fits step and offset to the codes by least squares.                                */
ALWAYS_INLINE void q4_k_fit(const float *x, const float *w, float *step_out, float *offset_out) {
    static const float steps[16] = {13.7f, 14.0f, 14.3f, 14.6f, 14.9f, 15.2f, 15.5f, 15.8f,
                                    16.1f, 16.4f, 16.7f, 17.0f, 17.3f, 17.6f, 17.9f, 18.2f};
    float y[32], wy[32], step[16], offset[16], gain[16];
    vf lowest = {0}, highest = v_load(x);
    for (int i = 0; i < 32; i += LANES) {
        lowest = v_min(v_load(x + i), lowest);
        highest = v_max(v_load(x + i), highest);
    }
    float min = v_min_lane(lowest), range = v_max_lane(highest) - min;
    *step_out = 0;
    *offset_out = min;
    if (!(range > 0)) return;
    for (int i = 0; i < 32; i += LANES) v_store(y + i, v_load(x + i) - min);
    for (int i = 0; i < 32 && w; i++) wy[i] = w[i] * y[i];

    float n = w ? sum_of_32(w) : 32.0f, sy = sum_of_32(w ? wy : y);
    for (int c = 0; c < 16; c += LANES) {
        vf inv = v_load(steps + c) / range, top = v_all(15.0f), sq = {0}, sqq = {0}, syq = {0};
        for (int i = 0; i < 32; i++) {
            vf q = v_round(v_min(y[i] * inv, top));
            sq += w ? w[i] * q : q;
            sqq = w ? sqq + w[i] * q * q : v_mul_add_exact(q, q, sqq);
            syq += (w ? wy[i] : y[i]) * q;
        }
        vf det = n * sqq - sq * sq;
        vf a = (n * syq - sy * sq) / det, b = (sqq * sy - sq * syq) / det;
        /* Mins are stored as M >= 0, and equal codes fit any line: then the line goes through zero.                   */
        vi through_zero = (b + min > 0) | (det <= 0);
        a = v_pick(through_zero, (syq + min * sq) / sqq, a);
        b = v_pick(through_zero, v_all(-min), b);
        vf less = 2.0f * (a * syq + b * sy) - a * (a * sqq + 2.0f * b * sq) - n * b * b;
        v_store(step + c, a);
        v_store(offset + c, b + min);
        v_store(gain + c, v_max(less, v_all(0.0f)));
    }
    int best = best_of_16(gain);
    *step_out = step[best];
    *offset_out = offset[best];
}

/* Second pass: the pair of 6-bit S and M near the fitted ones that has the least error with the stored d and dmin.    */
ALWAYS_INLINE void q4_k_settle(const float *x, const float *w, float d, float dmin, float *scale, float *min) {
    static const float scale_trials[16] = {0, -1, 1, 2, 0, -1, 1, 2, 0, -1, 1, 2, 0, -1, 1, 2};
    static const float min_trials[16] = {0, 0, 0, 0, -1, -1, -1, -1, 1, 1, 1, 1, 2, 2, 2, 2};
    float scales[16], mins[16], gain[16];
    vf zero = {0}, top = v_all(15.0f), most = v_all(63.0f);
    for (int c = 0; c < 16; c += LANES) {
        vf s = v_max(v_min(*scale + v_load(scale_trials + c), most), zero);
        vf m = v_max(v_min(*min + v_load(min_trials + c), most), zero);
        vf step = d * s, offset = dmin * m, sum = {0};
        vf inv = v_pick(step > 0, 1.0f / step, zero);
        for (int i = 0; i < 32; i++) {
            vf v = offset + x[i], q = v_round(v_max(v_min(v * inv, top), zero)), e = step * q - v;
            sum += w ? w[i] * e * e : e * e;
        }
        v_store(scales + c, s);
        v_store(mins + c, m);
        v_store(gain + c, v_max(-sum, v_all(-__builtin_inff())));
    }
    int best = best_of_16(gain);
    *scale = scales[best];
    *min = mins[best];
}

static inline vi q4_k_codes(const float *x, float inv, float offset) {
    return v_round_i(v_max(v_min((v_load(x) + offset) * inv, v_all(15.0f)), v_all(0.0f)));
}

ALWAYS_INLINE void q4_k_encode_with(void *quants, void *scales, const float *x, const float *w, int64_t n) {
    uint8_t *q = quants, *p = scales;
    for (int64_t b = 0; b < n; b += 256, x += 256, q += 128, p += 16) {
        float step[8], offset[8], top_step = 0, top_offset = 0;
        for (int s = 0; s < 8; s++) {
            q4_k_fit(x + 32 * s, w ? w + b + 32 * s : NULL, &step[s], &offset[s]);
            top_step = step[s] > top_step ? step[s] : top_step;
            top_offset = -offset[s] > top_offset ? -offset[s] : top_offset;
        }
        uint16_t half[2] = {scale_f16(top_step / 63.0f), scale_f16(top_offset / 63.0f)};
        float d = scale_f32(half[0]), dmin = scale_f32(half[1]);
        float inv_d = d > 0 ? 1.0f / d : 0.0f, inv_dmin = dmin > 0 ? 1.0f / dmin : 0.0f;
        uint8_t packed[12] = {0};
        for (int s = 0; s < 8; s++) {
            float scale_f = (float)(int)(0.5f + q4_k_clamp(step[s] * inv_d, 0, 63));
            float min_f = (float)(int)(0.5f + q4_k_clamp(-offset[s] * inv_dmin, 0, 63));
            q4_k_settle(x + 32 * s, w ? w + b + 32 * s : NULL, d, dmin, &scale_f, &min_f);
            int scale = (int)scale_f, min = (int)min_f;
            if (s < 4) {
                packed[s] = (uint8_t)scale;
                packed[s + 4] = (uint8_t)min;
            } else {
                packed[s + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
                packed[s - 4] |= (uint8_t)(scale >> 4 << 6);
                packed[s] |= (uint8_t)(min >> 4 << 6);
            }
            step[s] = d * (float)scale;
            offset[s] = dmin * (float)min;
        }
        for (int s = 0; s < 8; s += 2) {
            const float *lo = x + 32 * s, *hi = lo + 32;
            float inv_lo = step[s] > 0 ? 1.0f / step[s] : 0.0f, inv_hi = step[s + 1] > 0 ? 1.0f / step[s + 1] : 0.0f;
            for (int i = 0; i < 32; i += LANES)
                v_store_bytes(q + 16 * s + i, q4_k_codes(lo + i, inv_lo, offset[s]) |
                                                  q4_k_codes(hi + i, inv_hi, offset[s + 1]) << 4);
        }
        memcpy(p, half, sizeof half);
        memcpy(p + 4, packed, sizeof packed);
    }
}

static void q4_k_encode(void *quants, void *scales, const float *x, int64_t n) { q4_k_encode_with(quants, scales, x, NULL, n); }
static void q4_k_weighted(void *quants, void *scales, const float *x, const float *w, int64_t n) {
    q4_k_encode_with(quants, scales, x, w, n);
}
