#!/usr/bin/env python3
"""Writes tests/golden/tokenizers/NAME.model.txt: what SentencePiece (0.2) makes of the 10,000 strings of
make_tokenizer_golden.py, in the same form.  Special tokens, where they are parsed, cut the text first.

    make_sentencepiece_golden.py [NAME ...]     run from the repository root; reads ../shared/data
    make_sentencepiece_golden.py --train        makes the small models in tests/corpus/sentencepiece anew
"""
import base64
import json
import os
import re
import sys
import tempfile

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb

from make_tokenizer_golden import BLOCKS, HERE, PER_BLOCK, ROOT, Strings, fnv

CORPUS = os.path.join(ROOT, "tests", "corpus", "sentencepiece")
NAMES = {"llama2": os.path.join(ROOT, "../shared/data/tokenizers/llama2/tokenizer.model"), "t5-small": None}
SMALL = {
    "bpe_bytes": dict(model_type="bpe", vocab_size=520, byte_fallback=True, remove_extra_whitespaces=False,
                      normalization_rule_name="identity", control_symbols=["<|im_start|>", "<|im_end|>"],
                      user_defined_symbols=["\u2581\u2581", "<think>", "the world", "\u4f60", "aa", "aab"]),
    "bpe_rules": dict(model_type="bpe", vocab_size=400, add_dummy_prefix=False, rules=True,
                      user_defined_symbols=["<|user|>", "ab"]),
    "unigram_rules": dict(model_type="unigram", vocab_size=300, rules=True, control_symbols=["<|user|>", "<s><s>"],
                          user_defined_symbols=["<think>", "re the", "a\u2581b"]),
    "unigram_bytes": dict(model_type="unigram", vocab_size=560, byte_fallback=True, remove_extra_whitespaces=False,
                          normalization_rule_name="identity", unused=range(300, 330)),
}
RULES = [("\u00a0", " "), ("\u3000", "  "), ("\t", " "), ("\n", " "), ("\u200b", ""), ("\u0001", ""), ("\ufb01", "fi"),
         ("e\u0301", "\u00e9"), ("e\u0301\u0323", "\u1eb9\u0301"), ("\u00bd", " 1/2 "), ("A", "a"), ("AA", "aa"),
         ("\ud55c", "\u1112\u1161\u11ab"), ("\U0001f600", ":-) ")]
NAMES |= {name: os.path.join(CORPUS, name + ".model") for name in SMALL}


def train(name, rules=False, unused=(), **options):
    base = os.path.join(CORPUS, name)
    with open(base + ".tmp", "w") as f:
        strings = Strings()
        strings.seed(1 << 20)
        for _ in range(3000):
            f.write(re.sub("<[^>]*>|[^ -~\u00e0-\u00ff\u0430-\u044f\u4f60\u597d]", " ", strings.string()) + "\n")
    if rules:
        with open(base + ".tsv", "w") as f:
            for a, b in RULES:
                f.write("%s\t%s\n" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b)))
        options["normalization_rule_tsv"] = base + ".tsv"
    spm.SentencePieceTrainer.train(input=base + ".tmp", model_prefix=base, num_threads=1, character_coverage=0.98,
                                   minloglevel=2, max_sentence_length=1 << 16, input_sentence_size=3000,
                                   hard_vocab_limit=False, **options)
    model = pb.ModelProto()
    with open(base + ".model", "rb") as f:
        model.ParseFromString(f.read())
    model.trainer_spec.input[:] = []
    model.trainer_spec.model_prefix = ""
    model.normalizer_spec.normalization_rule_tsv = ""
    for i in unused:
        model.pieces[i].type = pb.ModelProto.SentencePiece.UNUSED
    with open(base + ".model", "wb") as f:
        f.write(model.SerializeToString())
    for end in (".tmp", ".vocab", ".tsv"):
        if os.path.exists(base + end):
            os.remove(base + end)


def t5_small():
    """t5-small's tokenizer.json as a SentencePiece model: the charsmap of NFKC, as SentencePiece applies it."""
    with open(os.path.join(ROOT, "../shared/data/tokenizers/t5-small/tokenizer.json")) as f:
        d = json.load(f)
    model = pb.ModelProto()
    for text, score in d["model"]["vocab"]:
        control = text in ("<pad>", "</s>") or text.startswith("<extra_id_")
        model.pieces.add(piece=text, score=score, type=2 if text == "<unk>" else 3 if control else 1)
    model.trainer_spec.model_type = 1
    model.trainer_spec.bos_id, model.trainer_spec.eos_id = -1, 1
    model.trainer_spec.unk_id, model.trainer_spec.pad_id = 2, 0
    model.normalizer_spec.precompiled_charsmap = base64.b64decode(d["normalizer"]["precompiled_charsmap"])
    with tempfile.NamedTemporaryFile(suffix=".model", delete=False) as f:
        f.write(model.SerializeToString())
    return f.name


class Model:
    def __init__(self, path):
        path = path or t5_small()
        self.sp = spm.SentencePieceProcessor(model_file=path)
        self.n = self.sp.get_piece_size()
        special = {self.sp.id_to_piece(i): i for i in range(self.n) if self.sp.is_control(i) or self.sp.is_unknown(i)}
        self.special = special
        self.pattern = re.compile("(%s)" % "|".join(map(re.escape, sorted(special, key=len, reverse=True))))
        proto = pb.ModelProto()
        with open(path, "rb") as f:
            proto.ParseFromString(f.read())
        bpe = proto.trainer_spec.model_type == 2
        self.prefix = [self.sp.bos_id()] if bpe else []
        self.suffix = [] if bpe else [self.sp.eos_id()]
        self.strips = proto.normalizer_spec.add_dummy_prefix or proto.normalizer_spec.remove_extra_whitespaces

    def encode(self, text, parse):
        ids = []
        for part in self.pattern.split(text) if parse else [text]:
            ids += [self.special[part]] if parse and part in self.special else self.sp.encode(part)
        return ids

    def decode(self, ids):
        out = b""
        for k, i in enumerate(ids):
            text = self.sp.id_to_piece(i).replace("\u2581", " ").encode()
            if self.sp.is_byte(i):
                text = bytes([int(self.sp.id_to_piece(i)[3:5], 16)])
            elif k == 0 and self.strips and text[:1] == b" ":
                text = text[1:]
            out += text
        return out


def main():
    if sys.argv[1:] == ["--train"]:
        os.makedirs(CORPUS, exist_ok=True)
        for name, options in SMALL.items():
            train(name, **options)
        return
    for name in sys.argv[1:] or NAMES:
        model, strings, lines = Model(NAMES[name]), Strings(), []
        for block in range(BLOCKS):
            strings.seed(block)
            ids_hash = text_hash = 0xCBF29CE484222325
            for i in range(PER_BLOCK):
                ids = model.encode(strings.string(), i % 2 == 1)
                if i // 2 % 2 == 1:
                    ids = model.prefix + ids + model.suffix
                ids_hash = fnv(ids_hash, b"".join(v.to_bytes(4, "little") for v in ids + [0xFFFFFFFF]))
                plain = [v for v in ids if model.sp.id_to_piece(v) not in model.special]
                text_hash = fnv(text_hash, model.decode(plain) + b"\xff")
            lines.append("%016x %016x\n" % (ids_hash, text_hash))
        with open(os.path.join(HERE, name + ".model.txt"), "w") as f:
            f.writelines(lines)
        print(name)


if __name__ == "__main__":
    main()
