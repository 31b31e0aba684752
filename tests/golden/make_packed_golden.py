#!/usr/bin/env python3
"""Tiny seeded checkpoints, packed as quantizers pack them, and the logits of their exact weights.

    pip install torch transformers safetensors bitsandbytes compressed-tensors
    python3 tests/golden/make_packed_golden.py [--out DIR] [NAME ...]

Writes tests/golden/packed/NAME/{config.json,model.safetensors,tokens.i32,logits.f32,weights.u64}: the last holds a hash of
each linear layer's dequantized values (FNV-1a of float32, rows of in_features), in the order of LINEAR; logits are
computed by transformers in float32 from these values.  bitsandbytes and compressed-tensors dequantize what they packed
themselves; for GPTQ, AWQ and FP8 blocks the formulas of their papers and loaders are written out here.  Mixtures of
experts (MIXTURES) have no weights.u64.
"""
import argparse
import itertools
import json
import pathlib
import shutil
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from make_model_golden import IDS, N_TOKENS, draw

ROOT = pathlib.Path(__file__).parent / "packed"
LINEAR = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
          "mlp.down_proj"]
FOUR = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=1,
            head_dim=32, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True, **IDS)
EIGHT = {**FOUR, "intermediate_size": 192, "num_attention_heads": 2}


def fnv(x):
    h = 0xCBF29CE484222325
    for b in np.ascontiguousarray(x, np.float32).tobytes():
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


# ---- ways of packing: w (out, in) float32 -> tensors behind the layer's name, dequantized w ----

def bnb4(w, kind, blocksize, nested, storage=torch.uint8):
    import bitsandbytes.functional as F
    q, state = F.quantize_4bit(w, blocksize=blocksize, quant_type=kind, compress_statistics=nested, quant_storage=storage)
    out = {"weight": q, **{f"weight.{k}": v for k, v in state.as_dict(packed=True).items()}}
    return out, F.dequantize_4bit(q.cpu(), state)


def bnb8(w):
    scb = w.abs().amax(1)
    q = (w / scb[:, None] * 127).round().to(torch.int8)
    return {"weight": q, "SCB": scb, "weight_format": torch.tensor(0, dtype=torch.uint8)}, q.float() * (scb / 127)[:, None]


def integers(w, bits, group, symmetric, groups_of=None):
    """Codes (out, in), scales f16 and zeros (out, groups), exact values.  groups_of: the group of each column."""
    rows, cols = w.shape
    g = torch.arange(cols) // group if groups_of is None else groups_of
    n, top = int(g.max()) + 1, 2 ** bits - 1
    scales, zeros = torch.zeros(rows, n), torch.zeros(rows, n, dtype=torch.int64)
    for i in range(n):
        part = w[:, g == i]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        if symmetric:
            most = torch.maximum(-low, high)
            low, high = -most, most
        scale = ((high - low) / top).half().float()
        scales[:, i] = scale
        zeros[:, i] = 2 ** (bits - 1) if symmetric else (-low / scale).round().clamp(1, top).long()
    q = (w / scales[:, g] + zeros[:, g]).round().clamp(0, top).long()
    return q, scales.half(), zeros, scales.half().float()[:, g] * (q - zeros[:, g]).float()


def words(q, bits, dim):
    """Packs integers into int32 along a dimension, the first in the lowest bits, 3 bits over the ends of words."""
    q = q.movedim(dim, -1).numpy().astype(np.uint64)
    stream = (q[..., None] >> np.arange(bits, dtype=np.uint64) & np.uint64(1)).reshape(*q.shape[:-1], -1, 32)
    packed = (stream << np.arange(32, dtype=np.uint64)).sum(-1).astype(np.uint32).view(np.int32)
    return torch.from_numpy(packed.copy()).movedim(-1, dim).contiguous()


def in_threes():
    """Act-order's seeds for matrix after matrix: three have one order, which makes that of an expert's gate and up one."""
    n = itertools.count()
    return lambda w: next(n) // 3


def gptq(w, bits, group, symmetric, version=1, order=None):
    cols = w.shape[1]
    g_idx = torch.arange(cols) // group
    if order:
        g_idx = g_idx[torch.randperm(cols, generator=torch.Generator().manual_seed(order(w)))]
    q, scales, zeros, values = integers(w, bits, group, symmetric, g_idx)
    stored = (zeros.T - int(version == 1)) & (2 ** bits - 1)
    return {"qweight": words(q.T, bits, 0), "qzeros": words(stored, bits, 1), "scales": scales.T.contiguous(),
            "g_idx": g_idx.to(torch.int32)}, values


def awq(w, group):
    q, scales, zeros, values = integers(w, 4, group, False)

    def pack(x):  # (n, out): the eight columns of a word in this order
        x = x.reshape(x.shape[0], -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
        return words(x.reshape(x.shape[0], -1), 4, 1)

    return {"qweight": pack(q.T), "qzeros": pack(zeros.T), "scales": scales.T.contiguous()}, values


def fp8(w, kind):
    rows, cols = w.shape
    if kind == "block":
        scale = torch.zeros(-(-rows // 128), -(-cols // 128))
        for i in range(scale.shape[0]):
            for j in range(scale.shape[1]):
                scale[i, j] = w[128 * i:128 * i + 128, 128 * j:128 * j + 128].abs().max() / 448
        full = scale.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :cols]
        name = "weight_scale_inv"
    elif kind == "row":
        scale = (w.abs().amax(1, keepdim=True) / 448).bfloat16()
        full, name = scale.float(), "weight_scale"
    else:
        scale = (w.abs().max() / 448)[None]
        full, name = scale, "weight_scale"
    q = (w / full).clamp(-448, 448).to(torch.float8_e4m3fn)
    extra = {"input_scale": torch.tensor([1.0])} if kind == "tensor" else {}
    return {"weight": q, name: scale, **extra}, q.float() * full


def compressed(w, bits, group, symmetric=True, order=False):
    from compressed_tensors.compressors import pack_to_int32, unpack_from_int32
    cols = w.shape[1]
    g_idx = torch.arange(cols) // group
    if order:
        g_idx = g_idx[torch.randperm(cols, generator=torch.Generator().manual_seed(w.numel()))]
    q, scales, zeros, _ = integers(w, bits, group, symmetric, g_idx)
    half = 2 ** (bits - 1)
    packed = pack_to_int32((q - half).to(torch.int8), bits)
    out = {"weight_packed": packed, "weight_scale": scales.bfloat16(), "weight_shape": torch.tensor(w.shape)}
    zero = torch.zeros_like(zeros).to(torch.int8)
    if not symmetric:
        out["weight_zero_point"] = pack_to_int32((zeros - half).to(torch.int8), bits, packed_dim=0)
        zero = unpack_from_int32(out["weight_zero_point"], bits, zeros.shape, packed_dim=0)
    if order:
        out["weight_g_idx"] = g_idx.to(torch.int32)
    back = unpack_from_int32(packed, bits, w.shape)
    return out, (back.float() - zero.float()[:, g_idx]) * out["weight_scale"].float()[:, g_idx]


def int8(w):
    scale = (w.abs().amax(1, keepdim=True) / 127).bfloat16()
    q = (w / scale.float()).round().clamp(-128, 127).to(torch.int8)
    return {"weight": q, "weight_scale": scale}, q.float() * scale.float()


E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def e2m1(w):
    """Codes of the nearest values, the sign in bit 3."""
    code = (w.abs()[..., None] - E2M1).abs().argmin(-1)
    minus = (w < 0) & (code > 0)
    return code + 8 * minus, torch.where(minus, -1, 1) * E2M1[code]


def pairs(q):
    return (q[..., ::2] | q[..., 1::2] << 4).to(torch.uint8)


def nvfp4(w, kind):
    """The matrix's factor brings the largest scale to 448; compressed-tensors keeps its inverse."""
    factor = w.abs().max() / (6 * 448)
    if kind == "ct":
        inverse = 1 / factor
        factor = 1 / inverse
    groups = w.reshape(w.shape[0], -1, 16)
    scale = (groups.abs().amax(-1) / (6 * factor)).clamp(2 ** -9, 448).to(torch.float8_e4m3fn)
    full = (scale.float() * factor)[..., None]
    q, values = e2m1(groups / full)
    packed = pairs(q.reshape(w.shape))
    if kind == "ct":
        out = {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": inverse[None],
               "input_global_scale": torch.tensor([1.0])}
    else:
        out = {"weight": packed, "weight_scale": scale, "weight_scale_2": factor, "input_scale": torch.tensor(1.0)}
    return out, (values * full).reshape(w.shape)


def mxfp4(w):
    groups = w.reshape(w.shape[0], -1, 32)
    e = (groups.abs().amax(-1).log2().floor() - 2).clamp(-127, 127)
    full = torch.exp2(e)[..., None]
    q, values = e2m1((groups / full).clamp(-6, 6))
    return {"weight_packed": pairs(q.reshape(w.shape)), "weight_scale": (e + 127).to(torch.uint8)}, (values * full).reshape(w.shape)


def modelopt(w, kind):
    """FP8: a scale for the matrix that is no vector."""
    if kind == "NVFP4":
        return nvfp4(w, "modelopt")
    parts, values = fp8(w, "tensor")
    return {k: v.reshape(()) if v.dim() == 1 else v for k, v in parts.items()}, values


def gptq_config(bits, group, **more):
    return dict(quant_method="gptq", bits=bits, group_size=group, desc_act=False, sym=True, **more)


def ct_config(kind, bits, **weights):
    return dict(quant_method="compressed-tensors", format=kind, ignore=["lm_head"], config_groups=dict(group_0=dict(
        targets=["Linear"], weights=dict(num_bits=bits, **weights))))


BNB4 = dict(quant_method="bitsandbytes", load_in_4bit=True)
MODELS = {
    "bnb-nf4": (FOUR, lambda w: bnb4(w, "nf4", 64, False), {**BNB4, "bnb_4bit_quant_type": "nf4"}),
    "bnb-nf4-double": (FOUR, lambda w: bnb4(w, "nf4", 64, True), {**BNB4, "bnb_4bit_use_double_quant": True}),
    "bnb-fp4-128": (FOUR, lambda w: bnb4(w, "fp4", 128, True, torch.bfloat16), {**BNB4, "bnb_4bit_quant_type": "fp4"}),
    "bnb-int8": (EIGHT, bnb8, dict(quant_method="bitsandbytes", load_in_8bit=True)),
    "gptq-4": (FOUR, lambda w: gptq(w, 4, 128, True), gptq_config(4, 128)),
    "gptq-4-v2": (FOUR, lambda w: gptq(w, 4, 32, False, 2), gptq_config(4, 32, checkpoint_format="gptq_v2")),
    "gptq-4-order": (FOUR, lambda w: gptq(w, 4, 64, False, 1, torch.numel), {**gptq_config(4, 64), "desc_act": True}),
    "gptq-8": (EIGHT, lambda w: gptq(w, 8, 64, True), gptq_config(8, 64)),
    "gptq-8-asym": (EIGHT, lambda w: gptq(w, 8, w.shape[1], False), gptq_config(8, -1)),
    "awq": (FOUR, lambda w: awq(w, 128), dict(quant_method="awq", bits=4, group_size=128, zero_point=True, version="gemm")),
    "fp8-block": (EIGHT, lambda w: fp8(w, "block"), dict(quant_method="fp8", activation_scheme="dynamic",
                                                         weight_block_size=[128, 128])),
    "fp8-tensor": (EIGHT, lambda w: fp8(w, "tensor"), ct_config("naive-quantized", 8, type="float", strategy="tensor")),
    "fp8-row": (EIGHT, lambda w: fp8(w, "row"), ct_config("float-quantized", 8, type="float", strategy="channel")),
    "ct-int4": (FOUR, lambda w: compressed(w, 4, 128), ct_config("pack-quantized", 4, type="int", group_size=128)),
    "ct-int4-order": (FOUR, lambda w: compressed(w, 4, 32, False, True),
                      ct_config("pack-quantized", 4, type="int", group_size=32, symmetric=False, actorder="group")),
    "ct-int8-packed": (EIGHT, lambda w: compressed(w, 8, w.shape[1]), ct_config("pack-quantized", 8, type="int")),
    "ct-int8": (EIGHT, int8, ct_config("int-quantized", 8, type="int", strategy="channel")),
    "gptq-3": (FOUR, lambda w: gptq(w, 3, 128, False), gptq_config(3, 128)),
    "gptq-3-order": (FOUR, lambda w: gptq(w, 3, 32, True, 2, torch.numel), {**gptq_config(3, 32, checkpoint_format="gptq_v2"),
                                                                     "desc_act": True}),
    "gptq-2": (FOUR, lambda w: gptq(w, 2, 32, False), gptq_config(2, 32)),
    "ct-nvfp4": (FOUR, lambda w: nvfp4(w, "ct"), ct_config("nvfp4-pack-quantized", 4, type="float", group_size=16)),
    "ct-mxfp4": (FOUR, mxfp4, ct_config("mxfp4-pack-quantized", 4, type="float", group_size=32)),
    "modelopt-nvfp4": (EIGHT, lambda w: modelopt(w, "NVFP4"), dict(quant_method="modelopt", quant_algo="NVFP4",
                                                                   ignore=["lm_head"])),
    "modelopt-fp8": (EIGHT, lambda w: modelopt(w, "FP8"), dict(quant_method="modelopt", quant_algo="FP8",
                                                               kv_cache_scheme=dict(num_bits=8, type="float"))),
}


EXPERTS = {**FOUR, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_experts_per_tok": 2}
MIXTRAL = transformers.MixtralConfig(**EXPERTS, num_local_experts=4)
QWEN2 = transformers.Qwen2MoeConfig(**EXPERTS, num_experts=4, moe_intermediate_size=64, shared_expert_intermediate_size=96)
SMALL = transformers.Qwen3MoeConfig(**EXPERTS, num_experts=3, moe_intermediate_size=64)
QWEN3 = transformers.Qwen3MoeConfig(**{**EXPERTS, "hidden_size": 192}, num_experts=3, moe_intermediate_size=64)
LAYERS = transformers.LlamaConfig(**{**FOUR, "num_hidden_layers": 3})  # no mixture, but several layers
MIXTURES = {
    "mixtral-gptq": (MIXTRAL, lambda w: gptq(w, 4, 32, False), gptq_config(4, 32)),
    "mixtral-gptq-order": (MIXTRAL, lambda w, order=in_threes(): gptq(w, 4, 32, True, 1, order),
                           {**gptq_config(4, 32), "desc_act": True}),
    "mixtral-nf4": (MIXTRAL, lambda w: bnb4(w, "nf4", 64, True), {**BNB4, "bnb_4bit_quant_type": "nf4"}),
    "qwen2-moe-awq": (QWEN2, lambda w: awq(w, 32), dict(quant_method="awq", bits=4, group_size=32, zero_point=True,
                                                        version="gemm", modules_to_not_convert=["gate"])),
    "qwen3-moe-fp8": (QWEN3, lambda w: fp8(w, "block"), dict(quant_method="fp8", activation_scheme="dynamic",
                                                             weight_block_size=[128, 128])),
    "qwen3-moe-ct8": (SMALL, int8, ct_config("int-quantized", 8, type="int", strategy="channel")),
    "llama-gptq-order": (LAYERS, lambda w, order=in_threes(): gptq(w, 4, 32, False, 1, order),
                         {**gptq_config(4, 32), "desc_act": True}),
    "qwen3-moe-nvfp4": (QWEN3, lambda w: nvfp4(w, "modelopt"), dict(quant_method="modelopt", quant_algo="NVFP4")),
}


def make(name, number, out):
    shape, pack, quantization = MODELS[name]
    config = transformers.LlamaConfig(**shape)
    torch.manual_seed(2000 + number)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", torch_dtype=torch.float32)
    tensors, hashes = {}, []
    with torch.no_grad():
        draw(model, config)
        model.half().float()  # rotary frequencies are made again below
        for key, p in model.named_parameters():
            p.copy_(p.half().float())
        layers = dict(model.named_modules())
        packed = {f"model.layers.0.{stem}" for stem in LINEAR}
        for stem in LINEAR:
            stem = f"model.layers.0.{stem}"
            parts, values = pack(layers[stem].weight.data.clone())
            tensors |= {f"{stem}.{k}": v.contiguous() for k, v in parts.items()}
            layers[stem].weight.copy_(values)
            hashes.append(fnv(values.numpy()))
        for key, p in model.named_parameters():
            if key.removesuffix(".weight") not in packed:
                tensors[key] = p.half()
    text = json.loads(config.to_json_string())
    text |= dict(architectures=["LlamaForCausalLM"])
    again = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", torch_dtype=torch.float32).eval()
    again.load_state_dict(model.state_dict())
    ids = np.random.default_rng(number).integers(3, shape["vocab_size"], N_TOKENS).astype(np.int32)
    with torch.no_grad():
        logits = again(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].numpy()
    save(out / name, tensors, text, quantization, ids, logits)
    np.array(hashes, np.uint64).tofile(out / name / "weights.u64")


def save(folder, tensors, config, quantization, ids, logits):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | dict(quantization_config=quantization), indent=2, sort_keys=True) + "\n")
    ids.tofile(folder / "tokens.i32")
    logits.astype(np.float32).tofile(folder / "logits.f32")
    print(f"{folder.name:20} {(folder / 'model.safetensors').stat().st_size:7} bytes  max |logit| {np.abs(logits).max():.2f}")


def make_mixture(name, number, out):
    """Through files: what save_pretrained writes has a tensor for each expert, whatever the module has."""
    config, pack, quantization = MIXTURES[name]
    torch.manual_seed(3000 + number)
    model = transformers.AutoModelForCausalLM.from_config(config, torch_dtype=torch.float32)
    ids = np.random.default_rng(number).integers(3, config.vocab_size, N_TOKENS).astype(np.int32)
    packed, plain = {}, {}
    with torch.no_grad(), tempfile.TemporaryDirectory() as work:
        draw(model, config)
        model.half().save_pretrained(work)
        text = json.loads((pathlib.Path(work) / "config.json").read_text())
        for key, w in load_file(f"{work}/model.safetensors").items():
            stem = key.removesuffix(".weight")
            if w.dim() != 2 or "layers" not in key or stem.endswith(("gate", "router")):
                packed[key], plain[key] = w, w.float()
                continue
            parts, values = pack(w.float())
            packed |= {f"{stem}.{k}": v.contiguous() for k, v in parts.items()}
            plain[key] = values.float()
        save_file(plain, f"{work}/model.safetensors", metadata={"format": "pt"})
        again = transformers.AutoModelForCausalLM.from_pretrained(work, attn_implementation="eager", dtype=torch.float32).eval()
        logits = again(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].numpy()
    save(out / name, packed, text, quantization, ids, logits)


def make_ternary(name, number, out):
    """A GGUF whose matrices are TQ1_0 and TQ2_0."""
    import gguf
    from make_gguf import finish, gguf_name, write_metadata
    config = transformers.LlamaConfig(**{**FOUR, "hidden_size": 256, "num_attention_heads": 8})
    torch.manual_seed(4000 + number)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", torch_dtype=torch.float32).eval()
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    w = gguf.GGUFWriter(folder / "model.gguf", "llama")
    write_metadata(w, "llama", config.to_dict())
    rng = np.random.default_rng(number)
    kinds = [gguf.GGMLQuantizationType.TQ1_0, gguf.GGMLQuantizationType.TQ2_0]
    with torch.no_grad():
        draw(model, config)
        for i, (key, p) in enumerate(model.named_parameters()):
            if p.ndim == 1 or p.shape[1] % 256 or "embed" in key:
                p.copy_(p.half().float())
                w.add_tensor(gguf_name(key), p.numpy().astype(np.float32 if p.ndim == 1 else np.float16))
                continue
            kind = kinds[i % 2]
            blocks = rng.integers(0, 256, (p.numel() // 256, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
            blocks[:, -2:] = (rng.uniform(0.5, 1.5, (len(blocks), 1)) * p.shape[1] ** -0.5).astype(np.float16).view(np.uint8)
            x = gguf.quants.dequantize(blocks, kind).reshape(p.shape)
            w.add_tensor(gguf_name(key), blocks.reshape(p.shape[0], -1), raw_dtype=kind)
            heads = 8 if "q_proj" in key else 1 if "k_proj" in key else 0
            if heads:  # x is what the file holds, with adjacent pairs
                x = x.reshape(heads, -1, 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)
            p.copy_(torch.from_numpy(np.ascontiguousarray(x)))
    finish(w)
    ids = rng.integers(3, config.vocab_size, N_TOKENS).astype(np.int32)
    with torch.no_grad():
        logits = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].numpy()
    ids.tofile(folder / "tokens.i32")
    logits.astype(np.float32).tofile(folder / "logits.f32")
    print(f"{name:20} {(folder / 'model.gguf').stat().st_size:7} bytes  max |logit| {np.abs(logits).max():.2f}")


def make_blocks(name, number, out):
    """A GGUF with experts whose matrices are NVFP4, with factors beside them; that of o_proj is 1 and is not there."""
    import gguf
    from make_gguf import finish, gguf_name, with_experts, write_metadata
    config = transformers.Qwen3MoeConfig(**EXPERTS, num_experts=3, moe_intermediate_size=64, norm_topk_prob=True)
    torch.manual_seed(5000 + number)
    model = transformers.AutoModelForCausalLM.from_config(config, torch_dtype=torch.float32)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    w = gguf.GGUFWriter(folder / "model.gguf", "qwen3moe")
    write_metadata(w, "qwen3moe", config.to_dict())
    blocks, factors, plain = {}, {}, {}
    with torch.no_grad(), tempfile.TemporaryDirectory() as work:
        draw(model, config)
        model.half().save_pretrained(work)
        for key, x in load_file(f"{work}/model.safetensors").items():
            if x.dim() != 2 or "layers" not in key or key.endswith("gate.weight"):
                plain[key] = x.float()
                w.add_tensor(gguf_name(key), x.numpy().astype(np.float32 if x.dim() == 1 or "gate" in key else np.float16))
                continue
            parts, _ = nvfp4(x.float(), "modelopt")
            factor = parts["weight_scale_2"]
            if "o_proj" in key:
                parts["weight_scale"] = (parts["weight_scale"].float() * factor).to(torch.float8_e4m3fn)
                factor = torch.tensor(1.0)
            scale = parts["weight_scale"].view(torch.uint8).reshape(x.shape[0], -1, 4)
            q = torch.stack([parts["weight"] & 15, parts["weight"] >> 4], -1).reshape(x.shape[0], -1, 4, 2, 8)
            codes = (q[..., 0, :] | q[..., 1, :] << 4).reshape(*scale.shape[:2], 32)
            blocks[key] = torch.cat([scale, codes], -1).reshape(x.shape[0], -1).numpy()
            values = gguf.quants.dequantize(blocks[key], gguf.GGMLQuantizationType.NVFP4) * factor.numpy()
            plain[key], factors[key] = torch.from_numpy(values), factor.numpy()
        save_file(plain, f"{work}/model.safetensors", metadata={"format": "pt"})
        again = transformers.AutoModelForCausalLM.from_pretrained(work, attn_implementation="eager", dtype=torch.float32).eval()
        ids = np.random.default_rng(number).integers(3, config.vocab_size, N_TOKENS).astype(np.int32)
        logits = again(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].numpy()
    rest, stacks = with_experts(blocks)
    _, factors_of_stacks = with_experts(factors)
    for key, x in [(gguf_name(key), x) for key, x in rest.items()] + list(stacks.items()):
        w.add_tensor(key, x, raw_dtype=gguf.GGMLQuantizationType.NVFP4)
    for key, x in [(gguf_name(key), factors[key][None]) for key in rest if "o_proj" not in key] + list(factors_of_stacks.items()):
        w.add_tensor(key.removesuffix("weight") + "scale", x.astype(np.float32))
    finish(w)
    ids.tofile(folder / "tokens.i32")
    logits.astype(np.float32).tofile(folder / "logits.f32")
    print(f"{name:20} {(folder / 'model.gguf').stat().st_size:7} bytes  max |logit| {np.abs(logits).max():.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=ROOT)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    for models, function in (MODELS, make), (MIXTURES, make_mixture), (["ternary"], make_ternary), (["nvfp4-blocks"], make_blocks):
        for number, name in enumerate(models):
            if not args.names or name in args.names:
                function(name, number, args.out)


if __name__ == "__main__":
    main()
