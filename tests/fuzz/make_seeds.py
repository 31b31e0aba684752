#!/usr/bin/env python3
"""Seeds for the fuzz targets gguf, packed and config: the smallest models that are accepted.

    pip install gguf numpy
    python3 tests/fuzz/make_seeds.py

Writes tests/corpus/gguf/model-*, tests/corpus/packed/*; copies config.json files of tests/golden/models to
tests/corpus/config.
"""
import pathlib
import shutil

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

TESTS = pathlib.Path(__file__).parent.parent
CORPUS = TESTS / "corpus"
DIM, HEADS, KV, HEAD, HIDDEN, VOCAB, EXPERTS = 32, 2, 1, 16, 32, 8, 2
Q, K = HEADS * HEAD, KV * HEAD
CONFIGS = ["deepseek-v2-groups", "gemma3-vision", "gpt-oss", "llama-rope3", "mixtral", "phi3-long-v4", "qwen2-moe",
           "qwen2-window", "qwen3-yarn", "neox-parallel-v4", "stablelm-parallel-v4", "gemma3-v4"]

# ---- GGUF ----

ATTENTION = {"attn_q": (Q, DIM), "attn_k": (K, DIM), "attn_v": (K, DIM), "attn_output": (DIM, Q)}
FUSED = {"attn_qkv": (Q + 2 * K, DIM), "attn_output": (DIM, Q)}
GATED = {"ffn_gate": (HIDDEN, DIM), "ffn_up": (HIDDEN, DIM), "ffn_down": (DIM, HIDDEN)}
NORMS = {"attn_norm": (DIM,), "ffn_norm": (DIM,)}
MOE = {"ffn_gate_inp": (EXPERTS, DIM), "ffn_gate_exps": (EXPERTS, HIDDEN, DIM), "ffn_up_exps": (EXPERTS, HIDDEN, DIM),
       "ffn_down_exps": (EXPERTS, DIM, HIDDEN)}
HEAD_NORMS = {"attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,)}
POST = {"post_attention_norm": (DIM,), "post_ffw_norm": (DIM,)}
MODELS = {
    "llama": ({**NORMS, **ATTENTION, **GATED}, {}, T.Q4_0),
    "mixtral": ({**NORMS, **ATTENTION, **MOE}, {"expert_count": EXPERTS, "expert_used_count": 1}, T.Q8_0),
    "qwen3moe": ({**NORMS, **ATTENTION, **HEAD_NORMS, **MOE},
                 {"expert_count": EXPERTS, "expert_used_count": 1, "expert_feed_forward_length": HIDDEN}, T.F16),
    "gemma3": ({**NORMS, **ATTENTION, **HEAD_NORMS, **POST, **GATED}, {"attention.sliding_window": 8}, T.BF16),
    "gemma2": ({**NORMS, **ATTENTION, **POST, **GATED},
               {"attention.sliding_window": 8, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}, T.Q5_1),
    "phi3": ({**NORMS, **FUSED, "ffn_up": (2 * HIDDEN, DIM), "ffn_down": (DIM, HIDDEN)}, {}, T.IQ4_NL),
    "gptneox": ({**NORMS, **FUSED, "attn_norm.bias": (DIM,), "ffn_norm.bias": (DIM,), "ffn_up": (HIDDEN, DIM),
                 "ffn_up.bias": (HIDDEN,), "ffn_down": (DIM, HIDDEN), "ffn_down.bias": (DIM,)},
                {"use_parallel_residual": True}, T.F32),
    "gpt-oss": ({**ATTENTION, **MOE, "attn_norm": (DIM,), "post_attention_norm": (DIM,), "attn_sinks": (HEADS,), "ffn_gate_inp.bias": (EXPERTS,),
                 "ffn_gate_exps.bias": (EXPERTS, HIDDEN), "ffn_up_exps.bias": (EXPERTS, HIDDEN),
                 "ffn_down_exps.bias": (EXPERTS, DIM), "attn_q.bias": (Q,), "attn_k.bias": (K,), "attn_v.bias": (K,),
                 "attn_output.bias": (DIM,)},
                {"expert_count": EXPERTS, "expert_used_count": 1, "attention.sliding_window": 8,
                 "expert_feed_forward_length": HIDDEN}, T.MXFP4),
}
BLOCKS = {T.Q4_0: (32, 18), T.Q8_0: (32, 34), T.Q5_1: (32, 24), T.IQ4_NL: (32, 18), T.MXFP4: (32, 17), T.BF16: (1, 2)}


def add(writer, name, shape, kind):
    if len(shape) < 2 or name.endswith(".bias") or kind in (T.F32, T.F16):
        writer.add_tensor(name, np.ones(shape, np.float16 if kind == T.F16 and len(shape) > 1 and not name.endswith(".bias") else np.float32))
        return
    block, size = BLOCKS[kind]
    writer.add_tensor(name, np.full((*shape[:-1], shape[-1] // block * size), 0x3c, np.uint8), raw_dtype=kind)


def make_gguf(name, layer, values, kind):
    writer = gguf.GGUFWriter(CORPUS / "gguf" / f"model-{name}", "llama" if name == "mixtral" else name)
    arch = "llama" if name == "mixtral" else name
    numbers = {"block_count": 1, "context_length": 64, "embedding_length": DIM, "feed_forward_length": HIDDEN,
               "attention.head_count": HEADS, "attention.head_count_kv": KV, "attention.key_length": HEAD,
               "attention.value_length": HEAD, "vocab_size": VOCAB, "rope.dimension_count": HEAD,
               "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5, **values}
    for key, value in numbers.items():
        put = writer.add_bool if isinstance(value, bool) else writer.add_float32 if isinstance(value, float) else writer.add_uint32
        put(f"{arch}.{key}", value)
    outer = {"token_embd.weight": (VOCAB, DIM), "output_norm.weight": (DIM,), "output.weight": (VOCAB, DIM)}
    if name == "gptneox":
        outer["output_norm.bias"] = (DIM,)
    for tensor, shape in outer.items():
        add(writer, tensor, shape, kind)
    for tensor, shape in layer.items():
        add(writer, f"blk.0.{tensor if tensor.endswith('.bias') else tensor + '.weight'}", shape, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- packed: the recipe of fuzz_packed.c ----

NAMES = ["weight", "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map",
         "weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4", "SCB", "weight_format", "qweight",
         "qzeros", "scales", "g_idx", "weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx", "weight_shape",
         "weight_scale_inv", "input_scale", "weight_global_scale", "weight_scale_2", "scale"]
TYPES = ["U8", "I8", "I32", "F16", "BF16", "F32", "I64", "U32", "F8_E4M3", "F8_E5M2", "TQ1_0", "TQ2_0", "F8_E8M0", "NVFP4"]
STATE = '{"quant_type":"nf4","blocksize":64,"shape":[32, 64]}'
NESTED = '{"blocksize":64,"nested_blocksize":256,"nested_offset":0.5,"dtype":"float16","shape":[32, 64]}'
ORDER = b"".join(i.to_bytes(4, "little") for i in [1, 0] * 32)
PACKED = {
    "nf4": (32, 64, [("weight", "U8", 32 * 32), ("weight.absmax", "F32", 32), ("weight.quant_state.bitsandbytes__nf4", "U8", STATE)]),
    "nested": (32, 64, [("weight", "U8", 32 * 32), ("weight.absmax", "U8", 32), ("weight.nested_absmax", "F32", 1),
                        ("weight.nested_quant_map", "F32", 256), ("weight.quant_state.bitsandbytes__fp4", "U8", NESTED)]),
    "int8": (32, 64, [("weight", "I8", (32, 64)), ("SCB", "F32", 32)]),
    "gptq": (32, 64, [("qweight", "I32", (8, 32)), ("qzeros", "I32", (1, 4)), ("scales", "F16", (1, 32))]),
    "gptq-3": (32, 64, [("qweight", "I32", (6, 32)), ("qzeros", "I32", (2, 3)), ("scales", "F16", (2, 32))]),
    "order": (32, 64, [("qweight", "I32", (8, 32)), ("qzeros", "I32", (2, 4)), ("scales", "F16", (2, 32)), ("g_idx", "I32", ORDER)]),
    "gptq-8": (32, 64, [("qweight", "I32", (16, 32)), ("qzeros", "I32", (1, 8)), ("scales", "F16", (1, 32))]),
    "awq": (32, 64, [("qweight", "I32", (64, 4)), ("qzeros", "I32", (2, 4)), ("scales", "F16", (2, 32))]),
    "fp8": (32, 64, [("weight", "F8_E4M3", (32, 64)), ("weight_scale_inv", "F32", (1, 1))]),
    "fp8-row": (32, 64, [("weight", "F8_E4M3", (32, 64)), ("weight_scale", "BF16", (32, 1)), ("input_scale", "F32", 1)]),
    "words": (32, 64, [("weight_packed", "I32", (32, 8)), ("weight_scale", "BF16", (32, 2)), ("weight_zero_point", "I32", (4, 2))]),
    "tq1": (4, 256, [("weight", "TQ1_0", (4, 256))]),
    "tq2": (4, 256, [("weight", "TQ2_0", (4, 256))]),
    "ct-nvfp4": (32, 64, [("weight_packed", "U8", (32, 32)), ("weight_scale", "F8_E4M3", (32, 4)), ("weight_global_scale", "F32", 1)]),
    "ct-mxfp4": (32, 64, [("weight_packed", "U8", (32, 32)), ("weight_scale", "F8_E8M0", (32, 2))]),
    "modelopt": (32, 64, [("weight", "U8", (32, 32)), ("weight_scale", "F8_E4M3", (32, 4)), ("weight_scale_2", "F32", 1)]),
    "nvfp4": (32, 64, [("weight", "NVFP4", (32, 64)), ("scale", "F32", 1)]),
    "nvfp4-experts": (32, 64, [("weight", "NVFP4", (4, 8, 64)), ("scale", "F32", 4)]),
    "bytes": (32, 64, [("weight", "I8", (32, 64)), ("weight_scale", "F16", (32, 1))]),
}


def size(n):
    if n <= 32:
        return n - 1
    if n % 32:
        raise ValueError(n)
    return 32 + n // 32 - 1


def make_packed(name, rows, cols, tensors):
    recipe, data = bytearray([0, size(rows), size(cols), len(tensors)]), bytearray()
    for end, kind, shape in sorted(tensors, key=lambda t: "x." + t[0]):
        text = shape.encode() if isinstance(shape, str) else shape if isinstance(shape, bytes) else b""
        if text:
            text += b" " * (-len(text) % 32)
            shape = len(text) // (4 if kind == "I32" else 1)
        shape = shape if isinstance(shape, tuple) else (shape,)
        recipe += bytes([NAMES.index(end), TYPES.index(kind), len(shape)])
        for d, n in enumerate(shape):
            recipe += bytes([size(n)] + [0] * (d == 0))
        width = {"U8": 1, "I8": 1, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "F8_E4M3": 1,
                 "TQ1_0": 54 / 256, "TQ2_0": 66 / 256, "F8_E8M0": 1, "NVFP4": 36 / 64}[kind]
        data += text or bytes([0x3c]) * int(np.prod(shape) * width)
    (CORPUS / "packed" / name).write_bytes(recipe + data)


def main():
    for name, (layer, values, kind) in MODELS.items():
        make_gguf(name, layer, values, kind)
    for name, recipe in PACKED.items():
        make_packed(name, *recipe)
    for name in CONFIGS:
        shutil.copy(TESTS / "golden" / "models" / name / "config.json", CORPUS / "config" / f"model-{name}.json")


main()
