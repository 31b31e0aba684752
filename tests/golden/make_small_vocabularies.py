#!/usr/bin/env python3
"""Writes the small models of tests/corpus/sentencepiece in other forms: tests/corpus/tokenizer/unigram*.json as Hugging
Face has them, tests/corpus/gguf_vocab/*.gguf as metadata.  Run from the repository root."""
import base64
import json
import os

import gguf
from sentencepiece import sentencepiece_model_pb2 as pb

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "corpus")


def model(name):
    proto = pb.ModelProto()
    with open(os.path.join(CORPUS, "sentencepiece", name + ".model"), "rb") as f:
        proto.ParseFromString(f.read())
    return proto


def write_json(name, source, pre_tokenizer, decoder):
    proto = model(source)
    charsmap = proto.normalizer_spec.precompiled_charsmap
    added = [dict(id=i, content=p.piece, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i, p in enumerate(proto.pieces) if p.type in (2, 3)]
    out = dict(version="1.0", truncation=None, padding=None, added_tokens=added, post_processor=None,
               normalizer=dict(type="Precompiled", precompiled_charsmap=base64.b64encode(charsmap).decode())
               if charsmap else None, pre_tokenizer=pre_tokenizer, decoder=decoder,
               model=dict(type="Unigram", unk_id=0, byte_fallback=proto.trainer_spec.byte_fallback,
                          vocab=[[p.piece, p.score] for p in proto.pieces]))
    with open(os.path.join(CORPUS, "tokenizer", name + ".json"), "w") as f:
        json.dump(out, f, ensure_ascii=False)


def write_gguf(name, kind, tokens, scores, types, **more):
    w = gguf.GGUFWriter(os.path.join(CORPUS, "gguf_vocab", name + ".gguf"), "llama")
    w.add_tokenizer_model(kind)
    w.add_token_list(tokens)
    w.add_token_types(types)
    if scores:
        w.add_token_scores(scores)
    for key, value in more.items():
        key = "tokenizer.ggml." + key
        if isinstance(value, str):
            w.add_string(key, value)
        elif isinstance(value, bool):
            w.add_bool(key, value)
        elif isinstance(value, int):
            w.add_uint32(key, value)
        else:
            w.add_array(key, value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def write_pieces(name, kind, source, **more):
    pieces = model(source).pieces
    write_gguf(name, kind, [p.piece for p in pieces], [p.score for p in pieces], [p.type for p in pieces],
               bos_token_id=1, eos_token_id=2, unknown_token_id=0, **more)


def main():
    metaspace = dict(type="Metaspace", replacement="\u2581", prepend_scheme="always", split=True)
    mark = dict(type="Replace", pattern={"String": "\u2581"}, content=" ")
    write_json("unigram", "unigram_rules", dict(type="Sequence", pretokenizers=[dict(type="WhitespaceSplit"), metaspace]),
               metaspace)
    write_json("unigram_bytes", "unigram_bytes", dict(metaspace, split=False),
               dict(type="Sequence", decoders=[mark, dict(type="ByteFallback"), dict(type="Fuse"),
                                               dict(type="Strip", content=" ", start=1, stop=0)]))
    os.makedirs(os.path.join(CORPUS, "gguf_vocab"), exist_ok=True)
    write_pieces("llama", "llama", "bpe_bytes")
    write_pieces("t5", "t5", "unigram_rules", add_space_prefix=True, remove_extra_whitespaces=True,
                 precompiled_charsmap=model("unigram_rules").normalizer_spec.precompiled_charsmap)
    with open(os.path.join(CORPUS, "tokenizer", "byte_level.json")) as f:
        bpe = json.load(f)
    tokens = sorted(bpe["model"]["vocab"], key=bpe["model"]["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in bpe["model"]["merges"]]
    added = ["<|a|>", "<|im_start|>", "<think>"]
    write_gguf("gpt2", "gpt2", tokens + added, None, [1] * len(tokens) + [3, 3, 4], merges=merges, pre="qwen2",
               bos_token_id=len(tokens), eos_token_id=len(tokens) + 1, eot_token_id=len(tokens) + 1)


if __name__ == "__main__":
    main()
