/* Protocol buffers: tags, varints and lengths, each checked against the bytes that are left.                          */
#include "loaders/protobuf.h"

#include <string.h>

/* At most 10 bytes, at most 64 bits.                                                                                  */
static bool take_varint(lr_proto *p, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 70 && p->at < p->end; shift += 7) {
        uint8_t byte = *p->at++;
        if (shift == 63 && byte > 1) return false;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

static bool take_fixed(lr_proto *p, int n, uint64_t *out) {
    *out = 0;
    if (p->end - p->at < n) return false;
    for (int i = 0; i < n; i++) *out |= (uint64_t)*p->at++ << 8 * i;
    return true;
}

static bool take_value(lr_proto *p, lr_proto_field *f) {
    switch (f->wire) {
    case LR_PROTO_VARINT: return take_varint(p, &f->value);
    case LR_PROTO_64: return take_fixed(p, 8, &f->value);
    case LR_PROTO_32: return take_fixed(p, 4, &f->value);
    case LR_PROTO_BYTES:
        if (!take_varint(p, &f->value) || f->value > (uint64_t)(p->end - p->at)) return false;
        f->bytes = (const char *)p->at;
        f->n = (size_t)f->value;
        p->at += f->n;
        return true;
    }
    return false;
}

bool lr_proto_next(lr_proto *p, lr_proto_field *f) {
    const uint8_t *begin = p->at;
    uint64_t tag;
    *f = (lr_proto_field){0};
    if (p->at == p->end) return false;
    bool ok = take_varint(p, &tag) && tag >> 3 > 0 && tag >> 3 < 1u << 29;
    if (ok) {
        f->number = (uint32_t)(tag >> 3);
        f->wire = (lr_proto_wire)(tag & 7);
        ok = take_value(p, f);
    }
    if (!ok) p->at = begin;
    return ok;
}

float lr_proto_float(const lr_proto_field *f) {
    uint32_t bits = (uint32_t)f->value;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
