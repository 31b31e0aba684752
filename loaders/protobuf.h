/* A strict reader of protocol buffers: field after field of a message, nothing copied.  No groups: nobody writes them. */
#ifndef LR_PROTOBUF_H
#define LR_PROTOBUF_H

#include "runtime/base.h"

typedef struct lr_proto {
    const uint8_t *at, *end;
} lr_proto;

typedef enum lr_proto_wire { LR_PROTO_VARINT = 0, LR_PROTO_64 = 1, LR_PROTO_BYTES = 2, LR_PROTO_32 = 5 } lr_proto_wire;

typedef struct lr_proto_field {
    uint32_t number;
    lr_proto_wire wire;
    uint64_t value; /* VARINT, 64, 32 */
    const char *bytes; /* (n) BYTES: a string, or a message inside */
    size_t n;
} lr_proto_field;

static inline lr_proto lr_proto_of(const void *bytes, size_t n) {
    return (lr_proto){bytes, (const uint8_t *)bytes + n};
}
/* The next field.  False at the end (then p->at == p->end) and at what is malformed (p->at stands there).             */
bool lr_proto_next(lr_proto *p, lr_proto_field *f);
/* A field of wire type 32 as the float it is.                                                                         */
float lr_proto_float(const lr_proto_field *f);

#endif
