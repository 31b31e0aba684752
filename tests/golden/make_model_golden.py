#!/usr/bin/env python3
"""Tiny seeded checkpoints of every family, saved by Hugging Face transformers, and the logits it computes from them.

    pip install torch transformers safetensors
    python3 tests/golden/make_model_golden.py

Writes tests/golden/models/NAME/{config.json,model.safetensors,tokens.i32,logits.f32}: float16 weights as
save_pretrained writes them, N_TOKENS ids, and float32 logits (N_TOKENS, n_vocab) computed in float32 on those weights.
Weights are drawn wide enough that attention is far from uniform and every norm, bias and rope setting shows; what is
added to the residual stream is about half of it, as in trained models, so that rounding does not grow by chaos.
"""
import pathlib
import shutil

import numpy as np
import torch
import transformers
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

N_TOKENS = 40
ROOT = pathlib.Path(__file__).parent / "models"
BASE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=96, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False,
            bos_token_id=1, eos_token_id=2, pad_token_id=None, torch_dtype="float16")
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
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
    "qwen3-yarn": Qwen3Config(**BASE, head_dim=16, rope_parameters=dict(
        rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=16)),
}


def main():
    for number, (name, config) in enumerate(MODELS.items()):
        torch.manual_seed(1000 + number)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", torch_dtype=torch.float32)
        with torch.no_grad():
            for key, p in model.named_parameters():
                if "norm" in key:
                    p.copy_(1 + 0.3 * torch.randn_like(p))
                elif key.endswith("bias"):
                    p.copy_(0.3 * torch.randn_like(p))
                elif "embed" in key:
                    p.copy_(torch.randn_like(p))
                else:
                    branch = "o_proj" in key or "down_proj" in key
                    p.copy_(torch.randn_like(p) * (0.5 if branch else 1.0) * p.shape[-1] ** -0.5)
        folder = ROOT / name
        shutil.rmtree(folder, ignore_errors=True)
        model.half().save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        # Loaded again: half() also rounds the rope frequencies, which are no part of the file.
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", torch_dtype=torch.float32).eval()
        rng = np.random.default_rng(number)
        ids = rng.integers(3, config.vocab_size, N_TOKENS).astype(np.int32)
        with torch.no_grad():
            logits = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].float().numpy()
        ids.tofile(folder / "tokens.i32")
        logits.astype(np.float32).tofile(folder / "logits.f32")
        print(f"{name:20} max |logit| {np.abs(logits).max():.2f}")


if __name__ == "__main__":
    main()
