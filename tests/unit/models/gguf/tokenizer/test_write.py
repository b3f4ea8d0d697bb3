from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from gguf_models import SPECIAL, byte_level, model_with, sentencepiece, texts, tokenizer_files
from llama_cpp import llama_tokens, needs_llama_cpp
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.options import ChatOptions
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.gguf.convert import write_gguf_config
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.gguf.tokenizer.splits import SPLITS
from spiritsafe.models.gguf.write import write_gguf
from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE

MEANINGS = list({row.meaning: row for row in reversed(SPLITS.values())}.values())


def tokenizers(name: str) -> Tokenizer:
    if name.startswith("spm-"):
        return sentencepiece(name.removeprefix("spm-"), order="lengths" if name == "spm-never" else "ids")
    return byte_level(
        SPLITS[name], inside=name in ("smollm", "trillion", "gpt-4o"), bos=name in ("llama-bpe", "tekken")
    )


NAMES = [*sorted(row.name for row in MEANINGS), "spm-prepend", "spm-always", "spm-first", "spm-never"]


@pytest.mark.parametrize("name", NAMES)
def test_tokens_survive(name: str, tmp_path: Path) -> None:
    model_with(tmp_path / "x", tokenizers(name), unused=5)
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "q8_0")
    (tmp_path / "y").mkdir()
    write_gguf_config(tmp_path / "x.gguf", tmp_path / "y")
    given, found = (AutoTokenizer.from_pretrained(tmp_path / which) for which in "xy")
    for text in texts():
        for around in (True, False):
            ids = given.encode(text, add_special_tokens=around)
            assert found.encode(text, add_special_tokens=around) == ids, text
        assert found.decode(ids) == given.decode(ids), text
    ours, theirs = ChatFormat(tmp_path / "x"), ChatFormat(tmp_path / "y")
    assert ours.vocab_fingerprint == theirs.vocab_fingerprint
    assert ours.template_fingerprint == theirs.template_fingerprint
    assert (ours.eos_ids, ours.bos_id, ours.vocab_size) == (theirs.eos_ids, theirs.bos_id, theirs.vocab_size)


@needs_llama_cpp
@pytest.mark.parametrize("name", NAMES)
def test_llama_cpp_makes_the_same_tokens(name: str, tmp_path: Path) -> None:
    model_with(tmp_path / "x", tokenizers(name))
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "q8_0")
    given = AutoTokenizer.from_pretrained(tmp_path / "x")
    asked = [text for text in texts() if "\x00" not in text]
    if SPLITS.get(name) and SPLITS[name].is_composed:  # llama.cpp composes nothing
        asked = [unicodedata.normalize("NFC", text) for text in asked]
    if name in ("spm-always", "spm-first"):  # llama.cpp puts a space in front of everything, behind special tokens too
        asked = [text for text in asked if text[:1] != " " and not any(token in text for token in (*SPECIAL, "<tool>"))]
    for around in (True, False):
        found = llama_tokens(tmp_path / "x.gguf", asked, around=around)
        for text, ids in zip(asked, found, strict=True):
            assert ids == given.encode(text, add_special_tokens=around), text


def test_ends_templates_and_options_survive(tmp_path: Path) -> None:
    tokenizer = byte_level(SPLITS["qwen2"], inside=False)
    end = tokenizer.token_to_id("<|im_end|>")
    dated = "{{ strftime_now('%d %b %Y') }}" + TINY_CHAT_TEMPLATE
    named = [{"name": "default", "template": dated}, {"name": "tool_use", "template": TINY_CHAT_TEMPLATE}]
    model_with(tmp_path / "x", tokenizer, chat_template=named)
    write_json(tmp_path / "x/generation_config.json", {"eos_token_id": [end, 7]})
    ChatOptions(date="2024-02-29").write(tmp_path / "x")
    write_lineage(tmp_path / "x", name="Toy", license="MIT")
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f16")
    with GGUFFile(tmp_path / "x.gguf") as file:
        assert file.metadata["tokenizer.ggml.eos_token_id"] == tokenizer.token_to_id("</s>")
        assert file.metadata["tokenizer.chat_templates"] == ["tool_use"]
    (tmp_path / "y").mkdir()
    write_gguf_config(tmp_path / "x.gguf", tmp_path / "y")
    found = AutoTokenizer.from_pretrained(tmp_path / "y")
    assert found.chat_template == {one["name"]: one["template"] for one in named}
    assert read_json(tmp_path / "y/generation_config.json")["eos_token_id"] == [end, 7]
    assert ChatOptions.of_directory(tmp_path / "y") == ChatOptions(date="2024-02-29")


def changed(tokenizer: Tokenizer, **parts: Any) -> Tokenizer:
    content = json.loads(tokenizer.to_str())
    content["model"] |= parts.pop("model", {})
    return Tokenizer.from_str(json.dumps(content | parts))


def _refusals() -> dict[str, tuple[Tokenizer, str]]:
    plain, pieces = byte_level(SPLITS["gpt-2"], inside=True), sentencepiece("prepend")
    lower = byte_level(SPLITS["gpt-2"], inside=True)
    lower.normalizer = normalizers.Lowercase()
    words = byte_level(SPLITS["gpt-2"], inside=True)
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)])
    added = json.loads(plain.to_str())["added_tokens"]
    greedy = [one | {"rstrip": one["content"] == "<tool>"} for one in added]
    merges = json.loads(pieces.to_str())["model"]["merges"]
    return {
        "a normaliser": (lower, "Lowercase"),
        "a split": (words, "Punctuation"),
        "a greedy token": (changed(plain, added_tokens=greedy), "'<tool>' takes or forbids"),
        "dropout": (changed(plain, model={"dropout": 0.1}), "dropout is 0.1"),
        "merges that are missing": (changed(pieces, model={"merges": merges[:-1]}), "SentencePiece"),
    }


@pytest.mark.parametrize("what", list(_refusals()))
def test_what_gguf_cannot_say_is_refused(what: str, tmp_path: Path) -> None:
    tokenizer, message = _refusals()[what]
    model_with(tmp_path / "x", tokenizer)
    with pytest.raises(CompatibilityError, match=message):
        write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f16")
    assert not (tmp_path / "x.gguf").exists()


def test_more_tokens_than_rows_are_refused(tmp_path: Path) -> None:
    model_with(tmp_path / "x", byte_level(SPLITS["gpt-2"], inside=True, vocab_size=300))
    tokenizer_files(tmp_path / "x", byte_level(SPLITS["gpt-2"], inside=True))
    write_lineage(tmp_path / "x", name="Toy", license="MIT")
    with pytest.raises(CompatibilityError, match="rows"):
        write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f16")
