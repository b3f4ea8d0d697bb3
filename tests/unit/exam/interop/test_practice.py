"""Practice: counted as an exam counts, compared by problem, and with no way into a certificate."""

from __future__ import annotations

import ast
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from exam_parts import ToyModel, make_stage
from places import ROOT
from scipy import stats

import spiritsafe.exam
from spiritsafe.cli.exam.options import reference_digest
from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError, IntegrityError, SpiritsafeError
from spiritsafe.core.records import Attempt, FinishReason, Sampling, Verdict
from spiritsafe.exam import find_registration, load_certificate, load_paper, load_private, verify
from spiritsafe.exam.interop.practice import (
    PRACTICE_STATEMENT,
    PracticeAnswer,
    PracticeHeader,
    PracticeRun,
    compare_practice,
    load_practice,
    not_run,
    score_practice,
    verdict_of_value,
    write_practice,
)
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.result import ExamResult

IMPORTED = {"practice", "inspect_log", "lm_eval_log", "graded_runs", "paired_runs"}
GRADER = ("tool:match", "1")


def attempt(sample: int, index: int = 0, finish: FinishReason = "stop") -> Attempt:
    return Attempt(
        problem_id=digest({"practice": "sums", "sample": str(sample)}), sample_index=index, model="m",
        sampling=Sampling(), seed=0, text="5", finish_reason=finish, error="broke" if finish == "error" else None,
    )  # fmt: skip


def answer(
    sample: int, value: float, index: int = 0, finish: FinishReason = "stop", asked: str = "q"
) -> PracticeAnswer:
    verdict = None if finish == "error" else verdict_of_value(value, unparsed=False, answer="5", grader=GRADER)
    return PracticeAnswer(
        sample=str(sample), asked=digest({"asked": asked, "sample": sample}), attempt=attempt(sample, index, finish),
        verdict=verdict,
    )  # fmt: skip


def run_of(*answers: PracticeAnswer, **header: Any) -> PracticeRun:
    samples = {a.sample for a in answers}
    fields = {
        "tool": "tool 1", "task": "sums", "model": "m", "scorer": "match", "file": "log.json",
        "file_digest": digest("log"), "num_problems": len(samples), "num_tries": len(answers) // len(samples),
    }  # fmt: skip
    return PracticeRun(PracticeHeader(**{**fields, **header}), answers)


def test_errors_stay_in_the_denominator() -> None:
    failed = [answer(i, 0.0, finish="error") for i in range(4)]
    run = run_of(*failed, not_run(attempt(4), "4"), *(answer(i, 1.0) for i in range(5, 10)))
    scores = score_practice(run)
    assert scores.counts["error"] == 5
    assert sum(scores.counts.values()) == scores.accuracy.n == 10
    assert scores.accuracy.value == 0.5  # Inspect would report 1.0
    expected = stats.binomtest(5, 10).proportion_ci(method="exact")
    assert (scores.accuracy.low, scores.accuracy.high) == pytest.approx((expected.low, expected.high))
    assert scores.accuracy.method == "Clopper-Pearson"


def test_every_status_is_counted_apart() -> None:
    unparsed = verdict_of_value(0.0, unparsed=True, answer=None, grader=GRADER)
    unscored = verdict_of_value(math.nan, unparsed=False, answer=None, grader=GRADER)
    run = run_of(
        answer(0, 1.0), answer(1, 0.0), answer(2, 0.5), answer(3, 0.0, finish="length"),
        answer(4, 1.0, finish="length"), answer(5, 1.0, finish="refused"), answer(6, 0.0, finish="error"),
        answer(7, 0.0).model_copy(update={"verdict": unparsed}),
        answer(8, 0.0).model_copy(update={"verdict": unscored}),
    )  # fmt: skip
    scores = score_practice(run)
    assert scores.counts == {
        "correct": 2, "wrong": 2, "unparsed": 1, "unscored": 1, "refused": 1, "truncated": 1, "error": 1,
    }  # fmt: skip
    assert scores.mean_score == pytest.approx((1 + 0.5 + 1 + 1) / 9)


def test_several_tries_are_clusters() -> None:
    tries = [answer(i, float(i % 2), index) for i in range(20) for index in range(3)]
    accuracy = score_practice(run_of(*tries)).accuracy
    assert accuracy.method == "Korn-Graubard, unseen problems allowed for"
    naive = stats.binomtest(30, 60).proportion_ci(method="exact")
    assert accuracy.high - accuracy.low > 1.3 * (naive.high - naive.low)  # three equal answers are worth one


@pytest.mark.parametrize("value", [-0.1, 1.5, math.inf])
def test_what_is_no_score_is_refused(value: float) -> None:
    with pytest.raises(CompatibilityError, match="not a score"):
        verdict_of_value(value, unparsed=False, answer=None, grader=GRADER)


def test_two_runs_are_compared_by_problem() -> None:
    first = run_of(*(answer(i, float(i < 30)) for i in range(40)))
    second = run_of(*(answer(i, float(i < 18 or i >= 37)) for i in range(40)))
    found = compare_practice(first, second)
    assert found.difference.value == pytest.approx((30 - 21) / 40)
    assert (found.num_first_better, found.num_second_better) == (12, 3)
    mid_p = 2 * (stats.binom.cdf(3, 15, 0.5) - 0.5 * stats.binom.pmf(3, 15, 0.5))  # McNemar's
    assert found.p_value == pytest.approx(mid_p)


@pytest.mark.parametrize(
    "other",
    [
        run_of(answer(0, 1.0), answer(1, 1.0), tool="another 1"),
        run_of(answer(0, 1.0), answer(1, 1.0), task="products"),
        run_of(answer(0, 1.0), answer(1, 1.0), scorer="includes"),
        run_of(answer(0, 1.0), answer(2, 1.0)),
        run_of(answer(0, 1.0), answer(0, 1.0, 1), answer(1, 1.0), answer(1, 1.0, 1)),
        run_of(answer(0, 1.0), answer(1, 1.0, asked="another question")),
    ],
    ids=["tool", "task", "scorer", "problems", "tries", "text"],
)
def test_runs_that_do_not_fit_are_not_compared(other: PracticeRun) -> None:
    first = run_of(answer(0, 1.0), answer(1, 0.0))
    later = run_of(answer(0, 1.0), answer(1, 0.0), tool="tool 2")
    assert compare_practice(first, later).difference.value == 0
    with pytest.raises(CompatibilityError):
        compare_practice(first, other)


def test_a_try_without_a_record_is_compared_as_failed() -> None:
    first = run_of(answer(0, 1.0), answer(1, 1.0))
    assert compare_practice(first, run_of(answer(0, 1.0), not_run(attempt(1), "1"))).num_first_better == 1


def test_the_file_reads_back_and_a_missing_line_is_found(tmp_path: Path) -> None:
    run = run_of(answer(0, 1.0), answer(1, 0.0, finish="error"))
    path = tmp_path / "practice.jsonl"
    write_practice(path, run)
    assert load_practice(path) == run
    lines = path.read_text("utf-8").splitlines()
    assert json.loads(lines[0])["evidence"] == "practice"
    for broken in (lines[:-1], [*lines, lines[-1]], lines[1:], ["{"], []):
        path.write_text("\n".join(broken), "utf-8")
        with pytest.raises(IntegrityError):
            load_practice(path)
    header = json.loads(lines[0])
    path.write_text("\n".join([json.dumps({**header, "evidence": "sealed"}), *lines[1:]]), "utf-8")
    with pytest.raises(IntegrityError):
        load_practice(path)


def test_the_statement_says_what_it_is_not() -> None:
    assert "nothing was sealed" in PRACTICE_STATEMENT
    assert "registered" in PRACTICE_STATEMENT
    assert "never" in PRACTICE_STATEMENT


# ---- no way into a certificate


def test_the_contract_covers_the_whole_room() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = (c for c in settings["tool"]["importlinter"]["contracts"] if c["name"].startswith("Practice"))
    assert contract["source_modules"] == ["spiritsafe.exam.*"]
    assert {module.removeprefix("spiritsafe.exam.interop.") for module in contract["forbidden_modules"]} == IMPORTED
    assert {
        tuple(name.removeprefix("spiritsafe.exam.interop.") for name in line.split(" -> "))
        for line in contract["ignore_imports"]
    } == {
        *(("graded_runs", name) for name in ("inspect_log", "lm_eval_log", "practice")),
        ("paired_runs", "graded_runs"), ("inspect_log", "practice"), ("lm_eval_log", "practice"),
    }  # fmt: skip


def test_no_other_module_of_the_room_imports_them() -> None:
    room = sorted(Path(spiritsafe.exam.__file__).parent.rglob("*.py"))
    assert {path.stem for path in room} >= IMPORTED
    for path in room:
        if path.stem in IMPORTED | {"__init__"}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            source, names = getattr(node, "module", "") or "", {alias.name for alias in node.names}
            assert not {name.split(".")[-1] for name in {source, *names}} & IMPORTED, path.name
            assert "spiritsafe.exam" not in names, path.name
            assert source != "spiritsafe.exam", f"{path.name}: the face hands on what these export"


def test_nothing_of_an_exam_reads_a_practice_file(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    good = stage.certificate(ToyModel())
    practice = tmp_path / "practice.jsonl"
    write_practice(practice, run_of(answer(0, 1.0), answer(1, 1.0)))
    single = tmp_path / "header.json"
    single.write_bytes(practice.read_bytes().splitlines(keepends=True)[0])
    registration = stage.register(ToyModel(name="another"))
    sitting = tmp_path / "another"
    sitting.mkdir()

    def as_file(name: str, path: Path) -> None:
        (sitting / name).write_bytes(path.read_bytes())
        try:
            stage.sit(ToyModel(name="another"), registration, "another")
        finally:
            (sitting / name).unlink()

    for path in (practice, single):
        doors: list[Any] = [
            lambda path=path: load_certificate(path),
            lambda path=path: reference_digest(str(path)),
            lambda path=path: load_paper(path),
            lambda path=path: load_private(path, name="bank"),
            lambda path=path: find_registration(stage.ledger, digest(path.read_text("utf-8"))),
            lambda path=path: as_file("answers.jsonl", path),
            lambda path=path: as_file("result.json", path),
            lambda path=path: as_file("certificate.json", path),
        ]
        for door in doors:
            with pytest.raises(SpiritsafeError):
                door()
        assert not verify(path, paper=stage.papers)[0].ok
        steps = stage.verify(ledger=path)
        assert any(not step.ok for step in steps)
    assert stage.sit(ToyModel(name="another"), registration, "another").result.model_name == "another"  # undisturbed
    stage.check()
    assert good.result.outcomes


@pytest.mark.parametrize("record", [PracticeHeader, PracticeAnswer])
def test_no_record_of_an_exam_takes_a_practice_record(record: Any, tmp_path: Path) -> None:
    value = run_of(answer(0, 1.0))
    planted = value.header.to_json() if record is PracticeHeader else value.answers[0].to_json()
    good = make_stage(tmp_path).certificate(ToyModel())
    for kind, whole in ((Certificate, good.to_json()), (ExamResult, good.result.to_json())):
        kind.from_json(whole)
        for name in whole:
            with pytest.raises(IntegrityError):
                kind.from_json({**whole, name: planted})
        with pytest.raises(IntegrityError):
            kind.from_json({**whole, "practice": planted})
    outcomes = [planted, *good.result.to_json()["outcomes"][1:]]
    with pytest.raises(IntegrityError):
        ExamResult.from_json({**good.result.to_json(), "outcomes": outcomes})


def test_a_verdict_of_practice_has_the_tools_name() -> None:
    verdict = verdict_of_value(1.0, unparsed=False, answer="5", grader=GRADER)
    assert verdict == Verdict(status="correct", score=1.0, answer="5", verifier="tool:match", version="1")
