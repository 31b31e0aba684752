#!/usr/bin/env python3
"""The golden gpt-oss with its experts in MXFP4, as the published files have them, and the logits of the decoded weights.

    pip install torch transformers safetensors
    python3 tests/golden/make_mxfp4.py

Reads tests/golden/models/gpt-oss, writes tests/golden/packed/gpt-oss-mxfp4.  A tensor of experts (E, in, out) becomes
_blocks (E, out, in / 32, 16), byte t of a block values 2t and 2t + 1 (low, high), and _scales (E, out, in / 32), exponents
with an offset of 127.
"""
import json
import pathlib
import shutil

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
ROOT = pathlib.Path(__file__).parent


def pack(w):
    """(E, in, out) to blocks, scales and the decoded (E, in, out)."""
    rows = np.ascontiguousarray(w.float().numpy().transpose(0, 2, 1))
    x = rows.reshape(*rows.shape[:2], -1, 32)
    exponent = np.floor(np.log2(np.abs(x).max(-1))) - 2
    codes = np.abs(x[..., None] / np.exp2(exponent)[..., None, None] - VALUES).argmin(-1).astype(np.uint8)
    decoded = (VALUES[codes] * np.exp2(exponent)[..., None]).reshape(rows.shape).transpose(0, 2, 1)
    blocks = codes[..., 0::2] | codes[..., 1::2] << 4
    return torch.from_numpy(blocks), torch.from_numpy((exponent + 127).astype(np.uint8)), torch.from_numpy(decoded.copy())


source, folder = ROOT / "models" / "gpt-oss", ROOT / "packed" / "gpt-oss-mxfp4"
model = transformers.AutoModelForCausalLM.from_pretrained(source, attn_implementation="eager", dtype=torch.float32).eval()
ids = np.fromfile(source / "tokens.i32", np.int32)
tensors, parameters = load_file(source / "model.safetensors"), dict(model.named_parameters())
for name in [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]:
    blocks, scales, decoded = pack(tensors.pop(name))
    tensors[name + "_blocks"], tensors[name + "_scales"] = blocks, scales
    parameters[name].data.copy_(decoded)
with torch.no_grad():
    logits = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0].float().numpy()
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)
save_file(tensors, folder / "model.safetensors", {"format": "pt"})
config = json.loads((source / "config.json").read_text())
config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
(folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
ids.tofile(folder / "tokens.i32")
logits.astype(np.float32).tofile(folder / "logits.f32")
