/* See plan_mix.h.  With costs that add up, choosing is the knapsack problem with several sizes an item; stepping along the
 * lower convex hulls of the items, steepest step first, is its classic approximation: optimal wherever a step just fills
 * the room (Sinha and Zoltners 1979).                                                                                 */
#include "runtime/plan_mix.h"

#include <stdlib.h>
#include <string.h>

const lr_format lr_plan_rungs[LR_N_RUNGS] = {
    [LR_RUNG_Q4_K] = LR_Q4_K, [LR_RUNG_Q6_K] = LR_BLOCK_Q6_K, [LR_RUNG_Q8_0] = LR_Q8_0, [LR_RUNG_FILE] = LR_FORMAT_NONE,
};

enum { EIGHTHS = 8 };

/* ---- units and their points ---- */

size_t lr_plan_mix_unit(const lr_plan_input *in, size_t tensor) {
    const lr_plan_tensor *t = &in->tensors[tensor];
    lr_role gate;
    switch (t->role) {
    case LR_W_UP: gate = LR_W_GATE; break;
    case LR_W_UP_SHARED: gate = LR_W_GATE_SHARED; break;
    case LR_W_UP_EXPERTS: gate = LR_W_GATE_EXPERTS; break;
    default: return tensor;
    }
    for (size_t i = tensor; i-- > 0 && in->tensors[i].layer == t->layer;)
        if (in->tensors[i].role == gate) return i;
    return tensor;
}

/* Adds a tensor to its unit.  Where a rung leaves it in the file's precision it costs nothing.                        */
static bool add_points(lr_plan_mix *m, bool tied, size_t i) {
    const lr_plan_tensor *t = &m->in.tensors[i];
    lr_plan_placement kept, p;
    if (!lr_plan_place(&m->in, tied, LR_FORMAT_NONE, t, false, &kept)) return false;
    for (int r = 0; r < LR_N_RUNGS; r++) {
        lr_plan_point *point = &m->points[m->units[i]][r];
        if (!lr_plan_place(&m->in, tied, lr_plan_rungs[r], t, false, &p)) return false;
        point->bytes += p.bytes;
        if (p.format != kept.format) point->kl += m->in.costs[i].kl[r];
    }
    return true;
}

/* ---- steps ---- */

/* The corner of the lower convex hull that follows `at`: the steepest way down; of equals the furthest.  -1: none.     */
static int next_corner(const lr_plan_point *p, int at, double *gain) {
    int best = -1;
    *gain = 0;
    for (int r = 0; r < LR_N_RUNGS; r++) {
        if (p[r].bytes <= p[at].bytes || !(p[r].kl < p[at].kl)) continue;
        double slope = (p[at].kl - p[r].kl) / (double)(p[r].bytes - p[at].bytes);
        if (best >= 0 && (slope < *gain || (!(slope > *gain) && p[r].bytes < p[best].bytes))) continue;
        best = r;
        *gain = slope;
    }
    return best;
}

static void add_steps(lr_plan_mix *m, uint32_t unit) {
    const lr_plan_point *p = m->points[unit];
    int at = 0;
    for (int r = 1; r < LR_N_RUNGS; r++)
        if (p[r].bytes < p[at].bytes || (p[r].bytes == p[at].bytes && p[r].kl < p[at].kl)) at = r;
    m->lowest[unit] = (uint8_t)at;
    m->least += p[at].bytes;
    double gain;
    for (int to; (to = next_corner(p, at, &gain)) >= 0; at = to)
        m->steps[m->n_steps++] = (lr_plan_step){ unit, (uint8_t)at, (uint8_t)to, p[to].bytes - p[at].bytes, gain };
    m->most += p[at].bytes;
}

/* Steepest first; the order of equals is that of the tensors, and of a unit's own steps.                               */
static int better_first(const void *a, const void *b) {
    const lr_plan_step *x = a, *y = b;
    if (x->gain > y->gain || x->gain < y->gain) return x->gain > y->gain ? -1 : 1;
    if (x->unit != y->unit) return x->unit < y->unit ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

llmrun_status lr_plan_mix_open(lr_plan_mix *m, const lr_plan_input *in, llmrun_error *err) {
    size_t n = in->n_tensors;
    bool tied = lr_plan_tied(in);
    *m = (lr_plan_mix){ .in = *in };
    m->formats = lr_zalloc(n, sizeof *m->formats);
    m->points = lr_zalloc(n, sizeof *m->points);
    m->units = lr_zalloc(n, sizeof *m->units);
    m->rungs = lr_zalloc(n, 1);
    m->lowest = lr_zalloc(n, 1);
    m->steps = lr_zalloc((LR_N_RUNGS - 1) * n, sizeof *m->steps);
    if (!m->formats || !m->points || !m->units || !m->rungs || !m->lowest || !m->steps) {
        lr_plan_mix_close(m);
        return lr_fail_nomem(err, "plan", n * sizeof *m->points);
    }
    for (size_t i = 0; i < n; i++) {
        m->units[i] = (uint32_t)lr_plan_mix_unit(in, i);
        m->n_params += (uint64_t)in->tensors[i].rows * (uint64_t)in->tensors[i].cols;
        if (add_points(m, tied, i)) continue;
        lr_plan_mix_close(m);
        return lr_fail(err, LLMRUN_ARG, "plan: sizes: expected a total below 2^60 bytes");
    }
    for (size_t i = 0; i < n; i++)
        if (m->units[i] == i) add_steps(m, (uint32_t)i);
    qsort(m->steps, m->n_steps, sizeof *m->steps, better_first);
    m->in.formats = m->formats;
    m->in.costs = NULL; /* from here on nothing is open */
    m->in.mixed = false;
    return LLMRUN_OK;
}

void lr_plan_mix_close(lr_plan_mix *m) {
    lr_free(m->formats);
    lr_free(m->points);
    lr_free(m->units);
    lr_free(m->rungs);
    lr_free(m->lowest);
    lr_free(m->steps);
    lr_plan_scale_close(&m->scale);
    *m = (lr_plan_mix){ 0 };
}

/* ---- choosing ---- */

bool lr_plan_mix_fill(lr_plan_mix *m, double bits) {
    double bound = bits * (double)m->n_params / 8;
    uint64_t most = bound < (double)LR_PLAN_MOST ? (uint64_t)bound : LR_PLAN_MOST;
    m->bits = bits;
    m->bytes = m->least;
    m->kl = 0;
    memcpy(m->rungs, m->lowest, m->in.n_tensors);
    for (size_t i = 0; i < m->n_steps; i++) {
        const lr_plan_step *s = &m->steps[i];
        if (m->rungs[s->unit] != s->from || m->bytes + s->bytes > most) continue;
        m->rungs[s->unit] = s->to;
        m->bytes += s->bytes;
    }
    for (size_t i = 0; i < m->in.n_tensors; i++) {
        int rung = m->rungs[m->units[i]];
        m->formats[i] = lr_plan_rungs[rung];
        if (m->units[i] == i) m->kl += m->points[i][rung].kl;
    }
    m->scale.done[LR_FORMAT_NONE + 1] = false;
    return m->bytes <= most;
}

/* Does the choice fit with the formats as they are?                                                                  */
static bool fits(lr_plan_mix *m, const lr_plan_choice *c) {
    lr_plan_sizes *s = &m->sizes;
    const lr_plan_weights *w = lr_plan_weighed(&m->scale, &m->in, LR_FORMAT_NONE);
    if (!w || !lr_plan_measure(&m->in, w, c, &m->scale.places, s)) return false;
    if (m->in.n_gpus && (s->short_gpu >= 0 || s->n_left_out)) return false;
    return s->needed <= m->in.host.budget_bytes;
}

/* What the costs say of one precision for all.                                                                       */
static double uniform_kl(const lr_plan_mix *m, lr_format quant) {
    int rung = 0;
    double kl = 0;
    while (rung < LR_RUNG_FILE && lr_plan_rungs[rung] != quant) rung++;
    for (size_t i = 0; i < m->in.n_tensors; i++)
        if (m->units[i] == i) kl += m->points[i][rung].kl;
    return kl;
}

bool lr_plan_mix_raise(lr_plan_mix *m, lr_plan_found *found) {
    lr_plan_choice c = found->choice;
    if (!found->fits || c.disk || (m->in.n_gpus && found->sizes.n_left_out)) return false;
    double uniform = uniform_kl(m, c.quant), per_bit = (double)m->n_params / 8;
    int lo = (int)((double)m->least / per_bit * EIGHTHS), hi = (int)((double)m->most / per_bit * EIGHTHS) + 1, best = -1;
    c.quant = LR_FORMAT_NONE;
    while (lo <= hi) {
        int mid = lo + (hi - lo) / 2;
        if (lr_plan_mix_fill(m, (double)mid / EIGHTHS) && fits(m, &c)) {
            best = mid;
            lo = mid + 1;
        } else if (m->bytes > (uint64_t)((double)mid / EIGHTHS * per_bit)) {
            lo = mid + 1; /* less than the least there is */
        } else {
            hi = mid - 1;
        }
    }
    if (best < 0) return false;
    lr_plan_mix_fill(m, (double)best / EIGHTHS);
    if (!(m->kl < uniform)) return false;
    found->choice = c;
    return true;
}
