"""A llama model with random weights as a GGUF file, for llama-bench: of a shape, not of a text.

usage: make_gguf.py CONFIG_JSON f16|q8_0|q4_k FILE      needs nothing but Python
"""
import json
import os
import struct
import sys

U32, I32, F32, STRING, ARRAY = 4, 5, 6, 8, 9
# Type number, values and bytes of a block, and how one begins: its f16 scales, small enough for sums to stay finite.
TYPES = {"f32": (0, 1, 4, b""), "f16": (1, 1, 2, b""), "q8_0": (8, 32, 34, b"\x00\x10"),
         "q4_k": (12, 256, 144, b"\x00\x0c\x00\x0c")}
ALIGN = 32


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def value(kind, v):
    if kind == STRING:
        return text(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f"}[kind], v)


def pair(key, kind, v):
    return text(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, values):
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + b"".join(value(kind, v) for v in values)


def metadata(c):
    dim, heads = c["hidden_size"], c["num_attention_heads"]
    n = c["vocab_size"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (n - 259)
    tokens += [f"\u2581{i}" for i in range(n - 259)]
    yield pair("general.architecture", STRING, "llama")
    yield pair("llama.context_length", U32, c["max_position_embeddings"])
    yield pair("llama.embedding_length", U32, dim)
    yield pair("llama.block_count", U32, c["num_hidden_layers"])
    yield pair("llama.feed_forward_length", U32, c["intermediate_size"])
    yield pair("llama.attention.head_count", U32, heads)
    yield pair("llama.attention.head_count_kv", U32, c["num_key_value_heads"])
    yield pair("llama.attention.layer_norm_rms_epsilon", F32, c["rms_norm_eps"])
    yield pair("llama.rope.dimension_count", U32, dim // heads)
    yield pair("tokenizer.ggml.model", STRING, "llama")
    yield array("tokenizer.ggml.tokens", STRING, tokens)
    yield array("tokenizer.ggml.scores", F32, [float(-i) for i in range(n)])
    yield array("tokenizer.ggml.token_type", I32, kinds)
    yield pair("tokenizer.ggml.bos_token_id", U32, 1)
    yield pair("tokenizer.ggml.eos_token_id", U32, 2)
    yield pair("tokenizer.ggml.unknown_token_id", U32, 0)


def tensors(c, quant):
    dim, hidden, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    kv = c["num_key_value_heads"] * (dim // heads)
    yield "token_embd.weight", (dim, c["vocab_size"]), quant
    for i in range(c["num_hidden_layers"]):
        yield f"blk.{i}.attn_norm.weight", (dim,), "f32"
        for name, shape in (("attn_q", (dim, dim)), ("attn_k", (dim, kv)), ("attn_v", (dim, kv)),
                            ("attn_output", (dim, dim))):
            yield f"blk.{i}.{name}.weight", shape, quant
        yield f"blk.{i}.ffn_norm.weight", (dim,), "f32"
        for name, shape in (("ffn_gate", (dim, hidden)), ("ffn_up", (dim, hidden)), ("ffn_down", (hidden, dim))):
            yield f"blk.{i}.{name}.weight", shape, quant
    yield "output_norm.weight", (dim,), "f32"
    yield "output.weight", (dim, c["vocab_size"]), quant


def random_blocks(name):
    """About a megabyte of blocks."""
    _, values, n, start = TYPES[name]
    if name == "f32":
        return struct.pack("<f", 1.0) * (1 << 18)
    if values == 1:  # f16: the top bits of each exponent are cleared
        return bytes(b & 0xB3 if i % 2 else b for i, b in enumerate(os.urandom(1 << 20)))
    return b"".join(start + os.urandom(n - len(start)) for _ in range((1 << 20) // n))


def main():
    config, quant, path = sys.argv[1:]
    with open(config) as f:
        c = json.load(f)
    pairs, infos, sizes, end = list(metadata(c)), [], [], 0
    for name, shape, kind in tensors(c, quant):
        number, values, block, _ = TYPES[kind]
        if shape[0] % values:
            sys.exit(f"{name}: rows of {shape[0]} are no blocks of {values}")
        n = block
        for d in shape:
            n *= d
        n //= values
        infos.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, end))
        sizes.append((kind, n))
        end += (n + ALIGN - 1) // ALIGN * ALIGN
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs) + b"".join(infos)
    data = {kind: random_blocks(kind) for kind in ("f32", quant)}
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGN))
        for kind, n in sizes:
            for at in range(0, n, len(data[kind])):
                f.write(data[kind][: min(len(data[kind]), n - at)])
            f.write(bytes(-n % ALIGN))


main()
