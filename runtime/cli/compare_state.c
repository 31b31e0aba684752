/* What an interrupted comparison leaves for the same command to go on from: a header, the report with the rows done, then
 * arrays: the windows' ids, the reference's logits and streams, the sums of the row underway.  A file is read back only
 * by the program that wrote it, and only if its check sum is right.                                                   */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/compare.h"

#define LAYOUT 1 /* raise when anything below, or a struct in it, changes */

typedef struct state_header {
    char magic[8];
    uint64_t layout, report_bytes, key;
    uint64_t n_ids, kept, compared, at;
    int32_t n_done, n_layers, n_stream, dim;
    comparison sums; /* pointers mean nothing */
} state_header;

static const char magic[8] = "llmrunC";

uint64_t compare_hash(uint64_t h, const void *bytes, size_t n) {
    for (const unsigned char *p = bytes; n > 0; n--) h = (h ^ *p++) * 0x100000001b3u;
    return h;
}

void compare_state_close(compare_state *s) {
    kept_close(&s->kept);
    comparison_close(&s->comparison);
    free(s->streams.x);
    free(s->ids);
    s->streams = (layer_streams){ 0 };
    s->ids = NULL;
    s->n_ids = 0;
}

/* One file, written or read from front to end.                                                                        */
typedef struct stream {
    FILE *file;
    bool reads, failed;
    uint64_t check;
} stream;

static void pass(stream *s, void *bytes, size_t n) {
    if (s->failed || !n) return;
    size_t done = s->reads ? fread(bytes, 1, n, s->file) : fwrite(bytes, 1, n, s->file);
    s->failed = done != n;
    if (!s->failed) s->check = compare_hash(s->check, bytes, n);
}

static void pass_arrays(stream *f, compare_state *s, size_t compared) {
    const layer_streams *l = &s->streams;
    size_t kept = s->kept.n, vocab = (size_t)s->kept.n_vocab;
    pass(f, s->ids, s->n_ids * sizeof *s->ids);
    pass(f, s->kept.steps, kept * vocab * sizeof *s->kept.steps);
    pass(f, s->kept.tops, kept * sizeof *s->kept.tops);
    pass(f, s->kept.targets, kept * sizeof *s->kept.targets);
    pass(f, s->kept.target_ln, kept * sizeof *s->kept.target_ln);
    pass(f, s->comparison.kl, compared * sizeof *s->comparison.kl);
    if (l->x) pass(f, l->x, (size_t)(l->n_layers + 1) * (size_t)l->n * (size_t)l->dim * sizeof *l->x);
}

/* ---- writing ---- */

int compare_state_save(const compare_state *s, const char *path, uint64_t key) {
    char temporary[4200];
    compare_state copy = *s; /* pass also reads, so it takes memory that may be written */
    state_header h = { .layout = LAYOUT, .report_bytes = sizeof copy.report, .key = key, .n_ids = s->n_ids, .kept = s->kept.n,
                       .compared = s->comparison.n, .at = s->at, .n_done = s->n_done, .n_layers = s->streams.n_layers,
                       .n_stream = s->streams.n, .dim = s->streams.dim, .sums = s->comparison };
    memcpy(h.magic, magic, sizeof magic);
    h.sums.kl = NULL;
    copy.report.model = copy.report.text = NULL;
    snprintf(temporary, sizeof temporary, "%s.%d.tmp", path, (int)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return errno;
    FILE *file = fdopen(fd, "wb");
    if (!file) {
        close(fd);
        unlink(temporary);
        return ENOMEM;
    }
    stream f = { .file = file, .check = COMPARE_HASH_START };
    pass(&f, &h, sizeof h);
    pass(&f, &copy.report, sizeof copy.report);
    pass_arrays(&f, &copy, s->comparison.n);
    uint64_t check = f.check;
    pass(&f, &check, sizeof check);
    errno = 0;
    bool good = !f.failed && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int error = good ? 0 : errno ? errno : EIO;
    if (fclose(file) != 0 && !error) error = errno;
    if (!error && rename(temporary, path) != 0) error = errno;
    if (error) unlink(temporary);
    return error;
}

/* ---- reading ---- */

/* Takes the memory that the header speaks of.  The file is at least as long as that, so a damaged one cannot ask for more. */
static bool make_room(compare_state *s, const state_header *h, uint64_t file_bytes) {
    const compare_report *r = &s->report;
    uint64_t values, streams = 0;
    if (r->n_rows < 1 || r->n_rows > MOST_COMPARE_ROWS || r->n_layers > MOST_COMPARE_LAYERS || h->n_done < 0 ||
        h->n_done > r->n_rows || h->kept > r->n_scored || h->compared > h->kept || h->at > h->n_ids || !h->n_ids ||
        h->n_ids > file_bytes || r->n_scored > h->n_ids || r->n_vocab < 1 || r->window < 2 || h->n_layers < 0 ||
        h->n_layers > MOST_COMPARE_LAYERS || h->n_stream < 0 || h->dim < 0)
        return false;
    if (__builtin_mul_overflow((uint64_t)h->n_stream * (uint64_t)h->dim, (uint64_t)h->n_layers + 1, &streams) ||
        __builtin_mul_overflow(h->kept, kept_row_bytes(r->n_vocab), &values) || streams > file_bytes || values > file_bytes)
        return false;
    s->n_ids = (size_t)h->n_ids;
    s->ids = malloc(s->n_ids * sizeof *s->ids);
    if (h->n_stream) s->streams.x = malloc(streams * sizeof(float));
    s->streams.n_layers = h->n_layers;
    s->streams.n = h->n_stream;
    s->streams.dim = h->dim;
    if (!s->ids || (h->n_stream && !s->streams.x)) return false;
    if (!kept_open(&s->kept, r->n_vocab, r->n_scored) || !comparison_open(&s->comparison, r->n_scored)) return false;
    s->kept.n = (size_t)h->kept;
    return true;
}

/* Text that came from a file ends.                                                                                    */
static void end_texts(compare_row *row) {
    row->file[sizeof row->file - 1] = 0;
    row->quant[sizeof row->quant - 1] = row->kv[sizeof row->kv - 1] = 0;
    row->failure[sizeof row->failure - 1] = row->formats[sizeof row->formats - 1] = 0;
    row->fell_back[sizeof row->fell_back - 1] = 0;
}

compare_found compare_state_load(compare_state *s, const char *path, uint64_t key) {
    state_header h;
    struct stat st;
    compare_state n = { 0 };
    uint64_t check = 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return FOUND_NONE;
    FILE *file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() ? fdopen(fd, "rb") : NULL;
    if (!file) {
        close(fd);
        return FOUND_NONE;
    }
    stream f = { .file = file, .reads = true, .check = COMPARE_HASH_START };
    compare_found found = FOUND_DAMAGED;
    pass(&f, &h, sizeof h);
    if (!f.failed && memcmp(h.magic, magic, sizeof magic) == 0 && h.key != key) {
        found = FOUND_NONE; /* of another comparison */
    } else if (!f.failed && memcmp(h.magic, magic, sizeof magic) == 0 && h.layout == LAYOUT &&
               h.report_bytes == sizeof n.report) {
        pass(&f, &n.report, sizeof n.report);
        if (!f.failed && make_room(&n, &h, (uint64_t)st.st_size)) {
            pass_arrays(&f, &n, (size_t)h.compared);
            uint64_t want = f.check;
            pass(&f, &check, sizeof check);
            if (!f.failed && check == want && getc(file) == EOF) found = FOUND_STATE;
        }
    }
    fclose(file);
    if (found != FOUND_STATE) {
        compare_state_close(&n);
        return found;
    }
    float *kl = n.comparison.kl;
    n.comparison = h.sums;
    n.comparison.kl = kl;
    n.comparison.n = (size_t)h.compared;
    n.comparison.most = n.report.n_scored;
    n.n_done = h.n_done;
    n.at = (size_t)h.at;
    n.report.model = s->report.model;
    n.report.text = s->report.text;
    end_texts(&n.report.reference);
    for (int32_t i = 0; i < n.report.n_rows; i++) end_texts(&n.report.rows[i]);
    compare_state_close(s);
    *s = n;
    return FOUND_STATE;
}
