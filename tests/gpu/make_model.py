"""A llama model with random f16 weights in one safetensors file, with the bundled model's tokenizer, to time loading.

usage: make_model.py CONFIG_JSON DIRECTORY      needs nothing but Python
"""
import json
import os
import shutil
import struct
import sys


def tensors(c):
    dim, hidden, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    kv = c["num_key_value_heads"] * (dim // heads)
    yield "model.embed_tokens.weight", (c["vocab_size"], dim)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (dim,)
        yield layer + "self_attn.q_proj.weight", (dim, dim)
        yield layer + "self_attn.k_proj.weight", (kv, dim)
        yield layer + "self_attn.v_proj.weight", (kv, dim)
        yield layer + "self_attn.o_proj.weight", (dim, dim)
        yield layer + "post_attention_layernorm.weight", (dim,)
        yield layer + "mlp.gate_proj.weight", (hidden, dim)
        yield layer + "mlp.up_proj.weight", (hidden, dim)
        yield layer + "mlp.down_proj.weight", (dim, hidden)
    yield "model.norm.weight", (dim,)
    yield "lm_head.weight", (c["vocab_size"], dim)


def main():
    config, directory = sys.argv[1:]
    with open(config) as f:
        c = json.load(f)
    os.makedirs(directory, exist_ok=True)
    shutil.copy(config, os.path.join(directory, "config.json"))
    shutil.copy("models/demo/tokenizer.json", directory)
    header, end = {}, 0
    for name, dims in tensors(c):
        n = 2
        for d in dims:
            n *= d
        header[name] = {"dtype": "F16", "shape": dims, "data_offsets": [end, end + n]}
        end += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    # Small values: the top bits of each f16's exponent are cleared.
    block = bytes(b & 0xB3 if i % 2 else b for i, b in enumerate(os.urandom(1 << 20)))
    with open(os.path.join(directory, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for at in range(0, end, len(block)):
            f.write(block[: min(len(block), end - at)])
    open(os.path.join(directory, "done"), "w").close()


main()
