"""Tokens as llguidance knows them, held against what the model's own tokenizer makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calling_models import CALLING
from grammar_walks import FAMILIES, PADDING

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.vocabulary import grammar_tokenizer


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_tokens_spell_what_the_tokenizer_says(kind: str, tmp_path: Path) -> None:
    chat = ChatFormat(FAMILIES[kind](tmp_path))
    known = grammar_tokenizer(chat, chat.vocab_size + PADDING)
    assert known.vocab_size == chat.vocab_size + PADDING
    assert sorted(known.eos_tokens) == sorted(chat.eos_ids)
    text = 'x {"a": "é 東 🙂"} <|im_end|> the end\n'
    ids = chat._markers.encode_own([(text, False)])
    assert known.decode_bytes(ids).decode() == text
    special = set(chat.special_tokens.values())
    for token in range(chat.vocab_size):
        assert known.is_special_token(token) == (token in special), chat.spell([token])


def test_added_tokens_that_are_text_stay_text_and_ends_never_are(tmp_path: Path) -> None:
    directory = CALLING["thinking"](tmp_path)
    content = json.loads((directory / "tokenizer.json").read_text())
    for token in content["added_tokens"]:
        token["special"] = token["special"] and token["content"] != "<|endoftext|>"
    (directory / "tokenizer.json").write_text(json.dumps(content))
    generation = json.loads((directory / "generation_config.json").read_text())
    end = next(token["id"] for token in content["added_tokens"] if token["content"] == "<|endoftext|>")
    generation["eos_token_id"] = [generation["eos_token_id"], end]
    (directory / "generation_config.json").write_text(json.dumps(generation))
    chat = ChatFormat(directory)
    assert "<|endoftext|>" not in chat.special_tokens
    known = grammar_tokenizer(chat, chat.vocab_size)
    (tag,) = chat.text_ids("<tool_call>")
    assert not known.is_special_token(tag)
    assert known.is_special_token(end)


def test_a_kind_of_tokenizer_that_nobody_knows(tmp_path: Path) -> None:
    directory = FAMILIES["sentencepiece"](tmp_path)
    content = json.loads((directory / "tokenizer.json").read_text())
    content["decoder"] = {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}
    (directory / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CompatibilityError, match="cannot be held to a form"):
        grammar_tokenizer(ChatFormat(directory), 400)
