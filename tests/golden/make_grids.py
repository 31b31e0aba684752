#!/usr/bin/env python3
"""quant/grids.def: the codebooks of GGUF's IQ1, IQ2 and IQ3 types, as ggml's Python package decodes them.

    pip install gguf
    python3 tests/golden/make_grids.py

Every place of a codebook is asked for by a block that names it, with a scale of 1 and no sign, and what is decoded is
written as the places of its values in the type's list of levels.
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

OUT = pathlib.Path(__file__).parents[2] / "quant" / "grids.def"
HEAD = """\
/* The codebooks of GGUF's IQ1, IQ2 and IQ3 types, written by tests/golden/make_grids.py: do not edit.
 *
 * They are constants of the file format, which its authors chose by a search over models' weights; no short rule gives
 * them.  Origin: ggml (https://github.com/ggml-org/ggml), Copyright (c) 2023-2026 The ggml authors, MIT licence.
 *
 * A row of a codebook is 8 values (IQ1, IQ2) of 2 bits each, or 4 values (IQ3) of 3 bits, the first one lowest: places in
 * the list of levels that quant/grids.h gives.  IQ1_S and IQ1_M share a codebook.  R has eight rows.                 */
"""
ONE = np.array([1], np.float16).view(np.uint8)


def rows_of(n, count, width, kind, place, scale, levels):
    """The codebook: place(block, group, i) makes a group of `width` values row i, count of them a block."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    rows = []
    for first in range(0, n, count):
        block = np.zeros(size, np.uint8)
        for group in range(count):
            place(block, group, first + group)
        x = gguf.quants.dequantize(scale(block)[None], kind).reshape(-1, width)[:count]
        rows += [[levels.index(v) for v in row] for row in x.tolist()]
    return rows


def with_d(block):
    block[0:2] = ONE
    return block


def bytes_at(at):
    def place(block, group, i):
        block[at + group] = i
    return place


def iq2_xxs(block, group, i):
    block[2 + group // 4 * 8 + group % 4] = i


def iq2_xs(block, group, i):
    block[2 + 2 * group], block[3 + 2 * group] = i & 255, i >> 8


def iq2_s(block, group, i):
    block[2 + group] = i & 255
    block[66 + group // 4] |= i >> 8 << 2 * (group % 4)


def iq3_s(block, group, i):
    block[2 + group] = i & 255
    block[66 + group // 8] |= i >> 8 << group % 8


def iq1_s(block, group, i):
    block[2 + group] = i & 255
    high = i >> 8 << 3 * (group % 4)
    block[34 + group // 4 * 2] |= high & 255
    block[35 + group // 4 * 2] |= high >> 8


def grids():
    # A scale of nothing is 1/8, or 1/4, of the values; IQ1 adds 1/8.
    two = [v / 8 for v in (8, 25, 43)]
    three = [v / 4 for v in (4, 12, 20, 28, 36, 44, 52, 62)]
    yield "IQ2_XXS", 2, rows_of(256, 32, 8, T.IQ2_XXS, iq2_xxs, with_d, two)
    yield "IQ2_XS", 2, rows_of(512, 32, 8, T.IQ2_XS, iq2_xs, with_d, two)
    yield "IQ2_S", 2, rows_of(1024, 32, 8, T.IQ2_S, iq2_s, with_d, two)
    yield "IQ1", 2, rows_of(2048, 32, 8, T.IQ1_S, iq1_s, with_d, [-7 / 8, 1 / 8, 9 / 8])
    yield "IQ3_XXS", 3, rows_of(256, 64, 4, T.IQ3_XXS, bytes_at(2), with_d, three)
    yield "IQ3_S", 3, rows_of(512, 64, 4, T.IQ3_S, iq3_s, with_d, [float(v) for v in range(1, 16, 2)])


def main():
    text = HEAD
    for name, bits, rows in grids():
        codes = [f"0x{sum(v << bits * i for i, v in enumerate(row)):0{bits + 2 if bits == 2 else 3}x}" for row in rows]
        lines = [f"#define LR_GRID_{name}(R)"]
        per_line = 16
        for i in range(0, len(codes), per_line):
            lines.append("  " + " ".join(f"R({','.join(codes[k:k + 8])})" for k in range(i, i + per_line, 8)))
        text += "\n" + "".join(line.ljust(119) + "\\\n" for line in lines[:-1]) + lines[-1] + "\n"
    OUT.write_text(text)


if __name__ == "__main__":
    main()
