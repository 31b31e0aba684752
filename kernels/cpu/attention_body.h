/* Attention on vectors; included once per instruction set, which defines LEVEL(op) as the name of the kernel.        */
#include "kernels/cpu/attention_few.h"
#include "kernels/cpu/attention_many.h"

static void LEVEL(attention)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_attention_args *a = args;
    for (int64_t i = i0; i < i1; i++) {
        lr_att_item it;
        lr_att_run run;
        lr_att_item_at(a, i, &it);
        bool is_few = it.n_rows * it.group <= W;
        many m;
        few f;
        if (is_few) f = few_start(a, &it, scratch);
        else m = many_start(a, &it, scratch);
        for (int32_t p = it.p0; p < it.p1; p += run.n) {
            lr_att_run_at(&it.seq->kv, it.kv_head, p, (int32_t)lr_min(TILE, it.p1 - p), &run);
            if (is_few) few_visit(a, &it, &f, p, &run);
            else many_visit(a, &it, &m, p, &run);
        }
        if (is_few) few_finish(a, &it, &f);
        else many_finish(a, &it, &m);
    }
}
