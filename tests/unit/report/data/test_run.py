from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.core.records import Message, Verdict
from spiritsafe.report import LossPoint, ReportData, Transcript

VERDICT = Verdict(status="correct", score=1.0, verifier="arith", version="1")


def test_the_record_survives_json(data: ReportData, two_exams: ReportData, no_exam: ReportData) -> None:
    for run in (data, two_exams, no_exam):
        assert ReportData.from_json(run.to_json()) == run


def test_exam_problems_cannot_be_shown() -> None:
    with pytest.raises(ValidationError, match="split"):
        Transcript(
            model="m",
            split="exam",  # type: ignore[arg-type]
            messages=(Message(role="user", content="?"),),
            text="!",
            finish_reason="stop",
            verdict=VERDICT,
        )


def test_names_are_told_apart_and_who_sat_is_a_model_of_the_run(data: ReportData) -> None:
    (exam,) = data.exams
    with pytest.raises(ValidationError, match="stands there twice"):
        ReportData(run=data.run, inputs=data.inputs, ladder=(*data.ladder, data.ladder[1]))
    with pytest.raises(ValidationError, match="exam stands there twice"):
        ReportData(run=data.run, inputs=data.inputs, ladder=data.ladder, exams=(exam, exam))
    with pytest.raises(ValidationError, match="sums-24L sat exam and is no model of the run"):
        ReportData(run=data.run, inputs=data.inputs, ladder=data.ladder[:2], exams=(exam,))


def test_no_nan_reaches_a_chart() -> None:
    with pytest.raises(ValidationError, match="finite"):
        LossPoint(step=1, num_tokens=1, loss=float("nan"))


def test_sums(data: ReportData) -> None:
    assert data.total_s == pytest.approx(549.5)
    num_accuracies = sum(len(curve.accuracies) for curve in data.curves)
    assert len(list(data.estimates())) == 1 + 3 * 3 + 2 + 1 + num_accuracies


def test_sizes_are_shares_of_the_one_teacher_whose_size_is_known(data: ReportData, no_exam: ReportData) -> None:
    assert data.teacher == data.ladder[1]
    second = data.ladder[0].model_copy(update={"role": "teacher"})
    assert data.model_copy(update={"ladder": (second, *data.ladder[1:])}).teacher is None
    assert data.model_copy(update={"ladder": ()}).teacher is None
    assert no_exam.teacher is None  # served


def test_who_sat_and_who_did_not(two_exams: ReportData, no_exam: ReportData) -> None:
    assert [rung.name for rung in two_exams.unsat] == ["qwen-cut"]
    assert no_exam.unsat == no_exam.ladder
    code = two_exams.exams[1]
    assert [rung.name for rung, _ in two_exams.sat(code)] == [score.model for score in code.scores]


def test_what_was_given(no_exam: ReportData) -> None:
    assert [no_exam.is_given(rung) for rung in no_exam.ladder] == [True, True, False, False]
