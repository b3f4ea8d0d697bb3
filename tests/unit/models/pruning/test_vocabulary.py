from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import FAMILY_NAMES, decoder_of, peer_of
from bpe_parts import CORPUS, SPECIAL, train_tokenizer, write_bpe_model, write_tokenizer_files
from cut_parts import decoder_logits, peer_logits, teacher_config
from tokenizers import Tokenizer

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.records import Message
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.interface.batch import Document
from spiritsafe.models.pruning.cut import StudentShape, cut
from spiritsafe.models.pruning.importance import calibrate
from spiritsafe.models.pruning.vocabulary import (
    choose_vocabulary,
    renumber_config,
    renumber_documents,
    trim_vocabulary,
    with_vocabulary,
)
from spiritsafe.models.transformers_backend.loading import load_decoder, load_model


def counts_of(tokenizer: Tokenizer, texts: tuple[str, ...]) -> list[int]:
    seen = Counter(i for text in texts for i in tokenizer.encode(text, add_special_tokens=False).ids)
    return [seen[i] for i in range(tokenizer.get_vocab_size())]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bpe_model(tmp_path_factory.mktemp("bpe"))


@pytest.fixture(scope="module")
def tokenizer(source: Path) -> Tokenizer:
    return Tokenizer.from_file(str(source / "tokenizer.json"))


@pytest.fixture(scope="module")
def kept_ids(source: Path, tokenizer: Tokenizer) -> tuple[int, ...]:
    return choose_vocabulary(source, counts_of(tokenizer, CORPUS[:1]))


def test_what_occurs_stays_with_all_that_leads_to_it(
    source: Path, tokenizer: Tokenizer, kept_ids: tuple[int, ...], tmp_path: Path
) -> None:
    trim_vocabulary(source, tmp_path, kept_ids)
    trimmed = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert trimmed.get_vocab_size() == len(kept_ids) < tokenizer.get_vocab_size()
    new = {old: index for index, old in enumerate(kept_ids)}
    for text in (CORPUS[0], "the cat", "<tool>the cat<|im_end|>", "sat on the mat<tool>"):
        assert trimmed.encode(text).ids == [new[i] for i in tokenizer.encode(text).ids]
    for text in (*CORPUS, "\x00\t🙂 zażółć\r\n", "<tool><|im_end|>", "12345"):
        ids = trimmed.encode(text, add_special_tokens=False).ids
        assert trimmed.decode(ids, skip_special_tokens=False) == text
    assert {tokenizer.id_to_token(i) for i in kept_ids} >= {*SPECIAL, "<tool>", "Ġthe", "Ġcat"}
    assert "Ġtheatre" not in trimmed.get_vocab()
    assert "Ġtheat" not in trimmed.get_vocab()


def test_every_file_that_names_ids_names_the_new_ones(
    source: Path, tokenizer: Tokenizer, kept_ids: tuple[int, ...], tmp_path: Path
) -> None:
    trim_vocabulary(source, tmp_path, kept_ids)
    trimmed = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tool, end, pad = (trimmed.token_to_id(token) for token in ("<tool>", "<|im_end|>", "<|endoftext|>"))
    assert tool != tokenizer.token_to_id("<tool>")
    assert read_json(tmp_path / "added_tokens.json") == {"<tool>": tool}
    assert read_json(tmp_path / "generation_config.json") == {
        "eos_token_id": [end, pad],
        "pad_token_id": pad,
        "top_k": 5,
    }
    assert read_json(tmp_path / "vocab.json") == trimmed.get_vocab(with_added_tokens=False)
    entries = read_json(tmp_path / "tokenizer_config.json")["added_tokens_decoder"]
    assert {int(i): entry["content"] for i, entry in entries.items()} == {
        trimmed.token_to_id(token): token for token in (*SPECIAL, "<tool>")
    }
    merges = (tmp_path / "merges.txt").read_text().splitlines()[1:]
    assert [line.split(" ") for line in merges] == json.loads(trimmed.to_str())["model"]["merges"]
    old, new = ChatFormat(source), ChatFormat(tmp_path)
    messages = [Message(role="user", content="the cat sat")]
    assert new.render(messages) == old.render(messages)
    assert new.end_id == end
    assert new.decode(new.prompt_ids(messages)) == old.decode(old.prompt_ids(messages))


def test_words_that_are_looked_up_whole_need_no_merges(tmp_path: Path) -> None:
    """``ignore_merges``, as Llama 3: a token may be in the vocabulary though no merges lead to it."""
    content: dict[str, Any] = json.loads(train_tokenizer(ignore_merges=True).to_str())
    content["model"]["merges"] = [pair for pair in content["model"]["merges"] if "".join(pair) != "Ġcat"]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    write_tokenizer_files(tmp_path, tokenizer)
    kept_ids = choose_vocabulary(tmp_path, counts_of(tokenizer, ("there cat on",)))
    (tmp_path / "out").mkdir()
    trim_vocabulary(tmp_path, tmp_path / "out", kept_ids)
    trimmed = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert "Ġcat" in tokenizer.encode("there cat on").tokens
    for text in ("there cat on", "there on cat"):
        assert trimmed.encode(text).tokens == tokenizer.encode(text).tokens


def test_the_most_frequent_stay_when_room_is_short(source: Path, tokenizer: Tokenizer) -> None:
    counts = counts_of(tokenizer, CORPUS)
    everything = choose_vocabulary(source, counts)
    must = choose_vocabulary(source, [0] * len(counts))
    assert len(must) == 256 + len(SPECIAL) + 1
    size = len(must) + 20
    some = choose_vocabulary(source, counts, max_size=size)
    assert len(must) < len(some) <= size < len(everything)
    assert set(must) < set(some) < set(everything)
    assert tokenizer.token_to_id("Ġthe") in some
    rare = tokenizer.token_to_id("Ġtheatre") or next(i for i in everything if i not in some)
    assert rare in choose_vocabulary(source, counts, keep=[rare], max_size=size)
    with pytest.raises(BudgetError, match="260 that must stay"):
        choose_vocabulary(source, counts, max_size=100)
    with pytest.raises(CompatibilityError, match="no id 9999"):
        choose_vocabulary(source, counts, keep=[9999])


def test_other_tokenizers_and_open_sets_are_refused(source: Path, kept_ids: tuple[int, ...], tmp_path: Path) -> None:
    content = read_json(source / "tokenizer.json")
    changes: list[tuple[str, Any]] = [
        ("decoder", {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}),
        ("model", {**content["model"], "byte_fallback": True}),
        ("model", {**content["model"], "type": "Unigram"}),
    ]
    for name, value in changes:
        write_json(tmp_path / "tokenizer.json", {**content, name: value})
        with pytest.raises(CompatibilityError, match="not byte-level BPE"):
            choose_vocabulary(tmp_path, [])
    write_json(tmp_path / "tokenizer.json", {**content, "model": {**content["model"], "dropout": 0.1}})
    with pytest.raises(CompatibilityError, match="dropout"):
        choose_vocabulary(tmp_path, [])
    for wrong in (kept_ids[1:], kept_ids[:50], (*kept_ids, 9999), kept_ids[::-1]):
        with pytest.raises(CompatibilityError, match="no vocabulary"):
            trim_vocabulary(source, tmp_path, wrong)
    write_json(tmp_path / "tokenizer.json", {**content, "post_processor": {"type": "Strange"}})
    with pytest.raises(CompatibilityError, match="'Strange'"):
        trim_vocabulary(tmp_path, tmp_path, kept_ids)


def test_configurations_follow() -> None:
    config = {"eos_token_id": [3, 9], "bos_token_id": 5, "pad_token_id": None, "vocab_size": 20, "max_new_tokens": 7}
    assert renumber_config(config, (3, 5, 8)) == {
        "eos_token_id": [0],
        "bos_token_id": 1,
        "pad_token_id": None,
        "vocab_size": 3,
        "max_new_tokens": 7,
    }
    with pytest.raises(CompatibilityError, match="suppress_tokens"):
        renumber_config({"suppress_tokens": [3]}, (3,))


def test_documents_follow() -> None:
    document = Document(token_ids=(8, 3, 8), supervised=(False, True, True), weight=0.5)
    (new,) = renumber_documents([document], (3, 5, 8))
    assert new == Document(token_ids=(2, 0, 2), supervised=(False, True, True), weight=0.5)
    with pytest.raises(CompatibilityError, match="8 among them"):
        renumber_documents([document], (3, 5))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_teacher_speaks_the_kept_tokens_exactly(family: str, tied: bool) -> None:
    model = decoder_of(peer_of(teacher_config(family, tie_word_embeddings=tied)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kept = tuple(range(0, 260, 3))
    smaller = with_vocabulary(model, kept)
    document = Document(token_ids=(3, 9, 255, 0, 60, 33), supervised=(False,) + (True,) * 5)
    full_NV = decoder_logits(model, document).double().softmax(-1)[:, list(kept)]
    (translated,) = renumber_documents([document], kept)
    found_NU = decoder_logits(smaller, translated).double().softmax(-1)
    torch.testing.assert_close(found_NU, full_NV / full_NV.sum(-1, keepdim=True), atol=1e-6, rtol=1e-5)
    assert smaller.blocks is model.blocks
    assert (smaller.vocab_size, smaller.config.vocab_size, smaller.config.tied) == (len(kept), len(kept), tied)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    for wrong in ((), (3, 3), (5, 3), (0, 260), (-1, 4)):
        with pytest.raises(CompatibilityError, match="not some of a vocabulary"):
            with_vocabulary(model, wrong)


def test_a_student_of_fewer_tokens_is_its_teacher_over_those(
    source: Path, tokenizer: Tokenizer, kept_ids: tuple[int, ...], tmp_path: Path
) -> None:
    teacher = load_decoder(source, dtype=torch.float32)
    ids = tuple(tokenizer.encode(CORPUS[0]).ids)
    document = Document(token_ids=ids, supervised=(False,) + (True,) * (len(ids) - 1))
    shape = StudentShape.of(read_json(source / "config.json")).model_copy(update={"vocab_size": len(kept_ids)})
    cut(source, tmp_path / "student", shape, calibrate(teacher, [document]), name="student", kept_ids=kept_ids)
    student = load_model(tmp_path / "student", dtype=torch.float32, implementation="decoder")
    assert student.chat.vocab_size == student.model.vocab_size == len(kept_ids)
    assert read_json(tmp_path / "student" / "config.json")["eos_token_id"] == student.chat.end_id
    (translated,) = renumber_documents([document], kept_ids)
    assert student.chat.completion_ids(CORPUS[0]) == list(translated.token_ids[:-1])
    expected = decoder_logits(teacher, document)[:, list(kept_ids)]
    torch.testing.assert_close(peer_logits(tmp_path / "student", translated), expected, atol=2e-4, rtol=2e-4)
