#!/usr/bin/env python3
"""Holds the figures of `llmrun compare` against a computation of its own; run by hand (numpy, torch, transformers).

For some pieces of the evaluation text, one window each, every figure is computed in double precision from the logits that
`llmrun run --logits` writes, and must equal the one of --json within 1e-5 (relative where it is above 1).  Then the
perplexity of the f32 reference over many windows must equal that of Hugging Face transformers within 0.1 %.

    python3 tests/golden/check_compare.py [build/llmrun] [models/demo]
"""
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

LLMRUN = sys.argv[1] if len(sys.argv) > 1 else "build/llmrun"
MODEL = sys.argv[2] if len(sys.argv) > 2 else "models/demo"
TEXT = Path("models/demo/eval.txt")
MODES = ["f16", "q8_0", "q4_k", "iq4_nl", "nf4"]
WINDOW, HF_WINDOW, HF_TOKENS = 1024, 512, 20000


def llmrun(*arguments):
    return subprocess.run([LLMRUN, *arguments], stdin=subprocess.DEVNULL, check=True, capture_output=True, text=True).stdout


def compare(*arguments):
    return json.loads(llmrun("compare", "--model", MODEL, "--json", *arguments))


def ids_of(path, *arguments):
    return [int(i) for i in llmrun("tokenize", "--model", MODEL, "--ids", "-f", str(path), *arguments).split()]


def ln_probabilities(folder, piece, quant, kv):
    out = folder / "logits.npy"
    llmrun("run", "--model", MODEL, "--raw", "-f", str(piece), "-c", str(WINDOW), "--quant", quant, "--kv", kv, "--logits", str(out))
    x = np.load(out).astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def figures(p, q, targets):
    """p, q: ln probabilities (positions, vocabulary) of reference and mode; targets: the id that came at each position."""
    at = np.arange(len(targets))
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    nll, n = -q[at, targets], len(targets)
    same = p.argmax(axis=1) == q.argmax(axis=1)
    error = lambda v: v.std(ddof=1) / math.sqrt(n)
    return {
        "n": n, "perplexity": math.exp(nll.mean()), "perplexity_error": math.exp(nll.mean()) * error(nll),
        "ln_perplexity_ratio": (p[at, targets] - q[at, targets]).mean(),
        "ln_perplexity_ratio_error": error(p[at, targets] - q[at, targets]),
        "kl_mean": kl.mean(), "kl_mean_error": error(kl), "kl_median": np.median(kl), "kl_99": np.quantile(kl, 0.99),
        "kl_max": kl.max(), "same_top": same.mean(), "same_top_error": error(same),
        "rms_dp": math.sqrt(((np.exp(q) - np.exp(p))[at, targets] ** 2).mean()),
    }


def check_pieces(folder):
    text, worst = TEXT.read_text(), {}
    for start in (0, 60000, 150000):
        piece = folder / "piece.txt"
        piece.write_text(text[start:start + 3000])
        ids = ids_of(piece)
        assert len(ids) <= WINDOW, "a piece is one window"
        document = compare("--text", str(piece), "-c", str(WINDOW), "--modes", ",".join(MODES))
        assert document["windows"] == 1 and document["predicted_tokens"] == len(ids) - 1
        p, targets = ln_probabilities(folder, piece, "f32", "f32")[:-1], np.array(ids[1:])
        rows = {"f32": (document["reference"], p)}
        for row in document["modes"]:
            rows[row["quant"]] = (row, ln_probabilities(folder, piece, row["quant"], row["kv"])[:-1])
        for name, (row, q) in rows.items():
            for key, expected in figures(p, q, targets).items():
                if key in row:
                    off = abs(row[key] - expected) / max(1, abs(expected))
                    worst[key] = max(worst.get(key, 0), off)
                    assert off < 1e-5, f"{name} from byte {start}: {key}: expected {expected!r}, got {row[key]!r}"
    print("figures equal, largest differences:", ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))


def check_perplexity():
    import torch
    from transformers import AutoModelForCausalLM
    plain = ids_of(TEXT, "--no-bos")[:HF_TOKENS]
    begin = ids_of(TEXT)[0]
    fresh = HF_WINDOW - 1
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    nll = []
    with torch.no_grad():
        for i in range(0, len(plain), fresh):
            window = torch.tensor([[begin] + plain[i:i + fresh]])
            ln = torch.log_softmax(model(window).logits[0, :-1].double(), -1)
            nll.append(-ln.gather(1, window[0, 1:, None])[:, 0])
    expected = math.exp(torch.cat(nll).mean().item())
    got = compare("-c", str(HF_WINDOW), "-n", str(HF_TOKENS), "--modes", "f16")
    f32, f16 = got["reference"]["perplexity"], got["modes"][0]["perplexity"]
    print(f"perplexity over {got['predicted_tokens']} tokens: transformers {expected:.6f}, f32 {f32:.6f} "
          f"({f32 / expected - 1:+.1e}), f16 {f16:.6f} ({f16 / expected - 1:+.1e})")
    assert got["predicted_tokens"] == sum(map(len, nll))
    assert abs(f32 / expected - 1) < 1e-3 and abs(f16 / expected - 1) < 1e-3


with tempfile.TemporaryDirectory() as name:
    check_pieces(Path(name))
check_perplexity()
