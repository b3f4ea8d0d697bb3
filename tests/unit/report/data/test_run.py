from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.core.records import Message, Verdict
from spiritsafe.report import LossPoint, ReportData, TraceCounts, Transcript

VERDICT = Verdict(status="correct", score=1.0, verifier="arith", version="1")


def test_the_record_survives_json(data: ReportData) -> None:
    assert ReportData.from_json(data.to_json()) == data


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


def test_a_ladder_has_one_base_and_one_teacher(data: ReportData) -> None:
    with pytest.raises(ValidationError, match="one teacher"):
        ReportData(run=data.run, inputs=data.inputs, ladder=(*data.ladder, data.ladder[1]))


def test_traces_add_up() -> None:
    TraceCounts(origin="x", num_asked=10, num_verified=7, dropped={"wrong": 3})
    with pytest.raises(ValidationError, match="add up"):
        TraceCounts(origin="x", num_asked=10, num_verified=7, dropped={"wrong": 2})


def test_no_nan_reaches_a_chart() -> None:
    with pytest.raises(ValidationError, match="finite"):
        LossPoint(step=1, num_tokens=1, loss=float("nan"))


def test_sums(data: ReportData) -> None:
    assert data.total_s == pytest.approx(549.5)
    num_accuracies = sum(len(curve.accuracies) for curve in data.curves)
    assert len(list(data.estimates())) == 1 + 3 * 3 + 2 + 1 + num_accuracies


def test_roles(data: ReportData) -> None:
    assert data.rung_of("student") == data.ladder[2]
    assert data.model_copy(update={"ladder": ()}).rung_of("base") is None
