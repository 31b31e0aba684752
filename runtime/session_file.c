/* Saving a session to a file and reading it back.
 *
 * File: header, tokens, then for each layer, head and K/V the quants and scales of all rows written.  Little-endian, as
 * the machine.  The header names model, formats and context; a checksum over everything guards the rest.              */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/session.h"

typedef struct header {
    char magic[8];
    uint64_t model; /* hash of the checkpoint's headers */
    uint64_t shape; /* hash of KV format, slots and context */
    int32_t position, written;
    uint64_t payload;  /* bytes behind the header */
    uint64_t checksum; /* of the payload */
} header;

static const char MAGIC[8] = "LLMRUNS1";

static uint64_t shape_hash(const llmrun_engine *e) {
    const lr_plan *p = &e->plan;
    uint64_t h = lr_hash(LR_HASH_START, &p->kv, sizeof p->kv);
    h = lr_hash(h, p->kv_slots, (size_t)e->binding.hparams.n_layers * sizeof *p->kv_slots);
    return lr_hash(h, &p->n_ctx, sizeof p->n_ctx);
}

/* The pieces of a session in file order: part 0 is the tokens, then two for each layer, head and K/V.                 */
static size_t part_count(const llmrun_session *s) {
    const lr_hparams *h = &s->engine->binding.hparams;
    return 1 + 4 * (size_t)h->n_layers * (size_t)h->n_kv_heads;
}

static void *part_at(const llmrun_session *s, size_t i, int32_t position, int32_t written, size_t *bytes,
                     lr_place **place) {
    *place = &s->engine->host;
    if (i == 0) {
        *bytes = (size_t)position * sizeof *s->tokens;
        return s->tokens;
    }
    i--;
    int32_t n_kv_heads = s->engine->binding.hparams.n_kv_heads;
    size_t row = i / 4;
    *place = lr_session_place(s, (int32_t)(row / (size_t)n_kv_heads));
    lr_kv_run run = lr_session_run(s, (int32_t)(row / (size_t)n_kv_heads), (int32_t)(row % (size_t)n_kv_heads),
                                   (int)(i / 2 % 2), written);
    *bytes = i % 2 ? (run.scales ? run.scales_bytes : 0) : run.quants_bytes;
    return i % 2 ? run.scales : run.quants;
}

static header describe(const llmrun_session *s, int32_t position, int32_t written) {
    header h = { .model = s->engine->checkpoint.header_hash,
                 .shape = shape_hash(s->engine),
                 .position = position,
                 .written = written };
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    for (size_t i = 0, n = part_count(s); i < n; i++) {
        size_t bytes;
        lr_place *place;
        part_at(s, i, position, written, &bytes, &place);
        h.payload += bytes;
    }
    return h;
}

llmrun_status llmrun_session_save(const llmrun_session *s, const char *path, llmrun_error *err) {
    if (!s || !path) return lr_fail(err, LLMRUN_ARG, "save: expected a session and a path");
    llmrun_status status = LLMRUN_OK;
    FILE *f = NULL;
    lr_text temporary = { 0 };
    lr_text_add(&temporary, "%s.tmp.%ld", path, (long)getpid());
    if (temporary.failed) {
        status = lr_fail_nomem(err, "save", strlen(path));
        goto done;
    }
    header h = describe(s, s->position, s->written);
    h.checksum = LR_HASH_START;
    f = fopen(temporary.text, "wbx");
    bool ok = f && fwrite(&h, sizeof h, 1, f) == 1;
    pthread_mutex_lock(&s->engine->lock);
    for (size_t i = 0, n = part_count(s); ok && !status && i < n; i++) {
        uint8_t piece[16384];
        size_t bytes;
        lr_place *place;
        const uint8_t *part = part_at(s, i, s->position, s->written, &bytes, &place);
        for (size_t at = 0; ok && !status && at < bytes; at += sizeof piece) {
            size_t k = bytes - at < sizeof piece ? bytes - at : sizeof piece;
            status = lr_place_read(place, piece, part + at, k, err);
            h.checksum = lr_hash(h.checksum, piece, k);
            ok = fwrite(piece, k, 1, f) == 1;
        }
    }
    pthread_mutex_unlock(&s->engine->lock);
    ok = ok && !status;
    ok = ok && fseek(f, 0, SEEK_SET) == 0 && fwrite(&h, sizeof h, 1, f) == 1 && fflush(f) == 0 && fsync(fileno(f)) == 0;
    int error = errno;
    if (f && fclose(f) != 0 && ok) {
        ok = false;
        error = errno;
    }
    if (ok && rename(temporary.text, path) != 0) {
        ok = false;
        error = errno;
    }
    if (!ok) {
        if (f) unlink(temporary.text);
        if (!status) status = lr_fail(err, LLMRUN_IO, "%s: cannot save the session: %s", path, strerror(error));
    }
done:
    lr_free(temporary.text);
    return status;
}

static llmrun_status check_file(const llmrun_session *s, const lr_map *m, header *h, llmrun_error *err) {
    int32_t n_ctx = s->engine->plan.n_ctx;
    if (m->size < sizeof *h) return lr_fail(err, LLMRUN_FORMAT, "%s: not a saved session (too short)", m->path);
    memcpy(h, m->data, sizeof *h);
    if (memcmp(h->magic, MAGIC, sizeof MAGIC) != 0)
        return lr_fail(err, LLMRUN_FORMAT, "%s: not a saved session", m->path);
    if (h->position < 0 || h->position > h->written || h->written > n_ctx)
        return lr_fail(err, LLMRUN_FORMAT, "%s: position %d of %d written is impossible in a context of %d", m->path,
                       h->position, h->written, n_ctx);
    header want = describe(s, h->position, h->written);
    if (h->model != want.model) return lr_fail(err, LLMRUN_FORMAT, "%s: saved with another model", m->path);
    if (h->shape != want.shape)
        return lr_fail(err, LLMRUN_FORMAT, "%s: saved with another context length or KV format", m->path);
    if (h->payload != want.payload || m->size - sizeof *h != want.payload)
        return lr_fail(err, LLMRUN_FORMAT, "%s: expected %llu bytes behind the header, got %llu", m->path,
                       (unsigned long long)want.payload, (unsigned long long)(m->size - sizeof *h));
    if (lr_hash(LR_HASH_START, m->data + sizeof *h, want.payload) != h->checksum)
        return lr_fail(err, LLMRUN_FORMAT, "%s: checksum does not match; the file is damaged", m->path);
    return LLMRUN_OK;
}

llmrun_status llmrun_session_restore(llmrun_session *s, const char *path, llmrun_error *err) {
    if (!s || !path) return lr_fail(err, LLMRUN_ARG, "restore: expected a session and a path");
    lr_map m = { 0 };
    header h;
    llmrun_status status = lr_map_open(&m, path, false, err);
    if (!status) status = check_file(s, &m, &h, err);
    if (!status) {
        const uint8_t *from = m.data + sizeof h;
        pthread_mutex_lock(&s->engine->lock);
        for (size_t i = 0, n = part_count(s); i < n && !status; i++) {
            size_t bytes;
            lr_place *place;
            void *part = part_at(s, i, h.position, h.written, &bytes, &place);
            if (bytes) status = lr_place_write(place, part, from, bytes, err);
            from += bytes;
        }
        s->position = status ? 0 : h.position;
        s->written = status ? 0 : h.written;
        pthread_mutex_unlock(&s->engine->lock);
    }
    lr_map_close(&m);
    return status;
}
