"""The keeper of the ledger: edits, drops, reorders, forks, cuts, replaces."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from attack_parts import MALLORY, about, caught, exam, look, passes, reissue, tell_anew
from exam_parts import Forger, ToyModel, make_stage
from stranger_parts import append_at

from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger import Ledger
from spiritsafe.ledger.records import LedgerEntry

Entries = list[LedgerEntry]


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return exam(tmp_path)


def edited(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b"a failure", b"a success") for line in lines]


WAYS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "edited": (edited, "its signature is not its key's"),
    "dropped": (lambda lines: lines[:4] + lines[5:], "it calls itself entry 5"),
    "reordered": (lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], "it calls itself entry 5"),
    "doubled": (lambda lines: [*lines, lines[-1]], "it calls itself entry 9"),
    "cut in a line": (lambda lines: [*lines[:-1], lines[-1][:-9]], "is unfinished"),
    "cut below the certificate": (lambda lines: lines[:3], "it was cut short"),
    "emptied": (lambda lines: [], "it was cut short"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_was_tampered_with(forger: Forger, way: str) -> None:
    path = forger.stage.ledger.path
    change, words = WAYS[way]
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    caught(forger.verify(), "ledger file", words)


def without_the_failure(forger: Forger) -> Callable[[Entries], Entries]:
    return lambda entries: [entry for entry in entries if not about(entry, "a failure", forger.stage)]


def renamed_failure(entries: Entries) -> Entries:
    """The failure's score becomes a good one."""
    return [
        entry.model_copy(update={"body": {**entry.body, "sealed_accuracy": 0.9}})
        if entry.kind == "result" and entry.body["sealed_accuracy"] == 0.0
        else entry
        for entry in entries
    ]


def rival_first(entries: Entries) -> Entries:
    """The rival is said to have sat before."""
    return [*entries[:4], *entries[7:], *entries[4:7]]


def another_ending(entries: Entries) -> Entries:
    """The rival's result is forked away, the rest goes on elsewhere."""
    return [*entries[:-1], entries[-1].model_copy(update={"body": {**entries[-1].body, "public_accuracy": 0.0}})]


@pytest.mark.parametrize("way", ["dropped", "edited", "forked"])
def test_a_history_told_anew_with_all_keys_passes_by_itself_but_no_witness(forger: Forger, way: str) -> None:
    change = {"dropped": without_the_failure(forger), "edited": renamed_failure, "forked": another_ending}[way]
    tell_anew(forger.stage, change)
    reissue(forger)
    passes(forger.verify())  # this is what a ledger without a witness is worth
    words = "it was cut short" if way == "dropped" else "was rewritten or forked"
    caught(forger.verify(witnesses=[forger.stage.root / "wanda.jsonl"]), "witnessed heads", words.removeprefix("it "))
    with pytest.raises(IntegrityError, match=words.removeprefix("it ")):
        look(forger.stage)  # and the witness cosigns it no more


def test_times_that_run_backwards(forger: Forger) -> None:
    tell_anew(forger.stage, rival_first)
    caught(forger.verify(), "ledger file", "its time is before that of the entry before it")


def test_a_certificate_shown_with_a_history_told_anew_that_it_was_not_issued_under(forger: Forger) -> None:
    tell_anew(forger.stage, renamed_failure)
    passes(forger.verify())  # its own entries lie before the change
    forger.certificate = forger.stage.certificate(ToyModel(name="late"), name="late")
    path = forger.stage.root / "late" / "certificate.json"
    (forger.stage.root / "sitting" / "certificate.json").write_bytes(path.read_bytes())
    passes(forger.verify())
    tell_anew(forger.stage, without_the_failure(forger))
    caught(forger.verify(), "ledger file", "it was cut short")


def test_a_ledger_cut_short_behind_the_certificate(forger: Forger) -> None:
    path = forger.stage.ledger.path
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    passes(forger.verify())
    caught(forger.verify(witnesses=[forger.stage.root / "wanda.jsonl"]), "witnessed heads", "was cut short")


def test_another_ledger_in_its_place(forger: Forger, tmp_path: Path) -> None:
    other = make_stage(tmp_path / "other", count=8)
    for number in range(20):
        other.ledger.append("note", {"number": number}, other.examiner)
    caught(forger.verify(ledger=other.ledger.path), "ledger file", "it was rewritten")
    forger.stage.ledger = Ledger(other.ledger.path)
    with pytest.raises(IntegrityError, match="another ledger than the one"):
        look_under_the_old_name(forger, tmp_path)


def look_under_the_old_name(forger: Forger, root: Path) -> None:
    forger.stage.root = root  # where Wanda's ledger lies
    look(forger.stage)


def test_an_entry_dated_back_behind_its_own_keys_last(forger: Forger) -> None:
    moment = datetime.fromisoformat(forger.stage.ledger.append("note", {}, MALLORY).time)
    for back in (timedelta(milliseconds=1), timedelta(hours=23)):
        shutil.copy(forger.stage.ledger.path, forger.stage.root / "dated.jsonl")
        dated = Ledger(forger.stage.root / "dated.jsonl")
        time = (moment - back).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        append_at(dated, time, MALLORY)
        caught(forger.verify(ledger=dated.path), "ledger file", "its time is before that of the entry before it")


def test_an_entry_dated_back_by_years_passes_and_its_clock_is_called_wrong(forger: Forger) -> None:
    index = append_at(forger.stage.ledger, "2020-01-01T00:00:00.000Z", MALLORY)
    steps = forger.verify()
    passes(steps)
    found = next(step.detail for step in steps if step.name == "ledger file")
    assert f"the clock of entry {index} is wrong (2020-01-01T00:00:00.000Z)" in found
