from __future__ import annotations

import json

import pytest
from gguf_models import texts
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from spiritsafe.models.gguf.tokenizer.splits import SPLITS, recognise

# What transformers' own files of these families spell out.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def pattern(regex: str, **changes: object) -> dict[str, object]:
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False, **changes}
    return {"type": "Sequence", "pretokenizers": [split, BYTES]}


def content(pre: dict[str, object], *, normaliser: object = None, **model: object) -> dict[str, object]:
    return {"normalizer": normaliser, "pre_tokenizer": pre, "model": {"merges": [["a", "b"]], **model}}


NFC = {"type": "NFC"}
WORDS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, WORDS]}


@pytest.mark.parametrize(
    ("name", "given", "cleans"),
    [
        ("llama-bpe", content(pattern(LLAMA3), ignore_merges=True), False),
        ("dbrx", content(pattern(LLAMA3)), True),
        ("qwen2", content(pattern(QWEN2), normaliser=NFC), False),
        ("qwen2", content(pattern(QWEN2, behavior="Removed", invert=True), normaliser=NFC), False),
        ("deepseek-r1-qwen", content(pattern(QWEN2)), False),
        ("smollm", content(DIGITS), False),
        ("refact", content(DIGITS), True),
        ("gpt-2", content(WORDS), True),
        ("trillion", content(WORDS), False),
        (None, content(WORDS, normaliser={"type": "NFKC"}), False),
        (None, content(WORDS | {"add_prefix_space": True}), False),
        (None, content(pattern(QWEN2, behavior="MergedWithPrevious")), False),
        (None, content(pattern(LLAMA3.replace("{1,3}", "{1,4}")), ignore_merges=True), False),
        (None, content({"type": "Whitespace"}), False),
    ],
)
def test_a_split_is_known_by_what_it_does(name: str | None, given: dict[str, object], cleans: bool) -> None:
    found = recognise(given, cleans_spaces=cleans)
    assert (found.name if found else None) == name


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_what_is_built_is_recognised(name: str) -> None:
    split = SPLITS[name]
    tokenizer = Tokenizer(
        models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")], ignore_merges=split.keeps_words)
    )
    tokenizer.pre_tokenizer = split.pre_tokenizer()
    if split.is_composed:
        tokenizer.normalizer = split.normaliser()
    found = recognise(json.loads(tokenizer.to_str()), cleans_spaces=split.cleans_spaces)
    assert found is not None
    assert (found.meaning, found.cleans_spaces) == (split.meaning, split.cleans_spaces)


@pytest.mark.parametrize(("name", "regex"), [("llama-bpe", LLAMA3), ("qwen2", QWEN2)])
def test_pieces_are_those_of_the_published_patterns(name: str, regex: str) -> None:
    published = pre_tokenizers.Split(pattern=Regex(regex), behavior="isolated")
    ours = SPLITS[name].pre_tokenizer()
    for text in texts():
        composed = normalizers.NFC().normalize_str(text)
        assert len(published.pre_tokenize_str(composed)) == len(ours.pre_tokenize_str(composed)), text
