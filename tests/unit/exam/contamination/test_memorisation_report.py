from __future__ import annotations

import json
from pathlib import Path

import pytest
from exam_parts import Stage, ToyModel

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.exam.contamination.logprob_tests import score_test
from spiritsafe.exam.contamination.memorisation_report import SUPPORTING_ONLY, statements_of_memory
from spiritsafe.exam.records.contamination import MemoryReport, OrderTest, SignedMemory
from spiritsafe.ledger import KeyPair

KNOWN = score_test([2.0] * 20, [1.0] * 20, method="Min-K%++", text="answer", seed=0)
UNKNOWN = score_test([1.0, 2.0] * 10, [2.0, 1.0] * 10, method="mean", text="question", seed=0)
ORDER = OrderTest(num_shards=5, shard_size=8, num_shuffles=19, mean_excess=0.25, p_value=0.4, num_draws=9999)


def test_statements() -> None:
    found = statements_of_memory(True, [KNOWN, UNKNOWN], ORDER)
    assert found[0] == "A sign of memory: Min-K%++ of the answer (p = 0.0003, corrected for 3 tests)."
    assert found[1].startswith(
        "Min-K%++ of the answer: a public problem scores higher than a sealed one with chance 1.00"
    )
    assert found[3].startswith("Published order: 5 shards of 8 problems")
    assert found[-1] == SUPPORTING_ONLY
    assert statements_of_memory(True, [UNKNOWN], ORDER)[0].startswith("No sign of memory")
    assert statements_of_memory(False, [], None)[0].startswith("Nothing could be tested")
    assert any("stands in" in text for text in statements_of_memory(False, [UNKNOWN], None))


def report_of(stage: Stage) -> MemoryReport:
    return MemoryReport(
        paper_id=stage.paper.header.paper_id,
        generator=GeneratorInfo(name="toy", digest="sha256:" + "0" * 64, kind="local"),
        has_spread=True,
        scores=(KNOWN, UNKNOWN),
        order=ORDER,
        statements=statements_of_memory(True, (KNOWN, UNKNOWN), ORDER),
        finished="2026-11-27T10:00:00.000Z",
        examiner=stage.examiner.public,
        software={},
    )


def write(stage: Stage, report: MemoryReport, key: KeyPair | None = None) -> Path:
    signed = SignedMemory(report=report, signature=(key or stage.examiner).sign("memory", report.canonical()))
    path = stage.root / "memory.json"
    path.write_bytes(signed.canonical())
    return path


def enter(stage: Stage, report: MemoryReport, key: KeyPair | None = None) -> None:
    body = {"paper_id": report.paper_id, "report": report.content_digest}
    stage.ledger.append("memory", body, key or stage.examiner)


def step_of(stage: Stage, path: Path, **options):
    return next(s for s in stage.verify(memories=[path], **options) if s.name == "signs of memory")


@pytest.fixture
def sat(stage: Stage) -> Stage:
    stage.certificate(ToyModel())
    return stage


def test_verify_prints_what_was_found(sat: Stage) -> None:
    report = report_of(sat)
    path = write(sat, report)
    enter(sat, report)
    step = step_of(sat, path)
    assert (step.ok, step.checked) == (True, True)
    assert step.detail.startswith("toy: A sign of memory")
    assert "Supporting evidence only" in step.detail
    assert not step_of(sat, path, ledger=None).checked


def test_an_altered_report_is_found(sat: Stage) -> None:
    report = report_of(sat)
    enter(sat, report)
    path = write(sat, report)
    value = json.loads(path.read_bytes())
    value["report"]["scores"][0]["p_value"] = 0.9
    path.write_bytes(canonical_json(value))
    step = step_of(sat, path)
    assert not step.ok
    assert "bad signature" in step.detail


def test_a_false_report_is_found(sat: Stage) -> None:
    report, mallory = report_of(sat), KeyPair.generate("Mallory")
    step = step_of(sat, write(sat, report))
    assert "not in the ledger" in step.detail
    false = report.model_copy(update={"statements": ("All is well.", SUPPORTING_ONLY)})
    enter(sat, false)
    assert "do not follow" in step_of(sat, write(sat, false)).detail
    other = report.model_copy(update={"paper_id": "sha256:" + "0" * 64})
    enter(sat, other)
    assert "another paper" in step_of(sat, write(sat, other)).detail
    assert "another key" in step_of(sat, write(sat, report, mallory)).detail
    theirs = report.model_copy(update={"examiner": mallory.public})
    enter(sat, theirs, mallory)
    assert "cannot open this paper" in step_of(sat, write(sat, theirs, mallory)).detail
