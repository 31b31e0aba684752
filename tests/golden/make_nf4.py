"""Writes nf4.bin: what bitsandbytes makes of 1024 values.  Needs torch and bitsandbytes (0.50.2 was used).

Layout, little-endian: f32 input[1024], f32 absmax[16], u8 code[1024] in element order.
Blocks: zeros, values on the midpoints between two codes, tiny, huge, and normal ones."""
import sys

import bitsandbytes  # registers its operators
import torch
from bitsandbytes.backends.default.ops import _get_4bit_quantize_bounds

torch.manual_seed(1)
x = torch.randn(16, 64)
x[0] = 0
x[1, :15] = _get_4bit_quantize_bounds("nf4", x.device)[0]
x[1, 15] = 1
x[1, 16:] *= 0.2
x[2] *= 1e-39
x[3] *= 1e37
x[4] *= 1e-3
x[5, 3] = -80
packed, absmax = torch.ops.bitsandbytes.quantize_4bit.default(x, 64, "nf4", torch.uint8)
packed = packed.reshape(-1)
codes = torch.stack([packed >> 4, packed & 15], 1).reshape(-1)  # bitsandbytes has the first element in the high nibble
with open(sys.argv[1], "wb") as f:
    f.write(x.numpy().tobytes() + absmax.float().numpy().tobytes() + codes.numpy().tobytes())
