/* tokenizer.model: SentencePiece's ModelProto.  Pieces, and of the rest only what decides how text becomes ids; what
 * would change that and is not known here is UNSUPPORTED.                                                             */
#include <string.h>

#include "loaders/protobuf.h"
#include "loaders/tokenizer_vocab.h"

enum { UNIGRAM = 1, BPE, WORD, CHAR }; /* TrainerSpec.ModelType */

typedef struct reader {
    const char *where;
    llmrun_error *err;
    lr_vocab *v;
    lr_pieces pieces;
    uint64_t model_type;
    int64_t bos, eos;
    bool suffix, add_prefix, trim, escape; /* white space goes behind words; NormalizerSpec */
    int32_t n_bytes;                       /* byte pieces */
    lr_proto_field charsmap;
} reader;

static llmrun_status malformed(const reader *r, const char *message) {
    return lr_fail(r->err, LLMRUN_FORMAT, "%s: not a SentencePiece model: malformed %s; truncated?", r->where, message);
}

static llmrun_status wrong_type(const reader *r, const char *message, const lr_proto_field *f) {
    return lr_fail(r->err, LLMRUN_FORMAT, "%s: not a SentencePiece model: %s field %u has wire type %d", r->where, message,
                   f->number, (int)f->wire);
}

/* ---- messages ---- */

static llmrun_status read_piece(reader *r, const lr_proto_field *message) {
    lr_proto p = lr_proto_of(message->bytes, message->n);
    lr_proto_field f, text = {.bytes = ""};
    double score = 0;
    uint64_t type = LR_TYPE_NORMAL;
    while (lr_proto_next(&p, &f)) {
        static const lr_proto_wire wires[] = {[1] = LR_PROTO_BYTES, [2] = LR_PROTO_32, [3] = LR_PROTO_VARINT};
        if (f.number < LR_COUNT(wires) && f.wire != wires[f.number]) return wrong_type(r, "piece", &f);
        if (f.number == 1) text = f;
        if (f.number == 2) score = lr_proto_float(&f);
        if (f.number == 3) type = f.value;
    }
    int32_t id = r->v->n_tokens;
    if (p.at < p.end) return malformed(r, "piece");
    if (text.n == 0) return lr_fail(r->err, LLMRUN_FORMAT, "%s: piece %d is empty", r->where, (int)id);
    lr_token_type kind = type <= LR_TYPE_BYTE ? (lr_token_type)type : LR_TYPE_BYTE + 1;
    llmrun_status status = lr_pieces_add(&r->pieces, text.bytes, text.n, score, kind);
    if (status) return status;
    if (type == LR_TYPE_UNKNOWN && r->v->unk >= 0)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: pieces %d and %d are both unknown", r->where, (int)r->v->unk, (int)id);
    if (type == LR_TYPE_UNKNOWN) r->v->unk = id;
    r->n_bytes += type == LR_TYPE_BYTE;
    return LLMRUN_OK;
}

static llmrun_status read_trainer(reader *r, const lr_proto_field *message) {
    lr_proto p = lr_proto_of(message->bytes, message->n);
    lr_proto_field f;
    while (lr_proto_next(&p, &f)) {
        bool known = f.number == 3 || f.number == 24 || f.number == 35 || f.number == 41 || f.number == 42;
        if (known && f.wire != LR_PROTO_VARINT) return wrong_type(r, "trainer_spec", &f);
        if (f.number == 3) r->model_type = f.value;
        if (f.number == 24) r->suffix = f.value;
        if (f.number == 35) r->v->byte_fallback = f.value;
        if (f.number == 41) r->bos = (int32_t)f.value;
        if (f.number == 42) r->eos = (int32_t)f.value;
    }
    return p.at < p.end ? malformed(r, "trainer_spec") : LLMRUN_OK;
}

static llmrun_status read_normalizer(reader *r, const lr_proto_field *message) {
    lr_proto p = lr_proto_of(message->bytes, message->n);
    lr_proto_field f;
    while (lr_proto_next(&p, &f)) {
        bool flag = f.number >= 3 && f.number <= 5;
        if ((flag && f.wire != LR_PROTO_VARINT) || (f.number == 2 && f.wire != LR_PROTO_BYTES))
            return wrong_type(r, "normalizer_spec", &f);
        if (f.number == 2) r->charsmap = f;
        if (f.number == 3) r->add_prefix = f.value;
        if (f.number == 4) r->trim = f.value;
        if (f.number == 5) r->escape = f.value;
    }
    return p.at < p.end ? malformed(r, "normalizer_spec") : LLMRUN_OK;
}

/* What is said when text is made from ids is said by the pieces alone, unless a map rewrites it.                      */
static llmrun_status read_denormalizer(const reader *r, const lr_proto_field *message) {
    lr_proto p = lr_proto_of(message->bytes, message->n);
    lr_proto_field f;
    while (lr_proto_next(&p, &f))
        if (f.number == 2 && f.n)
            return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: denormalizer_spec with a charsmap is not supported", r->where);
    return p.at < p.end ? malformed(r, "denormalizer_spec") : LLMRUN_OK;
}

static llmrun_status read_model(reader *r, const void *bytes, size_t n) {
    lr_proto p = lr_proto_of(bytes, n);
    lr_proto_field f;
    llmrun_status status = LLMRUN_OK;
    while (!status && lr_proto_next(&p, &f)) {
        if (f.number >= 1 && f.number <= 5 && f.wire != LR_PROTO_BYTES) return wrong_type(r, "model", &f);
        if (f.number == 1) status = read_piece(r, &f);
        if (f.number == 2) status = read_trainer(r, &f);
        if (f.number == 3) status = read_normalizer(r, &f);
        if (f.number == 5) status = read_denormalizer(r, &f);
    }
    return status ? status : p.at < p.end ? malformed(r, "model") : LLMRUN_OK;
}

/* ---- the whole ---- */

static llmrun_status check(const reader *r) {
    static const char *const names[] = {[UNIGRAM] = "unigram", [BPE] = "bpe", [WORD] = "word", [CHAR] = "char"};
    const lr_vocab *v = r->v;
    if (v->n_tokens == 0) return lr_fail(r->err, LLMRUN_FORMAT, "%s: not a SentencePiece model: no pieces", r->where);
    if (r->model_type < UNIGRAM || r->model_type > CHAR)
        return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: trainer_spec.model_type %d is not supported; unigram and bpe are",
                       r->where, (int)r->model_type);
    if (r->model_type > BPE)
        return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: trainer_spec.model_type \"%s\" is not supported; unigram and bpe are",
                       r->where, names[r->model_type]);
    if (r->suffix)
        return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: treat_whitespace_as_suffix is not supported", r->where);
    if (!r->escape)
        return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: escape_whitespaces false is not supported", r->where);
    if (v->unk < 0) return lr_fail(r->err, LLMRUN_FORMAT, "%s: no piece has the type unknown", r->where);
    if (v->byte_fallback != (r->n_bytes > 0) || (r->n_bytes && r->n_bytes != 256))
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: byte_fallback is %s, but %d of 256 byte pieces are there", r->where,
                       v->byte_fallback ? "true" : "false", (int)r->n_bytes);
    for (int32_t id = 0; id < v->n_tokens && r->model_type == BPE; id++) {
        char shown[80];
        lr_token token = v->tokens[id];
        if (v->types[id] == LR_TYPE_UNUSED)
            return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: piece %d \"%s\" of the type unused is not supported in a bpe "
                           "model", r->where, (int)id, lr_printable(shown, sizeof shown, v->text + token.start, token.n));
    }
    return LLMRUN_OK;
}

/* User-defined pieces always win; the longer, the more.                                                               */
static void raise_user_defined(lr_vocab *v) {
    for (int32_t id = 0; id < v->n_model; id++)
        if (v->types[id] == LR_TYPE_USER_DEFINED) v->scores[id] = 0.1f * (float)(v->tokens[id].n - 1);
}

/* An id below 0, or of a piece that is not there, means none.                                                         */
static int32_t control(const lr_vocab *v, int64_t id) {
    return id >= 0 && id < v->n_tokens && v->types[id] == LR_TYPE_CONTROL ? (int32_t)id : -1;
}

llmrun_status lr_sentencepiece_parse(lr_vocab *v, const void *bytes, size_t n, const char *where, llmrun_error *err) {
    reader r = {.where = where, .err = err, .v = v, .pieces = {.v = v, .where = where, .err = err},
                .model_type = UNIGRAM, .bos = 1, .eos = 2, .add_prefix = true, .trim = true, .escape = true};
    v->unk = v->bos = v->eos = v->ends[0] = v->ends[1] = -1;
    llmrun_status status = read_model(&r, bytes, n);
    if (!status) {
        v->text = r.pieces.pool.text; /* for messages; it becomes the vocabulary's below */
        status = check(&r);
        v->text = NULL;
    }
    v->kind = r.model_type == BPE ? LR_VOCAB_SCORES : LR_VOCAB_UNIGRAM;
    v->fuse_unk = v->single_precision = true;
    if (!status) status = lr_pieces_finish(&r.pieces, false, true);
    if (!status) status = lr_charsmap_read(&v->charsmap, r.charsmap.bytes, r.charsmap.n, where, err);
    if (!status) status = lr_vocab_add_mark_steps(v, r.add_prefix, r.trim, where, err);
    if (!status) {
        if (v->kind == LR_VOCAB_UNIGRAM) raise_user_defined(v);
        v->bos = control(v, r.bos);
        v->eos = control(v, r.eos);
        v->add_bos = v->kind == LR_VOCAB_SCORES && v->bos >= 0;
        v->add_eos = v->kind == LR_VOCAB_UNIGRAM && v->eos >= 0;
    }
    lr_pieces_close(&r.pieces);
    return status;
}
