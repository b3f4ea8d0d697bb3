from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.report import MadeRow, Reinforced, ReportData, RoundPoint


def test_the_records_survive_json(steps: ReportData) -> None:
    assert ReportData.from_json(steps.to_json()) == steps


def test_every_estimate_is_counted(data: ReportData, steps: ReportData) -> None:
    (step,) = steps.reinforced
    num_dev = sum(point.dev is not None for run in step.runs for point in run.rounds)
    assert num_dev == 5
    in_steps = 3 * len(step.passes) + 2 + num_dev + 2 * len(step.arms) + 2
    assert len(list(step.estimates())) == in_steps
    in_exams = sum(len(list(exam.estimates())) for exam in steps.exams)
    before = sum(len(list(exam.estimates())) for exam in data.exams)
    assert len(list(steps.estimates())) == len(list(data.estimates())) + in_steps + in_exams - before


def test_arms_belong_to_an_exam(two_exams: ReportData) -> None:
    (step,) = two_exams.reinforced
    assert [arm.kind for arm in step.arms_of("maths")] == ["reinforced", "random", "rft"]
    assert [arm.kind for arm in step.arms_of("code")] == ["reinforced"]
    assert step.arms_of("exam") == ()


def test_what_cannot_be_is_refused(steps: ReportData) -> None:
    with pytest.raises(ValidationError):
        MadeRow(name="x", made_by="reinforced", flops=-1)
    with pytest.raises(ValidationError, match="finite"):
        RoundPoint(round=0, num_tokens=1, entropy=float("nan"))
    value = steps.reinforced[0].to_json()
    with pytest.raises(ValidationError):
        Reinforced.model_validate(value | {"runs": []})
