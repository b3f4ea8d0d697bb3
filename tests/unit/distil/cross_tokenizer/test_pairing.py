from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from across_parts import TEXTS, byte_level, chat_of, sentence_piece, tiny_chat

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.distil.cross_tokenizer.coverage import measure_coverage
from spiritsafe.distil.cross_tokenizer.pairing import (
    PairTable,
    StoredPairs,
    pair_conversations,
    pair_documents,
)
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes
from spiritsafe.distil.cross_tokenizer.vocabulary import map_vocabularies
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.interface.batch import Document

USER = (Message(role="user", content="Is 1234 > 999? 東京"),)
CONVERSATIONS = [(USER, text) for text in TEXTS]


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ChatFormat]:
    base = tmp_path_factory.mktemp("chats")
    return {
        "bytes": tiny_chat(base / "bytes"),
        "bpe": chat_of(base / "bpe", byte_level(400)),
        "pieces": chat_of(base / "pieces", sentence_piece()),
    }


@pytest.mark.parametrize(("student", "teacher"), [("bytes", "bpe"), ("bpe", "bytes"), ("pieces", "bpe")])
def test_completions_are_aligned_whatever_the_prompts_look_like(
    chats: dict[str, ChatFormat], student: str, teacher: str
) -> None:
    table = pair_conversations(CONVERSATIONS, student=chats[student], teacher=chats[teacher])
    assert not table.refused
    assert len(table.pairs) == len(TEXTS)
    for pair, text in zip(table.pairs.values(), TEXTS, strict=True):
        assert pair.num_bytes == len(text.encode())
        assert pair.student == chats[student].document(USER, text)
        assert pair.teacher == chats[teacher].document(USER, text)
        # The end of the turn is a chunk of its own, by role: the two end tokens have other names.
        assert pair.alignment.bytes_K[-1] == 0
        assert (pair.alignment.chunk_A == pair.alignment.num_chunks - 1).sum() == 1
        assert (pair.alignment.chunk_B == pair.alignment.num_chunks - 1).sum() == 1


def test_documents_are_found_by_the_students_tokens(chats: dict[str, ChatFormat]) -> None:
    table = pair_conversations(CONVERSATIONS, student=chats["bytes"], teacher=chats["bpe"])
    pair = next(iter(table.pairs.values()))
    assert table.documents()[0] == pair.student
    rows = np.flatnonzero(pair.student.supervised[1:])
    assert table.find(pair.key, rows) is pair
    with pytest.raises(CompatibilityError, match="was not paired"):
        table.find("0" * 64, rows)
    with pytest.raises(CompatibilityError, match="The 3 tokens that the document"):
        table.find(pair.key, rows[:3])
    with pytest.raises(CompatibilityError, match="are not the"):  # as many, but others
        table.find(pair.key, rows - 1)
    other = pair_conversations(CONVERSATIONS[:-1], student=chats["bytes"], teacher=chats["bpe"])
    assert other.fingerprint != table.fingerprint
    assert PairTable.of(table.pairs.values()).fingerprint == table.fingerprint


@pytest.mark.parametrize(("student", "teacher"), [("bytes", "bpe"), ("pieces", "bpe")])
def test_pairs_on_disk_are_those_in_memory(
    chats: dict[str, ChatFormat], tmp_path: Path, student: str, teacher: str
) -> None:
    other = (Message(role="user", content="?"),)
    given = [*CONVERSATIONS, (other, "one more"), *CONVERSATIONS[:3]]
    held = pair_conversations(given, student=chats[student], teacher=chats[teacher])
    kept = pair_conversations(iter(given), student=chats[student], teacher=chats[teacher], directory=tmp_path)
    assert list(kept.pairs) == list(held.pairs)
    assert kept.fingerprint == held.fingerprint
    assert list(kept.documents()) == list(held.documents())
    for key, pair in held.pairs.items():
        found = kept.find(key, np.flatnonzero(pair.student.supervised[1:]))
        assert (found.student, found.teacher, found.key) == (pair.student, pair.teacher, key)
        for name in ("chunk_A", "chunk_B", "bytes_K"):
            wanted = getattr(pair.alignment, name)
            assert getattr(found.alignment, name).dtype == wanted.dtype
            np.testing.assert_array_equal(getattr(found.alignment, name), wanted)
    for key in ("0" * 64, "f" * 64, next(iter(held.pairs))[:16] + "0" * 48):
        assert key not in kept.pairs
    ours, theirs = TokenBytes.of_chat(chats[student]), TokenBytes.of_chat(chats[teacher])
    reports = [measure_coverage(t, ours, theirs, map_vocabularies(ours, theirs)) for t in (held, kept)]
    assert reports[0] == reports[1]


def test_of_two_pairs_of_one_document_the_second_counts(chats: dict[str, ChatFormat], tmp_path: Path) -> None:
    first, second = (Message(role="system", content=text) for text in ("a", "b"))
    ours, theirs = TokenBytes.of_chat(chats["bytes"]), TokenBytes.of_chat(chats["bpe"])
    pairs = [
        pair_documents(chats["bytes"].document(USER, text), ours, chats["bpe"].document((system, *USER), text), theirs)
        for system, text in ((first, "x"), (first, "y"), (second, "x"))
    ]
    held, kept = PairTable.of(pairs), PairTable(pairs=StoredPairs(tmp_path, iter(pairs)))
    assert list(kept.pairs) == list(held.pairs)
    assert kept.pairs[pairs[0].key].teacher == held.pairs[pairs[0].key].teacher == pairs[2].teacher


def test_if_nothing_can_be_paired_that_is_said_of_files_too(chats: dict[str, ChatFormat], tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError, match="None of the 0 conversations"):
        pair_conversations([], student=chats["bytes"], teacher=chats["bpe"], directory=tmp_path)


def test_names_tell_masks_and_alignments_apart(chats: dict[str, ChatFormat]) -> None:
    """Two turns of one conversation have the same tokens; each supervises its own."""
    pair = next(iter(pair_conversations(CONVERSATIONS, student=chats["bytes"], teacher=chats["bpe"]).pairs.values()))
    flags = pair.teacher.supervised
    moved = replace(pair, teacher=replace(pair.teacher, supervised=(*flags[1:], False)))
    moved_student = replace(pair, student=replace(pair.student, supervised=(*pair.student.supervised[1:], False)))
    one_chunk = replace(pair, alignment=replace(pair.alignment, chunk_A=pair.alignment.chunk_A * 0))
    assert moved.teacher_key != pair.teacher_key
    assert moved_student.teacher_key == pair.teacher_key
    tables = [PairTable.of([one]) for one in (pair, moved, moved_student, one_chunk)]
    assert len({table.fingerprint for table in tables}) == 4


def test_what_cannot_be_aligned_is_counted_not_hidden(chats: dict[str, ChatFormat]) -> None:
    """SentencePiece writes a space as ``▁``, so a text that holds one comes back as another."""
    conversations = [(USER, "a▁b"), (USER, "fine")]
    table = pair_conversations(conversations, student=chats["bpe"], teacher=chats["pieces"])
    assert list(table.refused) == [0]
    assert "part at symbol 1" in table.refused[0]
    assert table.refused_bytes == len("a▁b".encode())
    with pytest.raises(CompatibilityError, match="None of the 1"):
        pair_conversations(conversations[:1], student=chats["bpe"], teacher=chats["pieces"])


@pytest.mark.parametrize("flags", [(False, False), (True, True), (False, True, False, True)])
def test_only_one_run_behind_a_prompt_can_be_paired(chats: dict[str, ChatFormat], flags: tuple[bool, ...]) -> None:
    words = TokenBytes.of_chat(chats["bytes"])
    document = Document(token_ids=tuple(range(4, 4 + len(flags))), supervised=flags)
    with pytest.raises(CompatibilityError, match="one run"):
        pair_documents(document, words, document, words)
