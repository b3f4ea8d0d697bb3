"""What tokens spell one by one is what the tokenizer decodes of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import across_parts
import bpe_parts
import pytest
import templates_parts
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models

from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.running.serving.token_text import TokenText

NAMES = sorted(templates_parts.ALL)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ChatFormat]:
    root = tmp_path_factory.mktemp("families")
    return {name: ChatFormat(make(root / name)) for name, make in templates_parts.ALL.items()}


def _word_pieces() -> Tokenizer:
    words = ["[UNK]", "play", "##ing", "##s", ".", "don", "'", "t", "n't", "##é", "a"]
    tokenizer = Tokenizer(models.WordPiece(vocab={word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.add_special_tokens([AddedToken("[SEP]", special=True)])
    return tokenizer


def _word_ends() -> Tokenizer:
    words = ["a", "b", "c</w>", "é</w>", "</w>", "d"]
    tokenizer = Tokenizer(models.BPE(vocab={word: place for place, word in enumerate(words)}, merges=[]))
    tokenizer.decoder = decoders.BPEDecoder()
    return tokenizer


def _undecoded() -> Tokenizer:
    return Tokenizer(models.WordLevel(vocab={"x": 0, "yy": 1, "é": 2}, unk_token="x"))


def _upside_down() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(vocab={"x": 0, "xx": 1, "y": 2}, unk_token="x"))
    tokenizer.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace("xxx", "z")])
    return tokenizer


STRANGERS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level pairs": bpe_parts.train_tokenizer,
    "word pieces": _word_pieces,
    "ends of words": _word_ends,
    "none": _undecoded,
    "after the whole": _upside_down,
}


def _parts(tokens: TokenText, ids: list[int]) -> Iterator[str]:
    growing = tokens.growing()
    for token in ids:
        yield growing.take(token)
    yield growing.finish()


@pytest.mark.parametrize("kind", sorted(STRANGERS))
@given(data=st.data())
def test_strangers_spell_what_they_decode(kind: str, data: st.DataObject) -> None:
    tokenizer = STRANGERS[kind]()
    added = tokenizer.get_added_tokens_decoder()
    tokens = TokenText(tokenizer, {index for index, token in added.items() if token.special})
    last = tokenizer.get_vocab_size() + 2  # ids without a token, too
    ids = data.draw(st.lists(st.integers(0, last), max_size=24))
    assert "".join(_parts(tokens, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_families_spell_what_they_decode(name: str, chats: dict[str, ChatFormat], data: st.DataObject) -> None:
    chat = chats[name]
    tokens = TokenText(chat.fast, frozenset(chat.special_tokens.values()))
    marks = st.sampled_from(sorted(chat.fast.get_added_tokens_decoder()))
    drawn = data.draw(st.lists(st.integers(0, chat.vocab_size + 1) | marks, max_size=30))
    for prefix in ("", None):
        growing = chat.growing_text(tokens.growing(), prefix=prefix)
        text = "".join([growing.take(token) for token in drawn]) + growing.finish()
        assert text == (chat.completion_text(drawn) if prefix == "" else chat.decode(drawn))


@pytest.mark.parametrize("text", ["héllo 🙂 x", "  two  spaces", "日本語", "a\n\nb"])
@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_tokens_are_the_bytes_of_the_text(name: str, text: str, chats: dict[str, ChatFormat]) -> None:
    chat = chats[name]
    tokens = TokenText(chat.fast, frozenset(chat.special_tokens.values()))
    assert tokens.is_exact
    spelled = b"".join(tokens.bytes_of(token) for token in chat.text_ids(text))
    assert spelled.removeprefix(b" ") == text.encode().removeprefix(b" ")
    assert tokens.bytes_of(chat.end_id).decode() == chat.spell([chat.end_id])
    assert tokens.bytes_of(chat.vocab_size + 5) == b""


def test_a_characters_bytes_are_held_until_it_is_whole(tiny_directory: Path) -> None:
    chat = ChatFormat(tiny_directory)
    tokens = TokenText(chat.fast, frozenset(chat.special_tokens.values()))
    assert list(_parts(tokens, chat.text_ids("a🙂b"))) == ["a", "", "", "", "🙂", "b", ""]
    assert list(_parts(tokens, chat.text_ids("🙂")[:2])) == ["", "", "�"]


def test_a_step_looks_back_a_little_however_long_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = across_parts.sentence_piece()
    tokens = TokenText(tokenizer, ())
    seen = []
    decode = tokens._decode

    def counting(ids: list[int]) -> str:
        seen.append(len(ids))
        return decode(ids)

    monkeypatch.setattr(tokens, "_decode", counting)
    text = "the answer is x 12 " * 200
    assert "".join(_parts(tokens, tokenizer.encode(text, add_special_tokens=False).ids)).strip() == text.strip()
    assert max(seen) <= 4  # the token before, and the bytes of a character
