from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger import (
    KeyPair,
    Ledger,
    NoteKey,
    check_extends,
    head_of,
    origin_of,
    read_head,
    seen_heads,
    verify_cosignature,
    witness,
)

EVE, WANDA = KeyPair.generate("Eve"), KeyPair.generate("Wanda")


def filled(path: Path, count: int, *, start: int = 0, key: KeyPair = EVE) -> Ledger:
    ledger = Ledger(path)
    for number in range(start, start + count):
        ledger.append("note", {"number": number}, key)
    return ledger


@pytest.fixture
def exams(tmp_path) -> Ledger:
    return filled(tmp_path / "exams.jsonl", 5)


@pytest.fixture
def own(tmp_path, exams) -> Ledger:
    """A witness that saw the first five entries."""
    ledger = Ledger(tmp_path / "own.jsonl")
    witness(exams, own=ledger, key=WANDA, name="office")
    return ledger


def test_a_witness_cosigns_and_remembers(exams, own):
    filled(exams.path, 3, start=5)
    note = witness(exams, own=own, key=WANDA, name="office")
    assert read_head(note) == head_of(exams)
    assert verify_cosignature(note, NoteKey.of_witness(WANDA.public.signing))
    heads = seen_heads(own.entries(), origin=origin_of(exams))
    assert [head.size for head in heads] == [5, 8]
    assert heads[1].root == exams.root(8)
    assert seen_heads(own.entries(), name="another") == []
    assert seen_heads(own.entries(), key=EVE.public.signing) == []
    assert witness(exams, own=own, key=WANDA, name="office").text == note.text  # nothing new is nothing wrong


def rewrite(exams: Ledger, way: str, tmp_path: Path) -> Ledger:
    """What a keeper with all keys could do, every entry signed and chained afresh."""
    lines = exams.path.read_bytes().splitlines(keepends=True)
    path = tmp_path / f"{way}.jsonl"
    if way == "truncated":
        path.write_bytes(b"".join(lines[:4]))
        return Ledger(path)
    ledger = Ledger(path)
    if way == "forked":
        path.write_bytes(b"".join(lines[:3]))
    kept = 3 if way == "forked" else 0
    if way in ("edited", "dropped", "reordered"):
        path.write_bytes(lines[0])
        kept = 1
    numbers = {
        "forked": [10, 11, 12],
        "edited": [1, 99, 3, 4],
        "dropped": [1, 3, 4, 5],
        "reordered": [2, 1, 3, 4],
        "replaced": [50, 51, 52, 53, 54],
    }[way]
    for number in numbers:
        ledger.append("note", {"number": number}, EVE)
    assert len(ledger.entries()) >= kept + len(numbers)
    assert ledger.verify().ok  # by itself it looks good
    return ledger


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("truncated", "cut short"),
        ("forked", "rewritten or forked"),
        ("edited", "rewritten or forked"),
        ("dropped", "rewritten or forked"),
        ("reordered", "rewritten or forked"),
        ("replaced", "another ledger"),
    ],
)
def test_a_changed_history_is_caught_and_named(exams, own, tmp_path, way, words):
    changed = rewrite(exams, way, tmp_path)
    with pytest.raises(IntegrityError, match=words):
        witness(changed, own=own, key=WANDA, name="office")
    assert len(own.entries()) == 1  # it is not cosigned, and not remembered
    with pytest.raises(IntegrityError, match=words):
        check_extends(changed, seen_heads(own.entries())[0], who="Wanda")


def test_a_damaged_ledger_is_not_cosigned(exams, own):
    data = bytearray(exams.path.read_bytes())
    data[len(data) // 2] ^= 1
    exams.path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        witness(Ledger(exams.path), own=own, key=WANDA, name="office")


def test_two_ledgers_witness_each_other(exams, tmp_path):
    other = filled(tmp_path / "other.jsonl", 2, key=WANDA)
    for _ in range(3):
        witness(exams, own=other, key=WANDA, name="exams")
        witness(other, own=exams, key=EVE, name="other")
    assert [head.size for head in seen_heads(other.entries(), name="exams")] == [5, 6, 7]
    assert [head.size for head in seen_heads(exams.entries(), name="other")] == [3, 4, 5]
    assert exams.verify().ok
    assert other.verify().ok
    # Eve drops what Wanda saw last and goes on otherwise: Wanda's ledger knows better
    fork = Ledger(tmp_path / "fork.jsonl")
    fork.path.write_bytes(b"".join(exams.path.read_bytes().splitlines(keepends=True)[:6]))
    filled(fork.path, 4, start=100)
    with pytest.raises(IntegrityError, match="rewritten or forked"):
        witness(fork, own=other, key=WANDA, name="exams")


def _witness_often(exams: Path, own: Path, key: KeyPair) -> None:
    for _ in range(5):
        witness(Ledger(exams), own=Ledger(own), key=key, name="office")
        Ledger(exams).append("note", {"who": key.public.holder}, key)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_several_witness_at_once(exams, own):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_witness_often, args=(exams.path, own.path, WANDA)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert Ledger(own.path).verify().ok
    assert len(Ledger(own.path).entries()) == 16
    assert len(Ledger(exams.path).entries()) == 20


def test_an_empty_ledger_has_no_name(tmp_path):
    with pytest.raises(IntegrityError, match="empty"):
        origin_of(Ledger(tmp_path / "none.jsonl"))


@pytest.mark.parametrize("size", ["five", True, 0, -3, None, []])
def test_a_malformed_memory_is_said_of_the_key_that_was_asked_for_and_is_nobodys_otherwise(own, size):
    before = seen_heads(own.entries())
    own.append("witness", {"origin": "x", "size": size, "root": "ab"}, WANDA)
    with pytest.raises(IntegrityError, match="remembers no head"):
        seen_heads(own.entries(), key=WANDA.public.signing)
    assert seen_heads(own.entries()) == before
