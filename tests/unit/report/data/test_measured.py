from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.report import Measured, ReportData


def test_a_difference_says_against_which_model(no_exam: ReportData) -> None:
    value = no_exam.measured[1].to_json()
    with pytest.raises(ValidationError, match="not named"):
        Measured.model_validate(value | {"against": None})


@pytest.mark.parametrize("what", ["loss", "kl:", "KL:teacher", ""])
def test_what_was_measured_is_one_of_a_list(no_exam: ReportData, what: str) -> None:
    with pytest.raises(ValidationError, match="what"):
        Measured.model_validate(no_exam.measured[0].to_json() | {"what": what})


def test_a_number_needs_an_interval(no_exam: ReportData) -> None:
    with pytest.raises(ValidationError, match="value"):
        Measured.model_validate(no_exam.measured[0].to_json() | {"value": 1.4})


def test_every_number_is_counted_among_the_estimates(no_exam: ReportData) -> None:
    without = no_exam.model_copy(update={"measured": ()})
    assert len(list(no_exam.estimates())) == len(list(without.estimates())) + 5
