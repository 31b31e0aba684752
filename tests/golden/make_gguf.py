#!/usr/bin/env python3
"""GGUF files for tests, written by ggml's own Python package.

    pip install gguf torch transformers safetensors
    python3 tests/golden/make_gguf.py [NAME ...]

Writes tests/golden/gguf/
    NAME.TYPE.gguf   models of make_model_golden.py as GGUF: rows of q and k permuted for the llama architecture, as
                     converters do; their logits are models/NAME/logits.f32
    blocks.gguf      a model whose matrices are of every block type but those of codebooks, with blocks.tokens.i32 and
                     blocks.logits.f32: what transformers computes in float32 from the decoded weights
    grids.gguf       the same with those of codebooks, IQ1 to IQ3
    blocks.bin       for every block type: its name (8 bytes), number of bytes (u32), random blocks, 512 decoded f32
"""
import json
import pathlib
import re
import struct
import sys

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as T
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "gguf"
MODELS = [("llama-mha", T.F16), ("llama-rope3", T.F16), ("llama-tied-biases", T.Q8_0), ("mistral-head-dim", T.Q8_0),
          ("qwen2-tied", T.Q8_0), ("qwen3-yarn", T.F16), ("gemma", T.Q8_0), ("gemma2", T.F16), ("gemma3-v4", T.F16),
          ("phi3-long-v4", T.F16), ("phi3", T.Q8_0), ("phi", T.Q8_0), ("gpt2", T.F16), ("neox-parallel-v4", T.F16), ("olmo2", T.Q8_0),
          ("stablelm", T.Q8_0), ("granite", T.Q8_0), ("mixtral", T.F16), ("qwen3-moe", T.F16), ("gpt-oss", T.F16),
          ("qwen2-moe", T.F16), ("smollm3-four", T.F16), ("deepseek-v2-groups", T.Q8_0), ("deepseek-v2-yarn", T.F16),
          ("starcoder2", T.F16), ("glm4", T.F16), ("cohere", T.F16), ("cohere2", T.F16),
          ("exaone4", T.F16), ("olmoe", T.F16), ("granite-moe", T.F16),
          ("stablelm-norms", T.F16), ("cohere-norms", T.F16), ("deepseek-v3", T.F16), ("glm4-moe", T.F16),
          ("ernie4.5-moe", T.F16), ("minimax-m2", T.Q8_0), ("ministral3", T.Q8_0)]
ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3", "phi": "phi2", "gpt_neox": "gptneox",
                 "mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss",
                 "deepseek_v2": "deepseek2", "cohere": "command-r", "deepseek_v3": "deepseek2", "glm4_moe": "glm4moe",
                 "ernie4_5_moe": "ernie4_5-moe", "minimax_m2": "minimax-m2", "ministral3": "mistral3"}
PERMUTED = ("llama", "granite", "granitemoe", "smollm3", "mistral3")
SIGMOID = ("deepseek_v3", "glm4_moe", "minimax_m2")
# Per type: offset of the f16 scale and of the f16 min in a block, None where it has none, and the sign of the min.
FIELDS = {"Q4_0": (0, None, 0), "Q4_1": (0, 2, 1), "Q5_0": (0, None, 0), "Q5_1": (0, 2, 1), "Q8_0": (0, None, 0),
          "IQ4_NL": (0, None, 0), "MXFP4": (None, None, 0), "Q2_K": (80, 82, -1), "Q3_K": (108, None, 0),
          "Q4_K": (0, 2, -1), "Q5_K": (0, 2, -1), "Q6_K": (208, None, 0), "IQ4_XS": (0, None, 0),
          "NVFP4": (None, None, 0),
          **{name: (0, None, 0) for name in ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S")}, "IQ1_M": (48, None, 0)}
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.sinks": "attn_sinks", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "self_attn.qkv_proj": "attn_qkv",
         "mlp.gate_up_proj": "ffn_up", "post_feedforward_layernorm": "post_ffw_norm",
         "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
         "model.final_layernorm": "output_norm", "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
         "transformer.ln_f": "output_norm", "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv",
         "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "gpt_neox.embed_in": "token_embd",
         "embed_out": "output", "gpt_neox.final_layer_norm": "output_norm", "attention.query_key_value": "attn_qkv",
         "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
         "mlp.c_fc": "ffn_up", "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm",
         "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
         "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.kv_b_proj": "attn_kv_b", "attn_k_b": "attn_k_b",
         "attn_v_b": "attn_v_b", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
         "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
         "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
         "mlp.shared_expert.down_proj": "ffn_down_shexp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
         "post_self_attn_layernorm": "post_attention_norm", "post_mlp_layernorm": "post_ffw_norm",
         "block_sparse_moe.router.layer": "ffn_gate_inp", "block_sparse_moe.gate": "ffn_gate_inp", "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp"}
POST_NORMS = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm"}


def gguf_name(name, arch="llama"):
    names = {**NAMES, **POST_NORMS} if arch in ("gemma2", "gemma3", "olmo2", "exaone4", "gpt-oss", "glm4moe") else NAMES
    stem, end = name.rsplit(".", 1)
    if stem in names:
        return f"{names[stem]}.{end}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{names[part]}.{end}"


def permuted(x, n_heads):
    """Rows so that the halves of each head alternate."""
    half = x.shape[0] // n_heads // 2
    return x.reshape(n_heads, 2, half, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def write_metadata(w, arch, c):
    """Returns the size of a head and the rope parameters."""
    heads = c.get("num_attention_heads") or c["n_head"]
    dim = c.get("hidden_size") or c["n_embd"]
    w.add_context_length(c.get("max_position_embeddings") or c["n_positions"])
    w.add_embedding_length(dim)
    w.add_block_count(c.get("num_hidden_layers") or c["n_layer"])
    w.add_feed_forward_length(c.get("intermediate_size") or 4 * dim)
    w.add_head_count(heads)
    if arch not in ("gpt2", "gptneox"):
        w.add_head_count_kv(c["num_key_value_heads"])
    if "rms_norm_eps" in c:
        w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    else:
        w.add_layer_norm_eps(c.get("layer_norm_eps") or c.get("layer_norm_epsilon") or c["norm_epsilon"])
    w.add_vocab_size(c["vocab_size"])
    w.add_bos_token_id(c["bos_token_id"])
    w.add_eos_token_id(c["eos_token_id"])
    head_dim = c.get("head_dim") or dim // heads
    if arch == "deepseek2":
        head_dim = write_latent(w, c)
    elif arch not in ("phi2", "phi3", "gpt2", "gptneox", "stablelm", "olmo2", "granite"):
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    rope = c.get("rope_parameters") or {
        "rope_theta": c.get("rope_theta", c.get("rotary_emb_base")), "rope_type": "default",
        "partial_rotary_factor": c.get("rotary_pct", 1.0), **(c.get("rope_scaling") or {})}
    rope["rope_type"] = rope.pop("type", rope["rope_type"])
    if arch != "gpt2":
        w.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1)))
        w.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("yarn", "linear"):
        w.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        w.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope.get("mscale_all_dim"):
        w.add_rope_scaling_yarn_log_mul((0.1 if arch == "deepseek2" else 1) * rope["mscale_all_dim"])
    if rope.get("llama_4_scaling_beta"):
        w.add_attn_temperature_scale(rope["llama_4_scaling_beta"])
    if c["model_type"] in SIGMOID:
        w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        w.add_expert_weights_norm(True)
    if arch == "gpt-oss" or "num_experts_per_tok" in c or "moe_k" in c:
        w.add_expert_count(c.get("num_local_experts") or c.get("num_experts") or c.get("moe_num_experts") or
                           c["n_routed_experts"])
        w.add_expert_used_count(c.get("num_experts_per_tok") or c["moe_k"])
        w.add_expert_feed_forward_length(c.get("moe_intermediate_size") or c["intermediate_size"])
    if c.get("mlp_only_layers") == [0]:
        w.add_leading_dense_block_count(1)
    for key, add in (("sliding_window", w.add_sliding_window), ("final_logit_softcapping", w.add_final_logit_softcapping),
                     ("attn_logit_softcapping", w.add_attn_logit_softcapping), ("logits_scaling", w.add_logit_scale),
                     ("attention_multiplier", w.add_attention_scale), ("embedding_multiplier", w.add_embedding_scale),
                     ("residual_multiplier", w.add_residual_scale), ("use_parallel_residual", w.add_parallel_residual),
                     ("logit_scale", w.add_logit_scale), ("n_group", w.add_expert_group_count),
                     ("topk_group", w.add_expert_group_used_count), ("n_shared_experts", w.add_expert_shared_count),
                     ("routed_scaling_factor", w.add_expert_weights_scale),
                     ("shared_expert_intermediate_size", w.add_expert_shared_feed_forward_length),
                     ("first_k_dense_replace", w.add_leading_dense_block_count),
                     ("moe_layer_start_index", w.add_leading_dense_block_count),
                     ("moe_num_shared_experts", w.add_expert_shared_count)):
        if c.get(key) is not None:
            add(c[key])
    if arch == "gemma3":
        w.add_rope_freq_base_swa(c["rope_local_base_freq"])
    if rope["rope_type"] == "longrope":
        original = c["original_max_position_embeddings"]
        w.add_rope_scaling_orig_ctx_len(original)
        w.add_rope_scaling_attn_factors((1 + np.log(c["max_position_embeddings"] / original) / np.log(original)) ** 0.5)
        for which in ("long", "short"):
            w.add_tensor(f"rope_factors_{which}.weight", np.array(rope[f"{which}_factor"], np.float32))
    return head_dim, rope


def is_older(c):
    """Of the two forms that converters gave to latent attention one model has the older."""
    return c["model_type"] == "deepseek_v2" and c["q_lora_rank"]


def write_latent(w, c):
    """Sizes of latent attention, as older or as newer converters did.  Returns the rotated part."""
    key, rotated, rank = c["qk_nope_head_dim"] + c["qk_rope_head_dim"], c["qk_rope_head_dim"], c["kv_lora_rank"]
    w.add_kv_lora_rank(rank)
    if c["q_lora_rank"]:
        w.add_q_lora_rank(c["q_lora_rank"])
    if is_older(c):
        w.add_key_length(key)
        w.add_value_length(c["v_head_dim"])
        return rotated
    w.add_key_length(rank + rotated)
    w.add_value_length(rank)
    w.add_key_length_mla(key)
    w.add_value_length_mla(c["v_head_dim"])
    return rotated


def with_norms(tensors):
    """Norms of heads, a tensor each in StableLM, as one."""
    rest, stacks = {}, {}
    for key, x in tensors.items():
        one = re.fullmatch(r"model\.layers\.(\d+)\.self_attn\.([qk])_layernorm\.norms\.(\d+)\.weight", key)
        if one:
            stacks.setdefault(f"model.layers.{one[1]}.self_attn.{one[2]}_norm.weight", {})[int(one[3])] = x
        else:
            rest[key] = x
    return {**rest, **{key: np.stack([x[i] for i in range(len(x))]) for key, x in stacks.items()}}


def with_latent(tensors, c):
    """What makes keys and values of the latent row as newer converters write it, the matrices of keys transposed."""
    out = {}
    for key, x in tensors.items():
        if "kv_b_proj" in key and not is_older(c):
            layer, nope = key.split(".")[2], c["qk_nope_head_dim"]
            heads = x.reshape(c["num_attention_heads"], nope + c["v_head_dim"], -1)
            out[f"model.layers.{layer}.attn_k_b.weight"] = np.ascontiguousarray(heads[:, :nope].swapaxes(1, 2))
            out[f"model.layers.{layer}.attn_v_b.weight"] = np.ascontiguousarray(heads[:, nope:])
        else:
            out[key] = x
    return out


def llama3_factors(head_dim, rope):
    """What each inverse frequency is divided by."""
    inverse = rope["rope_theta"] ** -(np.arange(0, head_dim, 2) / head_dim)
    length, original = 2 * np.pi / inverse, rope["original_max_position_embeddings"]
    low, high = original / rope["low_freq_factor"], original / rope["high_freq_factor"]
    t = (original / length - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
    between = 1 / ((1 - t) / rope["factor"] + t)
    return np.where(length < high, 1, np.where(length > low, rope["factor"], between)).astype(np.float32)


def converted(key, x, arch, c):
    """What converters do to a tensor."""
    for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
        if part in key and arch in PERMUTED:
            x = permuted(x, c[heads])
    if arch == "gptneox" and "query_key_value" in key:
        x = x.reshape(c["num_attention_heads"], 3, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    if arch == "gpt2" and x.ndim == 2 and ".c_" in key:
        x = np.ascontiguousarray(x.T)
    if arch.startswith("gemma") and "norm" in key:
        x = x + 1
    return x


def with_experts(tensors):
    """The tensors without experts, and by GGUF's names those of all experts of a layer."""
    rest, stacks, parts = {}, {}, {"w1": "gate", "w3": "up", "w2": "down"}
    for key, x in tensors.items():
        layer = key.split(".")[2] if "layers" in key else ""
        one = re.fullmatch(r".*experts\.(\d+)\.(\w+?)(_proj)?\.weight", key)
        if one:
            stacks.setdefault(f"blk.{layer}.ffn_{parts.get(one[2], one[2])}_exps.weight", {})[int(one[1])] = x
        elif key.endswith("e_score_correction_bias"):
            stacks[f"blk.{layer}.exp_probs_b.bias"] = dict(enumerate(x.reshape(-1)))
        elif key.endswith(("input_linear.weight", "output_linear.weight")):
            half = x.shape[1] // 2
            for part, rows in (("gate", x[:, :half]), ("up", x[:, half:])) if "input" in key else (("down", x),):
                stacks[f"blk.{layer}.ffn_{part}_exps.weight"] = dict(enumerate(rows))
        elif ".experts." in key:
            kind = "bias" if key.endswith("bias") else "weight"
            x = x if kind == "bias" else x.swapaxes(1, 2)
            for part, rows in (("gate", x[:, ::2]), ("up", x[:, 1::2])) if "gate_up" in key else (("down", x),):
                stacks[f"blk.{layer}.ffn_{part}_exps.{kind}"] = dict(enumerate(rows))
        else:
            rest[key + ".weight" if key.endswith("sinks") else key] = x
    return rest, {key: np.stack([x[i] for i in range(len(x))]) for key, x in stacks.items()}


def convert(name, kind):
    folder = HERE / "models" / name
    c, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    arch = ARCHITECTURES.get(c["model_type"], c["model_type"])
    w = gguf.GGUFWriter(OUT / f"{name}.{kind.name}.gguf", arch)
    head_dim, rope = write_metadata(w, arch, c)
    if rope["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(head_dim, rope))
    tensors, stacks = with_experts(with_latent(tensors, c) if arch == "deepseek2" else with_norms(tensors))
    for key, x in stacks.items():
        w.add_tensor(key, x.astype(np.float32 if key.endswith("bias") else np.float16))
    for key, x in tensors.items():
        x = converted(key, x.astype(np.float32), arch, c)
        if x.ndim == 1:
            w.add_tensor(gguf_name(key, arch), x)
        elif key.endswith("_norm.weight") or "ffn_gate_inp." in gguf_name(key, arch):
            w.add_tensor(gguf_name(key, arch), x)
        elif x.ndim == 3:
            w.add_tensor(gguf_name(key, arch), x.astype(np.float16))
        elif kind == T.F16 or x.shape[1] % 32:
            w.add_tensor(gguf_name(key, arch), x.astype(np.float16))
        else:
            w.add_tensor(gguf_name(key, arch), gguf.quants.quantize(x, kind), raw_dtype=kind)
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def set_half(blocks, at, value):
    half = np.array([value], np.float16).view(np.uint8)
    if blocks.shape[1] == 56:  # IQ1_M: a nibble on top of each of four words
        for i in range(4):
            blocks[:, at + 2 * i + 1] = blocks[:, at + 2 * i + 1] & 15 | half[i // 2] >> i % 2 * 4 << 4
    else:
        blocks[:, at:at + 2] = half


def random_matrix(rng, kind, rows, cols, deviation):
    """Random blocks of a type, scaled to a mean of 0 and a standard deviation: their bytes, and what they decode to."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    at, minimum, sign = FIELDS[kind.name]
    blocks = rng.integers(0, 256, (rows * cols // values, size), dtype=np.uint8)

    def decoded():
        return gguf.quants.dequantize(blocks, kind).reshape(rows, cols)

    if kind == T.NVFP4:  # 0x7f is 0
        scales = rng.integers(0x20, 0x40, (len(blocks), 4))
        blocks[:, :4] = np.where(scales < 0x22, 0x7F * (scales & 1), scales)
        return blocks.reshape(rows, -1), decoded()
    if at is None:
        blocks[:, 0] = 127 + round(np.log2(deviation / 3))
        return blocks.reshape(rows, -1), decoded()
    set_half(blocks, at, 1)
    if minimum is not None:
        set_half(blocks, minimum, 0)
        mean = decoded().mean()
        set_half(blocks, minimum, 1)
        shift = -mean / (decoded().mean() - mean)
        set_half(blocks, minimum, shift)
    scale = deviation / decoded().std()
    set_half(blocks, at, scale)
    if minimum is not None:
        set_half(blocks, minimum, shift * scale)
    return blocks.reshape(rows, -1), decoded()


def blocks_model(name, table, small, large):
    """Llama with matrices of these types; 32-value blocks, `small`, where rows are not multiples of 256."""
    rng = np.random.default_rng(7)
    torch.manual_seed(7)
    config = transformers.LlamaConfig(hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
                                      num_key_value_heads=1, head_dim=32, vocab_size=96, max_position_embeddings=64,
                                      rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", torch_dtype=torch.float32)
    small, large = iter(small), iter(large)
    c = config.to_dict()
    w = gguf.GGUFWriter(OUT / f"{name}.gguf", "llama")
    write_metadata(w, "llama", c)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.ndim == 1:
                p.copy_(1 + 0.3 * torch.randn_like(p))
                w.add_tensor(gguf_name(key), p.numpy())
                continue
            kind = table if "embed" in key or "head" in key else next(small if p.shape[1] % 256 else large)
            branch = 0.5 if "o_proj" in key or "down_proj" in key else 1
            deviation = 1 if "embed" in key else branch * p.shape[1] ** -0.5
            raw, x = random_matrix(rng, kind, *p.shape, deviation)
            for part, heads in (("q_proj", 2), ("k_proj", 1)):
                if part in key:  # x is what the file holds, with adjacent pairs
                    x = x.reshape(heads, 16, 2, -1).swapaxes(1, 2).reshape(x.shape)
            p.copy_(torch.from_numpy(np.ascontiguousarray(x)))
            w.add_tensor(gguf_name(key), raw, raw_dtype=kind)
    finish(w)
    ids = rng.integers(3, 96, 40).astype(np.int32)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].numpy()
    ids.tofile(OUT / f"{name}.tokens.i32")
    logits.astype(np.float32).tofile(OUT / f"{name}.logits.f32")
    print(f"{name}: max |logit| {np.abs(logits).max():.2f}")


def block_vectors():
    rng = np.random.default_rng(8)
    with open(OUT / "blocks.bin", "wb") as f:
        for name in FIELDS:
            raw, x = random_matrix(rng, T[name], 2, 256, 1)
            f.write(name.encode().ljust(8, b"\0") + struct.pack("<I", raw.size) + raw.tobytes() + x.astype("<f4").tobytes())


def fuzz_seeds():
    """tests/corpus/gguf: a file with values of every kind and a few tensors, and one with nothing."""
    folder = HERE.parent / "corpus" / "gguf"
    folder.mkdir(exist_ok=True)
    w = gguf.GGUFWriter(folder / "values", "llama")
    for number, kind in enumerate(("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")):
        getattr(w, f"add_{kind}")(kind, number + 1)
    w.add_bool("bool", True)
    w.add_token_list(["<s>", "a", "\u2581b"])
    w.add_token_scores([0.0, -1.0, -2.5])
    w.add_token_types([3, 1, 1])
    w.add_array("ints", [1, 2, 3])
    w.add_tensor("a", np.arange(4, dtype=np.float32))
    w.add_tensor("b", gguf.quants.quantize(np.ones((2, 32), np.float32), T.Q8_0), raw_dtype=T.Q8_0)
    w.add_tensor("c", np.zeros((2, 3, 4), np.float16))
    finish(w)
    w = gguf.GGUFWriter(folder / "aligned", "qwen2")
    w.add_custom_alignment(64)
    w.add_tensor("a", np.arange(3, dtype=np.float16))
    finish(w)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for model_name, model_type in MODELS:
        if not sys.argv[1:] or model_name in sys.argv[1:]:
            convert(model_name, model_type)
    if sys.argv[1:]:
        sys.exit()
    blocks_model("blocks", T.Q6_K, [T.Q4_1, T.Q5_0], [T.Q4_0, T.Q5_1, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.IQ4_XS, T.MXFP4,
                                                      T.IQ4_NL, T.Q8_0, T.Q6_K, T.Q4_K])
    blocks_model("grids", T.IQ3_S, [T.Q8_0] * 2, 2 * [T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS, T.IQ1_S, T.IQ1_M])
    block_vectors()
    fuzz_seeds()
