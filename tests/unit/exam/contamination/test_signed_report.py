from __future__ import annotations

from pathlib import Path

import pytest
from exam_parts import Stage

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam import PaperLog, overlap
from spiritsafe.exam.contamination.signed_report import MemoryEntry, OverlapEntry, check_examiner_report
from spiritsafe.ledger import KeyPair

MALLORY = KeyPair.generate("Mallory")


@pytest.fixture
def made(stage: Stage):
    file = stage.root / "train.txt"
    file.write_text("Nothing of the paper.\n", "utf-8")
    return overlap(
        paper=stage.papers,
        files=[file],
        task=stage.task,
        examiner=stage.examiner,
        ledger=stage.ledger,
        output=stage.root / "overlap.json",
    )


def check(stage: Stage, signed, *, kind=OverlapEntry, follows=(), entries=None) -> None:
    check_examiner_report(
        signed,
        Path("it"),
        kind=kind,
        log=PaperLog(stage.ledger.entries() if entries is None else entries, stage.paper.header),
        follows=follows,
    )


def test_a_good_report_passes(stage: Stage, made) -> None:
    check(stage, made, follows=[(True, "is no matter")])


def resigned(made, key: KeyPair, **changes):
    report = made.report.model_copy(update=changes)
    return made.model_copy(update={"report": report, "signature": key.sign("overlap", report.canonical())})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, m: resigned(m, MALLORY), "signed by another key"),
        (lambda s, m: m.model_copy(update={"report": m.report.model_copy(update={"about": "x"})}), "bad signature"),
        (lambda s, m: resigned(m, s.examiner, paper_id="sha256:" + "0" * 64), "of another paper"),
        (lambda s, m: resigned(m, MALLORY, examiner=MALLORY.public), "cannot open this paper"),
        (lambda s, m: resigned(m, s.examiner, about="x"), "not in the ledger"),
    ],
)
def test_what_does_not_fit_is_named(stage: Stage, made, change, words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        check(stage, change(stage, made))


def test_its_own_conditions_and_kind_count(stage: Stage, made) -> None:
    with pytest.raises(IntegrityError, match="The overlap report it is made up"):
        check(stage, made, follows=[(True, "is fine"), (False, "is made up")])
    with pytest.raises(IntegrityError, match="bad signature"):  # a signature is for one kind only
        check(stage, made, kind=MemoryEntry)
    with pytest.raises(IntegrityError, match="not in the ledger"):
        check(stage, made, entries=[])
