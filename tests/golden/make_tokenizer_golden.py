#!/usr/bin/env python3
"""Writes tests/golden/tokenizers/NAME.txt: what Hugging Face tokenizers (0.23) makes of 10,000 random and hostile
strings, as one hash of ids and one of decoded text per block of 100.  tests/test_tokenizer.c builds the same strings
(same pieces.json, same xorshift) and compares.

    make_tokenizer_golden.py [NAME ...]      run from the repository root; reads ../shared/data

String i of block b, generator seeded with SEED + b:  1..12 parts; each part draws r and is, by (r >> 32) % 16,
    0        a piece repeated 2..41 times (one in 16 of these: 300 times)
    1, 2     1..4 random code points, each from a random range
    else     the piece r % n; the empty piece stands for NUL
Special tokens are matched in odd strings, and put around the text where (i / 2) is odd.
"""
import json
import os
import sys

BLOCKS, PER_BLOCK, SEED = 100, 100, 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NAMES = {name: "../shared/data/%s/%s/tokenizer.json" % (kind, name) for kind, names in {
    "models": ["stories260K", "TinyStories-656K"],
    "tokenizers": ["t5-small", "gpt2", "llama2", "llama3", "qwen2.5", "qwen3", "phi-3-mini", "smollm", "gpt-oss-o200k"],
}.items() for name in names}
NAMES |= {name: "tests/corpus/tokenizer/%s.json" % name for name in ["byte_level", "sentencepiece", "metaspace", "digits",
                                                                       "splits", "unigram", "unigram_bytes"]}


class Strings:
    def __init__(self):
        table = json.load(open(os.path.join(HERE, "pieces.json")))
        self.pieces = [p or "\0" for p in table["pieces"]]
        self.ranges = table["ranges"]

    def seed(self, block):
        self.x = (SEED + block) & MASK

    def draw(self):
        x = self.x
        x ^= x << 13 & MASK
        x ^= x >> 7
        x ^= x << 17 & MASK
        self.x = x
        return x

    def part(self):
        r = self.draw()
        mode = (r >> 32) % 16
        piece = self.pieces[r % len(self.pieces)]
        if mode == 0:
            r = self.draw()
            return piece * (300 if r % 16 == 0 else 2 + (r >> 8) % 40)
        if mode <= 2:
            text = ""
            for _ in range(1 + (r >> 40) % 4):
                r = self.draw()
                low, high = self.ranges[r % len(self.ranges)]
                text += chr(low + (r >> 16) % (high - low + 1))
            return text
        return piece

    def string(self):
        return "".join(self.part() for _ in range(1 + self.draw() % 12))


def fnv(h, data):
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & MASK
    return h


def load(path):
    """Old files write merges as "a b"; where tokens hold spaces, that is ambiguous and HF refuses the file: the first
    space that divides it into two tokens counts."""
    from tokenizers import Tokenizer
    d = json.load(open(os.path.join(ROOT, path)))
    vocab, merges = d["model"]["vocab"], d["model"].get("merges", [])
    for i, m in enumerate(merges):
        if isinstance(m, str):
            cuts = [k for k, c in enumerate(m) if c == " "]
            cuts = [k for k in cuts if len(cuts) == 1 or (m[:k] in vocab and m[k + 1:] in vocab)]
            merges[i] = [m[:cuts[0]], m[cuts[0] + 1:]]
    return Tokenizer.from_str(json.dumps(d)), {t["id"] for t in d.get("added_tokens", [])}


def main():
    strings = Strings()
    for name in sys.argv[1:] or NAMES:
        tokenizer, added = load(NAMES[name])
        lines = []
        for block in range(BLOCKS):
            strings.seed(block)
            ids_hash = text_hash = 0xCBF29CE484222325
            for i in range(PER_BLOCK):
                text = strings.string()
                tokenizer.encode_special_tokens = i % 2 == 0
                ids = tokenizer.encode(text, add_special_tokens=i // 2 % 2 == 1).ids
                ids_hash = fnv(ids_hash, b"".join(v.to_bytes(4, "little") for v in ids + [0xFFFFFFFF]))
                plain = [v for v in ids if v not in added]
                text_hash = fnv(text_hash, tokenizer.decode(plain, skip_special_tokens=False).encode() + b"\xff")
            lines.append("%016x %016x\n" % (ids_hash, text_hash))
        with open(os.path.join(HERE, name + ".txt"), "w") as f:
            f.writelines(lines)
        print(name)


if __name__ == "__main__":
    main()
