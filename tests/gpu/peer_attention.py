"""Causal attention forward of 32 heads of 128 over 8, 4,096 tokens, f16, by each backend of PyTorch's SDPA.

usage: peer_attention.py      prints microseconds and TFLOP/s; the counterpart is bench_gpu's "4096 rows of 4096"
"""
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

TOKENS, HEADS, KV_HEADS, DIM = 4096, 32, 8, 128


def microseconds(run):
    best = None
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        took = 1e3 * start.elapsed_time(end)
        best = took if best is None else min(best, took)
    return best


def main():
    q = torch.randn(1, HEADS, TOKENS, DIM, device="cuda", dtype=torch.float16)
    k, v = (torch.randn(1, KV_HEADS, TOKENS, DIM, device="cuda", dtype=torch.float16) for _ in range(2))
    flops = TOKENS * (TOKENS + 1) / 2 * HEADS * DIM * 4
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):
        try:
            with sdpa_kernel(backend):
                us = microseconds(lambda: torch.nn.functional.scaled_dot_product_attention(
                    q, k, v, is_causal=True, enable_gqa=True))
            print(f"PyTorch {torch.__version__} {backend.name}: {us:.1f} us, {flops / us * 1e-6:.1f} TFLOP/s")
        except RuntimeError as why:
            print(f"PyTorch {torch.__version__} {backend.name}: {str(why).splitlines()[0]}")


main()
