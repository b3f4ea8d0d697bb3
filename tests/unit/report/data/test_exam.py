from __future__ import annotations

import pytest
from pydantic import ValidationError
from report_parts import estimate

from spiritsafe.report import ExamScore, Outcomes, ReportData


def test_a_score_needs_an_interval() -> None:
    with pytest.raises(ValidationError, match="sealed"):
        ExamScore(model="m", sealed=0.5)  # type: ignore[arg-type]


def test_a_change_says_against_which_model() -> None:
    for half in ({"change": estimate(0.1, 0.05)}, {"against": "base"}):
        with pytest.raises(ValidationError, match="names the model"):
            ExamScore(model="m", sealed=estimate(0.5, 0.1), **half)  # type: ignore[arg-type]


def test_who_did_not_sit_has_no_score(data: ReportData) -> None:
    (exam,) = data.exams
    assert exam.score_of("nobody") is None
    assert exam.score_of(data.ladder[2].name) == exam.scores[2]


def test_every_estimate_of_an_exam_is_counted(steps: ReportData) -> None:
    (exam,) = steps.exams
    in_public = 2 * sum(score.public is not None for score in exam.scores)
    in_scores = sum(bool(e) for s in exam.scores for e in (s.sealed, s.change, s.gain, s.gain_kept))
    assert len(list(exam.estimates())) == in_public + in_scores + 3


def test_every_try_is_in_the_denominator() -> None:
    assert Outcomes(model="m", half="sealed", counts={"correct": 2, "error": 3}).num_tries == 5
    with pytest.raises(ValidationError, match="counts"):
        Outcomes(model="m", half="sealed", counts={"forgotten": 1})  # type: ignore[dict-item]
