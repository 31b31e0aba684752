/* Proves every kernel of every instruction set against exact arithmetic, in the manner of dav1d's checkasm:
 * levels x ops x formats x odd shapes x worst-case inputs; outputs poisoned with NaN and guarded; inputs end at a page
 * that may not be touched; any split of the items must give the same bits.  A kernel is tested where it differs from
 * the level below.
 *
 *     checkkernels [--seed N] [--only NAME] [--list] [--bench] [--plant value|guard|nan|split]
 *                  [--device sim|cuda] [--rounds N]
 *
 * --device checks the ops of a GPU backend instead, reached through lr_backend alone: see checkkernels_device.h.
 * Exit status 1 if anything failed.  --plant replaces kernels by wrong ones, runs those alone, and has status 1 only if
 * every one of them was found.                                                                                       */
#include <signal.h>

#include "tests/checkkernels_attention.h"
#include "tests/checkkernels_delta.h"
#include "tests/checkkernels_device_attention.h"
#include "tests/checkkernels_device_latent.h"
#include "tests/checkkernels_experts.h"
#include "tests/checkkernels_matmul.h"
#include "tests/checkkernels_device_experts.h"
#include "tests/checkkernels_ops.h"

/* ---- planted kernels: right but for one defect ---- */

static struct {
    lr_kernel glu, matmul;
    const char *kind;
} planted;

/* y: rows of cols values, stride apart.                                                                              */
static void spoil(float *y, int64_t cols, int64_t stride, int64_t row, bool first_range) {
    float *at = y + row * stride + cols - 1;
    if (strcmp(planted.kind, "value") == 0) *at += 1e-4f * fabsf(*at) + 1e-6f;
    if (strcmp(planted.kind, "guard") == 0) at[stride == cols ? 1 + MARGIN / 2 : 1] = 0;
    if (strcmp(planted.kind, "nan") == 0) memcpy(at, &(uint32_t){POISON}, 4);
    if (strcmp(planted.kind, "split") == 0 && !first_range) *at = nextafterf(*at, INFINITY);
}

static void glu_planted(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_glu_args *a = args;
    planted.glu(args, i0, i1, scratch);
    if (i1 > i0) spoil(a->y, a->dim, a->y_stride, i1 - 1, i0 == 0);
}

static void matmul_planted(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_matmul_args *a = args;
    planted.matmul(args, i0, i1, scratch);
    if (i1 == a->w.rows) spoil(a->y, i1, a->y_stride, a->x.n - 1, i0 == 0);
}

static void plant(lr_ops *ops) {
    planted.glu = ops->glu;
    planted.matmul = ops->matmul_few[LR_Q8_0].run;
    ops->glu = glu_planted;
    ops->glu_kernel = "glu_planted";
    ops->matmul_few[LR_Q8_0].run = matmul_planted;
    ops->matmul_few[LR_Q8_0].name = "matmul_q8_0_planted";
}

/* The last value of an output on the device, spoiled after the op: as above; split: differs from run to run.          */
static llmrun_status spoil_on_device(lr_device *d, float *y, llmrun_error *err) {
    static float run;
    float *at = (float *)(gpu.mirror + ARENA_BYTES) - 2;
    llmrun_status status = gpu.b->copy_out(d, LR_QUEUE_COMPUTE, at, 0, y, 0, sizeof *at, 1, err);
    if (!status) status = gpu.b->sync(d, err);
    if (status) return status;
    if (strcmp(planted.kind, "value") == 0) *at += 1e-2f * fabsf(*at) + 1e-4f;
    if (strcmp(planted.kind, "nan") == 0) memcpy(at, &(uint32_t){POISON}, 4);
    if (strcmp(planted.kind, "split") == 0) *at += *at * ++run * 0x1p-23f;
    if (strcmp(planted.kind, "guard") == 0) y++, *at = 0;
    status = gpu.b->copy_in(d, LR_QUEUE_COMPUTE, y, 0, at, 0, sizeof *at, 1, err);
    return status ? status : gpu.b->sync(d, err);
}

static llmrun_status matmul_planted_on_device(lr_device *d, const lr_matmul_args *m, int count, llmrun_error *err) {
    llmrun_status status = gpu.b->ops.matmul(d, m, count, err);
    return status ? status : spoil_on_device(d, m->y + (m->x.n - 1) * m->y_stride + m->w.rows - 1, err);
}

static llmrun_status embed_planted_on_device(lr_device *d, const lr_embed_args *a, int64_t n, llmrun_error *err) {
    llmrun_status status = gpu.b->ops.embed(d, a, n, err);
    return status ? status : spoil_on_device(d, a->x + n * a->table.cols - 1, err);
}

/* ---- the run ---- */

/* True if this kernel is to be checked now; sets up its name and random numbers.                                     */
static bool begin(const char *name, const char *part) {
    snprintf(check.name, sizeof check.name, "%s%s", name, part);
    if (check.only && !strstr(check.name, check.only)) return false;
    if (check.list) {
        printf("%s\n", check.name);
        return false;
    }
    check.rng = lr_hash(check.seed ^ LR_HASH_START, check.name, strlen(check.name));
    check.kernel_failed = false;
    check.shape[0] = 0;
    return true;
}

static void end(void) {
    release_all();
    if (check.kernel_failed) check.n_failed++;
    else check.n_passed++;
}

static void check_level(const lr_ops *ops, const lr_ops *below, const lr_ops *c) {
#define CHECK_OP(op, test, bench_it)                                                                                  \
    if ((!below || ops->op != below->op) && begin(ops->op##_kernel, "")) {                                            \
        if (check.bench) bench_it(ops, c);                                                                            \
        else test(ops, c), end();                                                                                     \
    }
    CHECK_OP(embed, check_embed, bench_embed)
    CHECK_OP(norm, check_norm, bench_norm)
    CHECK_OP(pack, check_pack, bench_pack)
    CHECK_OP(rope, check_rope, bench_rope)
    CHECK_OP(kv_write, check_kv_write, bench_kv_write)
    CHECK_OP(glu, check_glu, bench_glu)
    CHECK_OP(softcap, check_softcap, bench_softcap)
    CHECK_OP(delta_conv, check_delta_conv, bench_nothing)
    CHECK_OP(delta_rule, check_delta_rule, bench_nothing)
    CHECK_OP(attention, check_attention, bench_attention)
    CHECK_OP(attention_merge, check_attention, bench_nothing)
    CHECK_OP(route, check_route, bench_nothing)
    CHECK_OP(gate_rows, check_gate_rows, bench_nothing)
#undef CHECK_OP
    char experts[40];
    snprintf(experts, sizeof experts, "experts_%s", ops->isa);
    if (!check.bench && begin(experts, "")) check_experts(ops), end();
    for (int f = 0; f < LR_N_FORMATS; f++)
        for (int many = 0; many < 2; many++) {
            const lr_matmul_kernel *k = many ? &ops->matmul_many[f] : &ops->matmul_few[f];
            const lr_matmul_kernel *b = !below ? NULL : many ? &below->matmul_many[f] : &below->matmul_few[f];
            if (b && k->run == b->run) continue;
            if (!begin(k->name, many ? ".many" : ".few")) continue;
            if (check.bench) bench_matmul(ops, c, k, (lr_format)f, many);
            else check_matmul(ops, c, k, (lr_format)f, many), end();
        }
}

static void check_device(const lr_ops *c) {
    char part[40];
    const char *planted_word = planted.kind ? ".planted" : "";
    if (planted.kind) {
        gpu.ops.matmul = matmul_planted_on_device;
        gpu.ops.embed = embed_planted_on_device;
    }
    snprintf(part, sizeof part, ".embed%s", planted_word);
    if (begin(gpu.b->name, part)) check_device_embed(c), end();
    if (begin(gpu.b->name, ".norm")) check_device_norm(c), end();
    if (begin(gpu.b->name, ".route")) check_device_route(), end();
    if (begin(gpu.b->name, ".gate_rows")) check_device_gate_rows(), end();
    if (begin(gpu.b->name, ".pack")) check_device_pack(c), end();
    if (begin(gpu.b->name, ".glu")) check_device_glu(c), end();
    if (begin(gpu.b->name, ".qkv")) check_device_qkv(c), end();
    if (begin(gpu.b->name, ".latent")) check_device_latent_rows(c), end();
    if (begin(gpu.b->name, ".attention.latent")) check_device_latent_attention(c), end();
    if (begin(gpu.b->name, ".delta")) check_device_delta(), end();
    for (int f = 0; f < LR_N_FORMATS; f++) {
        snprintf(part, sizeof part, ".heads_%s", lr_formats[f].name);
        if (gpu.ops.act(gpu.d, (lr_format)f, 1) != LR_ACT_NONE && begin(gpu.b->name, part))
            check_device_heads(c, (lr_format)f), end();
    }
    for (int many = 0; many < 2; many++) {
        const char *passes = many ? "many" : "few";
        snprintf(part, sizeof part, ".attention.%s", passes);
        if (begin(gpu.b->name, part)) check_device_attention(c, many), end();
        for (int f = 0; f < LR_N_FORMATS; f++) {
            const char *name = lr_formats[f].name;
            if (gpu.ops.act(gpu.d, (lr_format)f, many ? 1 + LR_GPU_FEW : 1) == LR_ACT_NONE) continue;
            snprintf(part, sizeof part, ".matmul_%s.%s%s", name, passes, planted_word);
            if (begin(gpu.b->name, part)) check_device_matmul(c, (lr_format)f, many), end();
            snprintf(part, sizeof part, ".matmul_glu_%s.%s", name, passes);
            if (begin(gpu.b->name, part)) check_device_matmul_glu(c, (lr_format)f, many), end();
            snprintf(part, sizeof part, ".experts_%s.%s", name, passes);
            if (begin(gpu.b->name, part)) check_device_experts(c, (lr_format)f, many), end();
        }
    }
    gpu.library = true;
    gpu_reopen();
    if (begin(gpu.b->name, ".matmul_f16.library")) check_device_matmul(c, LR_F16, true), end();
    if (begin(gpu.b->name, ".matmul_bf16.library")) check_device_matmul(c, LR_BF16, true), end();
}

static void crashed(int signal_number) {
    printf("FAIL %s: %s: signal %d: touched memory that is not its own   [--seed %llu --only %s]\n", check.name,
           check.shape, signal_number, (unsigned long long)check.seed, check.name);
    printf("%d passed, %d failed\n", check.n_passed, check.n_failed + 1);
    fflush(stdout);
    _exit(1);
}

static int usage(void) {
    fprintf(stderr,
            "usage: checkkernels [--seed N] [--only NAME] [--list] [--bench] [--plant value|guard|nan|split]\n"
            "                    [--device sim|cuda] [--rounds N]\n");
    return 2;
}

int main(int argc, char **argv) {
    const char *names[3], *device = NULL;
    lr_ops level[3];
    check.rounds = 30;
    check.seed = (uint64_t)(lr_seconds() * 1e6);
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--seed") == 0 && more) check.seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0 && more) check.only = argv[++i];
        else if (strcmp(argv[i], "--plant") == 0 && more) planted.kind = argv[++i];
        else if (strcmp(argv[i], "--device") == 0 && more) device = argv[++i];
        else if (strcmp(argv[i], "--rounds") == 0 && more) check.rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--list") == 0) check.list = true;
        else if (strcmp(argv[i], "--bench") == 0) check.bench = true;
        else return usage();
    }
    if (planted.kind && !strstr("value guard nan split", planted.kind)) return usage();
    if (planted.kind) check.only = "planted";
    if (!check.list) printf("checkkernels --seed %llu\n", (unsigned long long)check.seed);
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    signal(SIGILL, crashed);
    signal(SIGFPE, crashed);

    int n = device ? 0 : lr_cpu_isa_list(names);
    if (device) {
        if (!lr_cpu_ops(&level[0], "c") || !gpu_open(device)) return 2;
        check_device(&level[0]);
        gpu_close();
    }
    for (int i = 0; i < n; i++) {
        if (!lr_cpu_ops(&level[i], names[i])) return usage();
        if (planted.kind && i == n - 1) plant(&level[i]);
        check_level(&level[i], i ? &level[i - 1] : NULL, &level[0]);
    }
    if (!check.list && !check.bench) printf("%d passed, %d failed\n", check.n_passed, check.n_failed);
    return check.n_failed > 0 && !(planted.kind && check.n_passed > 0);
}
