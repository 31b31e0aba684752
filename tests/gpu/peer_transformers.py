"""Prefill and decode speed of a shape with random weights in transformers: what a user would have run instead.

usage: peer_transformers.py CONFIG_JSON GIB [nf4|static]      prints tokens/s and the peak of device memory; where there
is no GPU it rehearses on the CPU, with a small shape
  f16 by default: weights that do not fit GIB go to host memory by accelerate's device_map "auto" with max_memory
  nf4     bitsandbytes' 4-bit linear layers, all on the GPU
  static  f16, all on the GPU, a static cache and torch.compile for decoding
"""
import inspect
import os
import sys
import tempfile
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, StaticCache

PROMPT, MORE = 512, 32
HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"


def synchronize():
    if HAS_GPU:
        torch.cuda.synchronize()


def seconds(run, *args, **more):
    synchronize()
    start = time.perf_counter()
    with torch.inference_mode():
        out = run(*args, **more)
    synchronize()
    return time.perf_counter() - start, out


def random_model(config, device):
    """Without the library's own initialization, which takes minutes for some billions of f16 values on a CPU."""
    for kind in (torch.nn.Linear, torch.nn.Embedding):
        kind.reset_parameters = lambda self: None
    PreTrainedModel.init_weights = lambda self, *args, **more: None
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    block = torch.randn(1 << 20, device=device) * 0.02
    with torch.no_grad():
        for p in model.parameters():
            flat = p.view(-1)
            for at in range(0, flat.numel(), block.numel()):
                piece = flat[at : at + block.numel()]
                piece.copy_(block[: piece.numel()] + (1 if p.dim() == 1 else 0))
    return model.eval()


def on_budget(model, budget, directory):
    from accelerate import dispatch_model, infer_auto_device_map

    # Activations, context and cache come on top of the weights: a user has to guess what to leave for them.
    room = {0: f"{budget - 1.5:.2f}GiB", "cpu": "100GiB"} if HAS_GPU else {"cpu": "100GiB"}
    where = infer_auto_device_map(model, max_memory=room, no_split_module_classes=model._no_split_modules)
    on_host = sum(1 for place in where.values() if place in ("cpu", "disk"))
    return dispatch_model(model, where, offload_dir=directory), f"{on_host} of {len(where)} modules on the host"


def in_nf4(model):
    import bitsandbytes as bnb

    for parent in list(model.modules()):
        for name, linear in list(parent.named_children()):
            if not isinstance(linear, torch.nn.Linear) or name == "lm_head":
                continue
            short = bnb.nn.Linear4bit(linear.in_features, linear.out_features, bias=False, quant_type="nf4",
                                      compute_dtype=torch.float16)
            short.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
            setattr(parent, name, short)
    return model.to(DEVICE), f"bitsandbytes {bnb.__version__} nf4"


def static_decode(model, config, tokens):
    cache = StaticCache(config=config, max_batch_size=1, max_cache_len=PROMPT + MORE + 8, device=DEVICE,
                        dtype=torch.float16)
    at = torch.arange(PROMPT + MORE + 8, device=DEVICE)
    has_place = "cache_position" in inspect.signature(model.forward).parameters  # newer ones ask the cache

    def place(first, n):
        more = {"cache_position": at[first : first + n]} if has_place else {}
        return {"past_key_values": cache, "use_cache": True, "position_ids": at[None, first : first + n], **more}

    prefill, _ = seconds(model, tokens, **place(0, PROMPT))
    step = torch.compile(model, mode="reduce-overhead", fullgraph=True)
    for i in range(MORE + 4):
        took, _ = seconds(step, tokens[:, :1], **place(PROMPT + i, 1))
        if i >= 4:  # the first ones compile
            yield prefill, took


def plain_decode(model, tokens):
    seconds(model, tokens, use_cache=True)
    prefill, out = seconds(model, tokens, use_cache=True)
    for _ in range(MORE):
        took, out = seconds(model, tokens[:, :1], past_key_values=out.past_key_values, use_cache=True)
        yield prefill, took


def main():
    config = AutoConfig.from_pretrained(os.path.dirname(sys.argv[1]))
    budget, mode = float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "f16"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    model = random_model(config, DEVICE if mode == "static" else "cpu")
    with tempfile.TemporaryDirectory() as directory:
        if mode == "nf4":
            model, note = in_nf4(model)
        elif mode == "static":
            note = "static cache, compiled"
        else:
            model, note = on_budget(model, budget, directory)
        tokens = torch.randint(0, config.vocab_size, (1, PROMPT), device=DEVICE)
        taken = list(static_decode(model, config, tokens) if mode == "static" else plain_decode(model, tokens))
    peak = torch.cuda.max_memory_reserved() if HAS_GPU else 0
    decode = sorted(took for _, took in taken)
    print(f"transformers {mode}: prefill {PROMPT / taken[0][0]:.1f} tokens/s, decode {1 / decode[len(decode) // 2]:.2f} "
          f"tokens/s, {note}, peak {peak / 2**30:.2f} GiB beside the context")


main()
