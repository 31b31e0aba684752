#!/usr/bin/env python3
"""Logits of trained models by Hugging Face transformers in float32, for tests/test_trained.c.

    python3 tests/golden/make_trained_golden.py MODEL_DIR NAME [MODEL_DIR NAME ...]

Takes the model's own greedy text of 256 tokens, and writes tests/golden/trained/NAME.tokens.i32 (256 ids) and
NAME.logits.f32 (every 16th row of the logits).
"""
import pathlib
import sys

import numpy as np
import torch
import transformers

N, STEP = 256, 16
OUT = pathlib.Path(__file__).parent / "trained"

for folder, name in zip(sys.argv[1::2], sys.argv[2::2]):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    start = model.config.bos_token_id
    with torch.no_grad():
        ids = model.generate(torch.tensor([[start]]), do_sample=False, min_length=N, max_length=N,
                             pad_token_id=0, suppress_tokens=None)[0]
        logits = model(ids[None]).logits[0].float().numpy()
    assert len(ids) == N
    OUT.mkdir(exist_ok=True)
    ids.numpy().astype(np.int32).tofile(OUT / f"{name}.tokens.i32")
    logits[STEP - 1::STEP].astype(np.float32).tofile(OUT / f"{name}.logits.f32")
    print(name, logits.shape, "max |logit|", np.abs(logits).max())
