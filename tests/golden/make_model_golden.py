#!/usr/bin/env python3
"""Tiny seeded checkpoints of every family, saved by Hugging Face transformers, and the logits it computes from them.

    pip install torch transformers safetensors
    python3 tests/golden/make_model_golden.py [--out DIR] [NAME ...]

Writes tests/golden/models/NAME/{config.json,model.safetensors,tokens.i32,logits.f32}: float16 weights as
save_pretrained writes them, N_TOKENS ids, and float32 logits (N_TOKENS, n_vocab) computed in float32 on those weights.
Weights are drawn wide enough that attention is far from uniform and every norm, bias and rope setting shows; what is
added to the residual stream is about half of it, as in trained models, so that rounding does not grow by chaos.
Names that end in -v4 get the config.json that transformers 4 wrote, as most published models have it.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np
import safetensors.torch
import torch
import transformers
from transformers import (Cohere2Config, CohereConfig, DeepseekV2Config, DeepseekV3Config, Dots1Config,
                          Ernie4_5_MoeConfig, Ernie4_5Config, Exaone4Config, Gemma2Config, Gemma3Config,
                          Gemma3TextConfig, GemmaConfig, Glm4Config, Glm4MoeConfig, Glm4MoeLiteConfig, GlmConfig,
                          GPT2Config, GPTNeoXConfig, GptOssConfig, GraniteConfig, GraniteMoeConfig, InternLM3Config,
                          LlamaConfig, MiniMaxM2Config, Ministral3Config, Mistral3Config, MistralConfig,
                          MixtralConfig, Olmo2Config, Olmo3Config, OlmoeConfig,
                          Phi3Config, PhiConfig, PixtralVisionConfig, Qwen2_5_VLConfig, Qwen2Config, Qwen2MoeConfig,
                          Qwen3_5Config, Qwen3_5MoeTextConfig, Qwen3Config, Qwen3MoeConfig, Qwen3NextConfig,
                          Qwen3VLConfig, Qwen3VLMoeConfig, SeedOssConfig,
                          SiglipVisionConfig, SmolLM3Config, StableLmConfig, Starcoder2Config)

N_TOKENS = 40
ROOT = pathlib.Path(__file__).parent / "models"
IDS = dict(vocab_size=96, bos_token_id=1, eos_token_id=2, pad_token_id=None, torch_dtype="float16")
BASE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False, **IDS)
WIDE = {**BASE, "intermediate_size": 64, "head_dim": 16}
SQUARE = {**BASE, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}  # no head_dim of their own
LAYER_NORM = {**{k: v for k, v in SQUARE.items() if k != "rms_norm_eps"}, "layer_norm_eps": 1e-5}
GEMMA = {**WIDE, "tie_word_embeddings": True}
GEMMA3 = {**GEMMA, "num_hidden_layers": 7, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32,
          "query_pre_attn_scalar": 16, "sliding_window": 8}
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
TWO_ROPES = dict(full_attention=dict(rope_type="linear", rope_theta=1e5, factor=4.0),
                 sliding_attention=dict(rope_type="default", rope_theta=1e2))
LONG = dict(rope_type="longrope", rope_theta=1e4, short_factor=[1.0, 1.1, 1.3, 1.4, 1.6, 1.9, 2.0, 2.5],
            long_factor=[1.0, 1.5, 2.5, 4.0, 6.0, 7.0, 9.0, 12.0])
EXPERTS = {**WIDE, "intermediate_size": 32, "num_experts_per_tok": 2}
QWEN_MOE = {**EXPERTS, "intermediate_size": 64, "moe_intermediate_size": 32, "num_experts": 6}
MLA = {**EXPERTS, "intermediate_size": 64, "num_attention_heads": 2, "moe_intermediate_size": 32, "n_routed_experts": 8,
       "n_shared_experts": 2, "first_k_dense_replace": 1, "kv_lora_rank": 32, "qk_nope_head_dim": 16,
       "qk_rope_head_dim": 16, "v_head_dim": 16}
del MLA["head_dim"]
MROPE = dict(rope_type="default", rope_theta=1e4, mrope_section=[4, 2, 2])  # of time, height, width
VISION = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, patch_size=4, spatial_merge_size=1,
              temporal_patch_size=1, out_hidden_size=32, deepstack_visual_indexes=[], num_position_embeddings=4)
DELTA = dict(head_dim=16, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32,
             linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=12, linear_value_head_dim=8,
             rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5))
SMALL = {"intermediate_size": 32}
MOE = {**EXPERTS, **SMALL, "num_attention_heads": 2, "num_key_value_heads": 1, "moe_intermediate_size": 16}
SHARED_MOE = {**MOE, "n_routed_experts": 6, "n_shared_experts": 1, "first_k_dense_replace": 1, "norm_topk_prob": True,
              "routed_scaling_factor": 1.5}
MLA3 = {**MLA, **SMALL, "moe_intermediate_size": 16, "n_shared_experts": 1}
YARN = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=16)
MODELS = {
    "llama-mha": LlamaConfig(**{**BASE, "num_key_value_heads": 4}),
    "llama-tied-biases": LlamaConfig(**{**BASE, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama-rope3": LlamaConfig(**BASE, rope_parameters=LLAMA3),
    "llama-rope-linear": LlamaConfig(**BASE, rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=4.0)),
    "mistral-window": MistralConfig(**BASE, sliding_window=8),
    "mistral-head-dim": MistralConfig(**BASE, head_dim=16, sliding_window=None),
    "qwen2-tied": Qwen2Config(**{**BASE, "tie_word_embeddings": True}),
    "qwen2-window": Qwen2Config(**BASE, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen3": Qwen3Config(**BASE, head_dim=16),
    "qwen3-yarn": Qwen3Config(**BASE, head_dim=16, rope_parameters=YARN),
    "gemma": GemmaConfig(**{**GEMMA, "num_key_value_heads": 1}),
    "gemma2": Gemma2Config(**GEMMA, query_pre_attn_scalar=16, sliding_window=8, attn_logit_softcapping=2.0,
                           final_logit_softcapping=20.0),
    "gemma2-scale": Gemma2Config(**GEMMA, query_pre_attn_scalar=30, sliding_window=8, attn_logit_softcapping=None,
                                 final_logit_softcapping=None),
    "gemma3-v4": Gemma3TextConfig(**GEMMA3, rope_parameters=TWO_ROPES),
    "gemma3-vision": Gemma3Config(
        text_config=Gemma3TextConfig(**{**GEMMA3, "num_hidden_layers": 3}, rope_parameters=TWO_ROPES,
                                     layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
        vision_config=SiglipVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                                         image_size=8, patch_size=4), torch_dtype="float16"),
    "phi3": Phi3Config(**SQUARE, sliding_window=9),
    "phi3-long-v4": Phi3Config(**SQUARE, original_max_position_embeddings=16, rope_parameters=LONG),
    "phi3-short": Phi3Config(**{**SQUARE, "tie_word_embeddings": True, "max_position_embeddings": 256},
                             original_max_position_embeddings=64, rope_parameters={
        **LONG, "partial_rotary_factor": 0.75, "short_factor": LONG["short_factor"][:6],
        "long_factor": LONG["long_factor"][:6]}),
    "phi": PhiConfig(**LAYER_NORM, rope_parameters=dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "gpt2": GPT2Config(n_embd=32, n_head=2, n_layer=2, n_positions=64, **IDS),
    "neox-parallel-v4": GPTNeoXConfig(**{k: v for k, v in LAYER_NORM.items() if k != "num_key_value_heads"},
                                      rope_parameters=dict(rope_theta=1e3, partial_rotary_factor=0.25)),
    "neox-serial": GPTNeoXConfig(**{k: v for k, v in LAYER_NORM.items() if k != "num_key_value_heads"},
                                 use_parallel_residual=False, attention_bias=False,
                                 rope_parameters=dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "olmo2": Olmo2Config(**{**SQUARE, "num_key_value_heads": 1}),
    "smollm3": SmolLM3Config(**{**SQUARE, "num_hidden_layers": 3, "tie_word_embeddings": True}, no_rope_layers=[0, 1, 1]),
    "smollm3-interval-v4": SmolLM3Config(**{**SQUARE, "num_hidden_layers": 4, "intermediate_size": 32},
                                         no_rope_layer_interval=2),
    "stablelm": StableLmConfig(**LAYER_NORM, use_qkv_bias=True),
    "stablelm-parallel-v4": StableLmConfig(**LAYER_NORM, use_parallel_residual=True,
                                           rope_parameters=dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "granite": GraniteConfig(**{**SQUARE, "num_key_value_heads": 1, "tie_word_embeddings": True}, embedding_multiplier=3.0,
                             logits_scaling=4.0, residual_multiplier=0.6, attention_multiplier=0.4),
    "mixtral": MixtralConfig(**EXPERTS, num_local_experts=4),
    "qwen2-moe": Qwen2MoeConfig(**{k: v for k, v in QWEN_MOE.items() if k != "head_dim"}, mlp_only_layers=[0],
                                shared_expert_intermediate_size=32),
    "qwen3-moe": Qwen3MoeConfig(**QWEN_MOE, norm_topk_prob=True),
    "qwen3-moe-sparse": Qwen3MoeConfig(**QWEN_MOE, norm_topk_prob=False, decoder_sparse_step=2),
    "deepseek-v2-lite": DeepseekV2Config(**MLA, q_lora_rank=None, rope_parameters={
        **YARN, "mscale": 1.0, "mscale_all_dim": 0.8}),
    "deepseek-v2-groups": DeepseekV2Config(**{**MLA, "num_experts_per_tok": 3}, q_lora_rank=32, n_group=4, topk_group=2,
                                           topk_method="group_limited_greedy", routed_scaling_factor=2.5),
    "gpt-oss": GptOssConfig(**EXPERTS, num_local_experts=4, sliding_window=8,
                            rope_parameters={**YARN, "rope_theta": 20.0, "truncate": False}),
    "qwen3-vl": Qwen3VLConfig(text_config={**BASE, "head_dim": 16, "rope_parameters": MROPE}, vision_config=VISION,
                              torch_dtype="float16"),
    "qwen3-vl-moe": Qwen3VLMoeConfig(text_config={**QWEN_MOE, "num_experts": 4, "moe_intermediate_size": 40,
                                                  "rope_parameters": MROPE}, vision_config=VISION, torch_dtype="float16"),
    "qwen2.5-vl": Qwen2_5_VLConfig(text_config={**BASE, "rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}},
                                   vision_config={**VISION, "out_hidden_size": 32}, torch_dtype="float16"),
    "mistral3": Mistral3Config(text_config=MistralConfig(**BASE, head_dim=16, sliding_window=None),
                               vision_config=PixtralVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                                                 num_attention_heads=2, image_size=8, patch_size=4),
                               tie_word_embeddings=False, torch_dtype="float16"),
    "deepseek-v2-yarn": DeepseekV2Config(**{**MLA, "kv_lora_rank": 48, "n_routed_experts": 4},
                                         q_lora_rank=None, rope_parameters={**YARN, "mscale": 0.8, "mscale_all_dim": 0.8}),
    "seed-oss": SeedOssConfig(**{**BASE, "intermediate_size": 32}, head_dim=16, attention_bias=True,
                              attention_out_bias=False),
    "internlm3": InternLM3Config(**BASE, head_dim=16),
    "starcoder2": Starcoder2Config(**{k: v for k, v in SQUARE.items() if k not in ("rms_norm_eps", "tie_word_embeddings")},
                                   sliding_window=9),
    "glm": GlmConfig(**SQUARE, head_dim=16, rope_parameters=dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "glm4": Glm4Config(**SQUARE, head_dim=16, rope_parameters=dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "cohere": CohereConfig(**{**LAYER_NORM, "tie_word_embeddings": True}, logit_scale=0.25),
    "cohere2": Cohere2Config(**{**LAYER_NORM, "num_hidden_layers": 4, "intermediate_size": 32,
                                "tie_word_embeddings": True}, head_dim=16, sliding_window=8, logit_scale=0.25),
    "exaone4": Exaone4Config(**{**SQUARE, "num_hidden_layers": 4, "intermediate_size": 32}, sliding_window=8,
                             sliding_window_pattern=4),
    "olmo3": Olmo3Config(**SQUARE, sliding_window=8, layer_types=["sliding_attention", "full_attention"],
                         rope_parameters=dict(full_attention={**YARN, "rope_theta": 5e5},
                                              sliding_attention=dict(rope_type="default", rope_theta=5e5))),
    "olmoe": OlmoeConfig(**{**SQUARE, "intermediate_size": 32}, num_experts=6, num_experts_per_tok=2),
    "granite-moe": GraniteMoeConfig(**{**SQUARE, "intermediate_size": 32, "tie_word_embeddings": True}, num_local_experts=4,
                                    num_experts_per_tok=2, embedding_multiplier=3.0, logits_scaling=4.0,
                                    residual_multiplier=0.6, attention_multiplier=0.4),
    "smollm3-four": SmolLM3Config(**{**SQUARE, "num_hidden_layers": 4, "intermediate_size": 32}),
    "stablelm-norms": StableLmConfig(**{**LAYER_NORM, "num_attention_heads": 4, "num_key_value_heads": 2},
                                     use_parallel_residual=True, qk_layernorm=True,
                                     rope_parameters=dict(rope_theta=1e4, partial_rotary_factor=0.25)),
    "cohere-norms": CohereConfig(**{**LAYER_NORM, "num_attention_heads": 4, "num_key_value_heads": 2,
                                    "tie_word_embeddings": True}, logit_scale=0.25, use_qk_norm=True),
    "deepseek-v3": DeepseekV3Config(**{**MLA3, "num_experts_per_tok": 3}, q_lora_rank=32, n_group=4, topk_group=2,
                                    routed_scaling_factor=2.5, rope_parameters={**YARN, "mscale": 1.0,
                                                                                "mscale_all_dim": 1.0}),
    "glm4-moe-lite": Glm4MoeLiteConfig(**{**MLA3, "n_routed_experts": 4}, q_lora_rank=16, routed_scaling_factor=1.8),
    "glm4-moe": Glm4MoeConfig(**SHARED_MOE, attention_bias=True, use_qk_norm=True,
                              rope_parameters=dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "dots1": Dots1Config(**SHARED_MOE, sliding_window=None),
    "ernie4.5": Ernie4_5Config(**{**WIDE, **SMALL, "tie_word_embeddings": True}, use_bias=False),
    "ernie4.5-moe": Ernie4_5_MoeConfig(**{**{k: v for k, v in MOE.items() if k not in ("num_experts_per_tok", "head_dim")},
                                          "tie_word_embeddings": True}, moe_k=2, moe_num_experts=6,
                                       moe_num_shared_experts=1, moe_layer_start_index=1, moe_layer_end_index=1),
    "minimax-m2": MiniMaxM2Config(**{**MOE, "intermediate_size": 16}, num_local_experts=6,
                                  rope_parameters=dict(rope_theta=1e4, partial_rotary_factor=0.5)),
    "ministral3": Ministral3Config(**{**WIDE, **SMALL}, rope_parameters={
        **YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 48,
        "llama_4_scaling_beta": 0.1}),
    "internlm2": LlamaConfig(**{**BASE, **SMALL, "num_attention_heads": 8, "rms_norm_eps": 1e-6}, head_dim=4),
    "minicpm": GraniteConfig(**{**SQUARE, "intermediate_size": 32, "tie_word_embeddings": True}, embedding_multiplier=3.0,
                             logits_scaling=4.0, residual_multiplier=1.4 / 2 ** 0.5, attention_multiplier=0.25),
    "qwen3-next": Qwen3NextConfig(**{**BASE, **DELTA}, moe_intermediate_size=32, shared_expert_intermediate_size=32,
                                  num_experts=4, num_experts_per_tok=2, decoder_sparse_step=2),
    "qwen3.5": Qwen3_5Config(text_config={**BASE, **DELTA, "linear_num_value_heads": 6, "linear_value_head_dim": 16,
                                          "tie_word_embeddings": True},
                             vision_config={k: v for k, v in VISION.items() if k != "deepstack_visual_indexes"},
                             tie_word_embeddings=True, torch_dtype="float16"),
    "qwen3.5-moe": Qwen3_5MoeTextConfig(**{**BASE, **DELTA, "linear_num_value_heads": 2, "num_hidden_layers": 3},
                                        layer_types=["linear_attention", "full_attention", "linear_attention"],
                                        moe_intermediate_size=32, shared_expert_intermediate_size=32, num_experts=4,
                                        num_experts_per_tok=2),
}
BRANCHES = ("o_proj", "down_proj", "dense.weight", "dense_4h_to_h", "fc2", "c_proj", "out_proj")


def draw(model, config):
    """Fills the parameters."""
    delta = config.model_type.startswith(("qwen3_next", "qwen3_5"))
    choice = [(k, b) for k, b in model.named_buffers() if k.endswith("e_score_correction_bias")]
    for key, p in [*model.named_parameters(), *choice]:
        noise = torch.randn_like(p)
        one_plus = config.model_type.startswith("gemma") or delta and "linear_attn.norm" not in key
        if key.endswith("e_score_correction_bias"):
            p.copy_(0.1 * noise)
        elif key.endswith(("bias", "sinks")):
            p.copy_(0.3 * noise)
        elif key.endswith("A_log"):  # heads that forget slowly, and others at once
            p.copy_(-2 + 1.5 * noise)
        elif "norm" in key or "ln_" in key:
            branch = config.model_type in ("olmo2", "olmo3", "exaone4") and "post_" in key
            branch |= "post_self_attn" in key or "post_mlp" in key
            many = branch and config.num_hidden_layers > 2
            p.copy_((0 if one_plus else 0.5 if branch else 1) * (0.5 if many else 1) + (0.1 if many else 0.3) * noise)
        elif "embed" in key or "wte" in key or "wpe" in key:
            p.copy_(noise)
        else:
            transposed = config.model_type == "gpt2" or "experts" in key and config.model_type == "gpt_oss"
            router = key.endswith(("mlp.gate.weight", "router.weight", "router.layer.weight"))
            scale = 0.5 if any(b in key for b in BRANCHES) else 2.0 if router else 1.0
            if "experts" in key and config.model_type == "gpt_oss":  # some are beyond the clamp at 7
                scale = 4.0 if "gate_up" in key else 0.05
            p.copy_(noise * scale * p.shape[-2 if transposed else -1] ** -0.5)


def older(c):
    """Rewrites the keys of a config.json as transformers 4 named them."""
    for key in ("layer_types", "no_rope_layers", "_sliding_window_pattern"):
        c.pop(key, None)
    c["torch_dtype"] = c.pop("dtype")
    rope = c.pop("rope_parameters")
    if "full_attention" in rope:
        c["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    neox = c["model_type"] == "gpt_neox"
    c["rotary_emb_base" if neox else "rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        c["rotary_pct" if neox else "partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    kind = rope.pop("rope_type")
    rope.pop("original_max_position_embeddings", None)
    c["rope_scaling"] = None if kind == "default" else {"type" if c["model_type"] == "phi3" else "rope_type": kind, **rope}
    return c


def transpose_experts(path):
    """As the published files have them; transformers 5 loads both forms and saves the other."""
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({k: v.transpose(1, 2).contiguous() if ".experts." in k else v for k, v in tensors.items()},
                                path, metadata={"format": "pt"})


def publish(folder):
    """As Qwen3.5 is published: behind the names of a model that also sees pictures, experts of a layer in one tensor,
    and with tensors that nobody here uses."""
    tensors, path = {}, folder / "model.safetensors"
    given = {k.replace("model.", "model.language_model.", 1): v for k, v in safetensors.torch.load_file(path).items()}
    for key, v in given.items():
        stem, experts, rest = key.partition(".experts.")
        if not experts:
            tensors[key] = v
        elif rest == "0.gate_proj.weight":
            n = sum(k.startswith(stem + ".experts.") for k in given) // 3
            each = [[given[f"{stem}.experts.{i}.{m}_proj.weight"] for i in range(n)] for m in ("gate", "up", "down")]
            tensors[stem + ".experts.gate_up_proj"] = torch.stack([torch.cat(p) for p in zip(*each[:2])])
            tensors[stem + ".experts.down_proj"] = torch.stack(each[2])
    tensors["model.visual.merger.norm.weight"] = torch.ones(2, dtype=torch.float16)
    tensors["mtp.fc.weight"] = torch.ones(2, dtype=torch.float16)
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    text = json.loads((folder / "config.json").read_text())
    config = dict(architectures=[text.pop("architectures")[0].replace("CausalLM", "ConditionalGeneration")],
                  model_type=text["model_type"].removesuffix("_text"), text_config=text,
                  tie_word_embeddings=text["tie_word_embeddings"])
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


INTERNLM2 = {"embed_tokens": "tok_embeddings", "input_layernorm": "attention_norm", "self_attn.o_proj": "attention.wo",
             "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
             "mlp.down_proj": "feed_forward.w2", "lm_head": "output"}


def as_internlm2(folder, config):
    """A Llama in the names of InternLM 2, which transformers has no class for: of each KV head its queries, key, value."""
    tensors, out = safetensors.torch.load_file(folder / "model.safetensors"), {}
    for key, x in tensors.items():
        if "q_proj" in key:
            parts = [tensors[key.replace("q_proj", f"{p}_proj")].view(config.num_key_value_heads, -1, x.shape[1])
                     for p in "qkv"]
            key, x = key.replace("self_attn.q_proj", "attention.wqkv"), torch.cat(parts, 1).reshape(-1, x.shape[1])
        for old, new in INTERNLM2.items():
            key = key.replace(old, new)
        if "k_proj" not in key and "v_proj" not in key:
            out[key] = x.contiguous()
    safetensors.torch.save_file(out, folder / "model.safetensors", metadata={"format": "pt"})
    c = older(json.loads((folder / "config.json").read_text()))
    c.update(model_type="internlm2", architectures=["InternLM2ForCausalLM"], bias=False,
             rope_scaling={"type": "dynamic", "factor": 2.0})
    for key in ("attention_bias", "mlp_bias"):
        c.pop(key)
    (folder / "config.json").write_text(json.dumps(c, indent=2, sort_keys=True) + "\n")


def as_minicpm(folder):
    """A Granite in the words of MiniCPM, which transformers has no class for."""
    c = older(json.loads((folder / "config.json").read_text()))
    c.update(model_type="minicpm", architectures=["MiniCPMForCausalLM"], scale_emb=c.pop("embedding_multiplier"),
             scale_depth=c.pop("residual_multiplier") * c["num_hidden_layers"] ** 0.5,
             dim_model_base=c["hidden_size"] / c.pop("logits_scaling"))
    c.pop("attention_multiplier")
    (folder / "config.json").write_text(json.dumps(c, indent=2, sort_keys=True) + "\n")


def closest_choice(model, ids):
    """Smallest distance between router logits of an expert that was chosen and one that was not: rounding must not
    change the choice.  Group-limited routing also counts the groups.  Where a bias counts in the choice: between scores
    with it, four times, which is what logits have to move at least."""
    gaps = [float("inf")]

    def hook(module, inputs, output):
        logits = output[0].float()
        k, groups, best_of_group = module.top_k, getattr(module, "num_group", None), 1
        if hasattr(module, "moe_statics"):
            logits = 4 * module.moe_statics(logits.softmax(-1))
        elif hasattr(module, "e_score_correction_bias") or len(inputs) > 1:
            bias = module.e_score_correction_bias if len(inputs) == 1 else inputs[1]
            logits, best_of_group = 4 * (logits.sigmoid() + bias), 2
        if groups and groups > 1:
            best = logits.view(len(logits), groups, -1).topk(best_of_group, -1).values.sum(-1)
            top = best.sort(-1, descending=True).values
            gaps.append((top[:, module.topk_group - 1] - top[:, module.topk_group]).min().item())
            kept = best >= top[:, module.topk_group - 1:module.topk_group]
            logits = logits.masked_fill(~kept.repeat_interleave(logits.shape[-1] // groups, -1), -1e9)
        top = logits.sort(-1, descending=True).values
        gaps.append((top[:, k - 1] - top[:, k]).min().item())

    hooks = [m.register_forward_hook(hook) for m in model.modules() if type(m).__name__.lower().endswith("topkrouter")]
    with torch.no_grad():
        logits = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].float().numpy()
    for h in hooks:
        h.remove()
    return min(gaps), logits


def make(name, number, out):
    config = MODELS[name]
    torch.manual_seed(1000 + number)
    # Models that also see pictures are another class, whose text alone is asked here.
    auto = (transformers.AutoModelForCausalLM if type(config) in transformers.AutoModelForCausalLM._model_mapping
            else transformers.AutoModelForImageTextToText)
    model = auto.from_config(config, attn_implementation="eager", torch_dtype=torch.float32)
    with torch.no_grad():
        draw(model, config)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name == "qwen3-vl-moe":
        transpose_experts(folder / "model.safetensors")
    if name.endswith("-v4"):
        path = folder / "config.json"
        path.write_text(json.dumps(older(json.loads(path.read_text())), indent=2, sort_keys=True) + "\n")
    # Loaded again: half() also rounds the rope frequencies, which are no part of the file.
    model = auto.from_pretrained(folder, attn_implementation="eager", torch_dtype=torch.float32).eval()
    best, n_vocab = -1.0, config.get_text_config().vocab_size
    for attempt in range(200):
        ids = np.random.default_rng(number + 1000 * attempt).integers(3, n_vocab, N_TOKENS).astype(np.int32)
        gap, logits = closest_choice(model, ids)
        if gap > best:
            best, chosen, values = gap, ids, logits
        if gap > 0.05:
            break
    if name == "internlm2":
        as_internlm2(folder, config)
    if name == "minicpm":
        as_minicpm(folder)
    chosen.tofile(folder / "tokens.i32")
    values.astype(np.float32).tofile(folder / "logits.f32")
    if name.startswith("qwen3.5"):
        publish(folder)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{name:20} {size:7} bytes  max |logit| {np.abs(values).max():.2f}" +
          (f"  closest choice of experts {best:.3f}" if best < float("inf") else ""))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=ROOT)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    for number, name in enumerate(MODELS):
        if not options.names or name in options.names:
            make(name, number, options.out)


if __name__ == "__main__":
    main()
