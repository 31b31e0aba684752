#!/usr/bin/env python3
"""Reads what `llmrun quantize` writes with other readers: ggml's Python package for GGUF, and for nf4 the rules of
bitsandbytes written out here.

    pip install gguf numpy
    python3 tests/golden/check_quantize.py build/llmrun [MODEL]

Writes MODEL (default models/demo, safetensors, BF16, F16 or F32) in every format to a temporary directory, decodes each
tensor and compares it with the source: equal for plain types, within the step of the format for the others.
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np

LIMITS = {"f32": 0, "f16": 6e-4, "bf16": 4e-3, "q8_0": 0.006, "q4_0": 0.12, "q4_k": 0.10, "iq4_nl": 0.11, "nf4": 0.11}
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8}
LAYER = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
OTHER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def safetensors(path):
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    tensors = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + n + x for x in t["data_offsets"])
        x = np.frombuffer(raw[begin:end], DTYPES[t["dtype"]]).reshape(t["shape"])
        tensors[name] = (x.astype(np.uint32) << 16).view(np.float32) if t["dtype"] == "BF16" else x
    return tensors


def gguf_name(name):
    stem, end = name.rsplit(".", 1)
    if stem in OTHER:
        return f"{OTHER[stem]}.{end}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{LAYER[part]}.{end}"


def permuted(x, n_heads):
    half = x.shape[0] // n_heads // 2
    return x.reshape(n_heads, 2, half, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def nf4(tensors, name):
    state = json.loads(bytes(tensors[f"{name}.quant_state.bitsandbytes__nf4"]))
    packed = tensors[name].reshape(-1)
    codes = np.stack([packed >> 4, packed & 15], 1).reshape(-1)[:np.prod(state["shape"])]
    scales = np.repeat(tensors[f"{name}.absmax"], state["blocksize"])[:codes.size]
    return (tensors[f"{name}.quant_map"][codes] * scales).reshape(state["shape"])


def compare(name, got, want, limit):
    got, want = got.astype(np.float64), want.astype(np.float64)
    assert got.shape == want.shape, (name, got.shape, want.shape)
    error = np.sqrt(((got - want) ** 2).mean() / max((want ** 2).mean(), 1e-30))
    assert error <= limit, f"{name}: error {error:.2e} above {limit}"
    return error


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "models/demo")
    config = json.loads((folder / "config.json").read_text())
    source = safetensors(folder / "model.safetensors")
    llama = config["model_type"] in ("llama", "mistral")
    with tempfile.TemporaryDirectory() as work:
        for quant in ("f32", "f16", "bf16", "q8_0", "q4_k", "q4_0", "iq4_nl"):
            out = f"{work}/{quant}.gguf"
            subprocess.run([program, "quantize", "--model", folder, "--quant", quant, "-o", out, "-q"], check=True)
            read = {t.name: t for t in gguf.GGUFReader(out).tensors}
            worst = 0
            for name, want in source.items():
                t = read.pop(gguf_name(name), None)
                if t is None and name == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
                    if part in name and llama:
                        want = permuted(want, config[heads])
                got = gguf.quants.dequantize(t.data, t.tensor_type).reshape(want.shape)
                worst = max(worst, compare(name, got, want, 0 if want.ndim == 1 else LIMITS[quant]))
            assert not set(read) - {"rope_freqs.weight"}, read.keys()
            print(f"{quant:7} GGUF         largest error of a tensor {worst:.2e}")
        for quant in ("f32", "f16", "bf16", "nf4"):
            out = f"{work}/{quant}"
            subprocess.run([program, "quantize", "--model", folder, "--quant", quant, "-o", out, "-q"], check=True)
            read, worst = safetensors(pathlib.Path(out) / "model.safetensors"), 0
            for name, want in source.items():
                got = nf4(read, name) if f"{name}.absmax" in read else read[name]
                worst = max(worst, compare(name, got, want, LIMITS[quant]))
            print(f"{quant:7} safetensors  largest error of a tensor {worst:.2e}")


main()
