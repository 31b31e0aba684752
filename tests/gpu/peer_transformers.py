"""Prefill and decode speed of a shape with random f16 weights in transformers + accelerate under a memory budget.

usage: peer_transformers.py CONFIG_JSON GIB      prints tokens/s and the peak of device memory

Weights that do not fit go to host memory by device_map "auto" with max_memory, as a user would do.
"""
import os
import sys
import tempfile
import time

import torch
from accelerate import dispatch_model, infer_auto_device_map
from transformers import AutoConfig, AutoModelForCausalLM

PROMPT, MORE = 512, 32


def seconds(model, tokens, **more):
    torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.inference_mode():
        out = model(tokens, use_cache=True, **more)
    torch.cuda.synchronize()
    return time.perf_counter() - start, out


def main():
    config = AutoConfig.from_pretrained(os.path.dirname(sys.argv[1]))
    budget = float(sys.argv[2])
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    with torch.device("cpu"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    model.eval()
    # Activations, context and cache come on top of the weights: a user has to guess what to leave for them.
    room = {0: f"{budget - 1.5:.2f}GiB", "cpu": "100GiB"}
    where = infer_auto_device_map(model, max_memory=room, no_split_module_classes=model._no_split_modules)
    with tempfile.TemporaryDirectory() as directory:
        model = dispatch_model(model, where, offload_dir=directory)
        tokens = torch.randint(0, config.vocab_size, (1, PROMPT), device="cuda")
        seconds(model, tokens)
        prefill, out = seconds(model, tokens)
        decode = []
        for _ in range(MORE):
            took, out = seconds(model, tokens[:, :1], past_key_values=out.past_key_values)
            decode.append(took)
    on_host = sum(1 for place in where.values() if place in ("cpu", "disk"))
    decode.sort()
    print(f"prefill {PROMPT / prefill:.1f} tokens/s, decode {1 / decode[len(decode) // 2]:.2f} tokens/s, "
          f"{on_host} of {len(where)} modules on the host, peak {torch.cuda.max_memory_reserved() / 2**30:.2f} GiB beside the context")


main()
