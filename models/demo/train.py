#!/usr/bin/env python3
"""Trains the bundled demo model: a 7.3M-parameter Llama on public-domain tales.

    python3 train.py --corpus corpus.txt.xz --valid valid.txt --out .

Writes tokenizer.json, config.json, model.safetensors (bf16, HF layout) and
training.csv (step, tokens, train loss, held-out loss) into --out.  The text is
a stream of documents separated by <|endoftext|>; a batch is a set of random
windows of that stream.  Matrices are trained with Muon, everything else with
AdamW; the rate is constant after a warm-up and falls linearly to zero over the
last --decay steps, in windows of the full context.  CPU only, bf16 autocast.
"""
import argparse
import json
import lzma
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

EOT = "<|endoftext|>"
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CONFIG = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
    hidden_size=256, intermediate_size=768, num_hidden_layers=8,
    num_attention_heads=4, num_key_value_heads=2, head_dim=64,
    vocab_size=4096, max_position_embeddings=1024, rms_norm_eps=1e-5,
    rope_theta=10000.0, rope_scaling=None, tie_word_embeddings=True,
    attention_bias=False, mlp_bias=False, bos_token_id=0, eos_token_id=0,
    torch_dtype="bfloat16")


def train_tokenizer(text, path):
    """Byte-level BPE of CONFIG['vocab_size'] entries, Llama-3 split, BOS = EOT."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"], special_tokens=[EOT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator(text.split(EOT), trainer)
    tok.post_processor = processors.TemplateProcessing(
        single=f"{EOT} $A", pair=f"{EOT} $A {EOT} $B", special_tokens=[(EOT, 0)])
    tok.save(path)
    return tok


def encode(tok, text):
    docs = [d.strip("\n") for d in text.split(EOT)]
    ids = []
    for e in tok.encode_batch([d for d in docs if d], add_special_tokens=False):
        ids.append(0)
        ids.extend(e.ids)
    return np.array(ids, dtype=np.uint16)


class Llama(torch.nn.Module):
    """Same math and tensor names as HF LlamaForCausalLM, with tied embeddings."""

    def __init__(self, c):
        super().__init__()
        d, f, n = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
        self.h, self.kv, self.hd = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.n, self.eps = n, c["rms_norm_eps"]
        p = {"model.embed_tokens.weight": torch.randn(c["vocab_size"], d) * 0.02,
             "model.norm.weight": torch.ones(d)}
        for l in range(n):
            r = f"model.layers.{l}."
            p[r + "input_layernorm.weight"] = torch.ones(d)
            p[r + "post_attention_layernorm.weight"] = torch.ones(d)
            for name, rows, cols in (
                    ("self_attn.q_proj", self.h * self.hd, d), ("self_attn.k_proj", self.kv * self.hd, d),
                    ("self_attn.v_proj", self.kv * self.hd, d), ("self_attn.o_proj", d, self.h * self.hd),
                    ("mlp.gate_proj", f, d), ("mlp.up_proj", f, d), ("mlp.down_proj", d, f)):
                std = cols ** -0.5
                if name.endswith(("o_proj", "down_proj")):
                    std /= math.sqrt(2 * n)
                p[r + name + ".weight"] = torch.randn(rows, cols) * std
        self.names = list(p)
        self.w = torch.nn.ParameterList([torch.nn.Parameter(p[k]) for k in self.names])
        inv = c["rope_theta"] ** (-torch.arange(0, self.hd, 2).float() / self.hd)
        a = torch.outer(torch.arange(c["max_position_embeddings"]).float(), inv)
        self.register_buffer("cos", torch.cat([a.cos(), a.cos()], 1))
        self.register_buffer("sin", torch.cat([a.sin(), a.sin()], 1))

    def norm(self, x, w):
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * w

    def rope(self, x):
        t = x.shape[2]
        x1, x2 = x.float().chunk(2, -1)
        return x.float() * self.cos[:t] + torch.cat([-x2, x1], -1) * self.sin[:t]

    def forward(self, ids):
        w = dict(zip(self.names, self.w))
        b, t = ids.shape
        emb = w["model.embed_tokens.weight"]
        x = F.embedding(ids, emb)
        for l in range(self.n):
            r = f"model.layers.{l}."
            y = self.norm(x, w[r + "input_layernorm.weight"])
            q, k, v = (F.linear(y, w[r + f"self_attn.{n}_proj.weight"]).view(b, t, -1, self.hd).transpose(1, 2)
                       for n in "qkv")
            q, k = self.rope(q).to(v.dtype), self.rope(k).to(v.dtype)
            g = self.h // self.kv
            k, v = k.repeat_interleave(g, 1), v.repeat_interleave(g, 1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.linear(y.transpose(1, 2).reshape(b, t, -1), w[r + "self_attn.o_proj.weight"])
            y = self.norm(x, w[r + "post_attention_layernorm.weight"])
            y = F.silu(F.linear(y, w[r + "mlp.gate_proj.weight"])) * F.linear(y, w[r + "mlp.up_proj.weight"])
            x = x + F.linear(y, w[r + "mlp.down_proj.weight"])
        return F.linear(self.norm(x, w["model.norm.weight"]), emb)


def loss_of(model, x, y):
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x)
    return F.cross_entropy(logits.float().reshape(-1, logits.shape[-1]), y.reshape(-1))


def windows(data, n, t, rng):
    at = rng.integers(0, len(data) - t - 1, n)
    block = np.stack([data[i:i + t + 1] for i in at]).astype(np.int64)
    return torch.from_numpy(block[:, :-1].copy()), torch.from_numpy(block[:, 1:].copy())


@torch.no_grad()
def held_out(model, data, t, most=10**9):
    total = count = 0
    for i in range(0, min(len(data) - t - 1, most), 8 * t):
        rows = [data[j:j + t + 1] for j in range(i, i + 8 * t, t) if j + t + 1 <= len(data)]
        if rows:
            block = torch.from_numpy(np.stack(rows).astype(np.int64))
            total += loss_of(model, block[:, :-1], block[:, 1:]).item() * len(rows)
            count += len(rows)
    return total / count


def save(model, out):
    save_file({k: v.detach().to(torch.bfloat16).contiguous() for k, v in zip(model.names, model.w)},
              os.path.join(out, "model.safetensors.new"), metadata={"format": "pt"})
    os.replace(os.path.join(out, "model.safetensors.new"), os.path.join(out, "model.safetensors"))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--corpus", required=True)
    ap.add_argument("--valid", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--steps", type=int, default=10**6, help="first step of the decay; a file OUT/decay starts it now")
    ap.add_argument("--decay", type=int, default=1000, help="steps of linear decay to zero")
    ap.add_argument("--batch", type=int, default=4096, help="tokens a step")
    ap.add_argument("--context", type=int, default=512, help="window before the decay; full context during it")
    ap.add_argument("--lr", type=float, default=0.015, help="of Muon; AdamW runs at 0.15 of it")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    rng = np.random.default_rng(a.seed)
    text = lzma.open(a.corpus, "rt", encoding="utf-8").read()
    path = os.path.join(a.out, "tokenizer.json")
    tok = Tokenizer.from_file(path) if os.path.exists(path) else train_tokenizer(text, path)
    train, valid = encode(tok, text), encode(tok, open(a.valid, encoding="utf-8").read())
    print(f"{len(train)} training tokens, {len(valid)} held out, {len(text) / len(train):.2f} characters a token", flush=True)
    with open(os.path.join(a.out, "config.json"), "w") as f:
        json.dump(CONFIG, f, indent=1)
        f.write("\n")
    model = Llama(CONFIG)
    mats = [p for n, p in zip(model.names, model.w) if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in zip(model.names, model.w) if p.ndim != 2 or "embed" in n]
    opts = [torch.optim.Muon(mats, lr=a.lr, momentum=0.95, weight_decay=0.05),
            torch.optim.AdamW(rest, lr=0.15 * a.lr, betas=(0.9, 0.95), weight_decay=0.0)]
    base = [o.param_groups[0]["lr"] for o in opts]
    print(sum(p.numel() for p in model.w), "parameters", flush=True)
    log = open(os.path.join(a.out, "training.csv"), "w")
    print("step,tokens,train_loss,held_out_loss", file=log, flush=True)
    full, start, tokens, run = CONFIG["max_position_embeddings"], time.time(), 0, 0.0
    step, decay_from = 0, a.steps
    fast = torch.compile(model)
    while step <= decay_from + a.decay:
        if step < decay_from and os.path.exists(os.path.join(a.out, "decay")):
            decay_from = step
        left = 1.0 if step < decay_from else (decay_from + a.decay - step) / a.decay
        scale = min(1.0, (step + 1) / 100) * left
        for o, lr in zip(opts, base):
            o.param_groups[0]["lr"] = lr * scale
        t = a.context if step < decay_from else full
        x, y = windows(train, a.batch // t, t, rng)
        loss = loss_of(fast, x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        tokens += a.batch
        run = loss.item() if step == 0 else 0.98 * run + 0.02 * loss.item()
        last = step == decay_from + a.decay
        if step % 250 == 0 or last:
            v = held_out(model, valid, full, 10**9 if last else 40000)
            print(f"{step},{tokens},{run:.4f},{v:.4f}", file=log, flush=True)
            print(f"step {step} tokens {tokens} train {run:.4f} held-out {v:.4f} {(time.time() - start) / (step + 1):.2f} s/step", flush=True)
            save(model, a.out)
        step += 1


if __name__ == "__main__":
    main()
