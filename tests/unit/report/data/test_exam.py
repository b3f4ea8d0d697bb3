from __future__ import annotations

import pytest
from pydantic import ValidationError
from report_parts import estimate

from spiritsafe.report import Outcomes, Rung


def test_a_score_needs_an_interval() -> None:
    with pytest.raises(ValidationError, match="sealed"):
        Rung(name="m", role="student", num_parameters=1, weight_bytes=1, sealed=0.5)  # type: ignore[arg-type]


def test_comparisons_need_a_sealed_score() -> None:
    with pytest.raises(ValidationError, match="no sealed score"):
        Rung(name="m", role="student", num_parameters=1, weight_bytes=1, change=estimate(0.1, 0.05))


def test_every_try_is_in_the_denominator() -> None:
    assert Outcomes(model="m", half="sealed", counts={"correct": 2, "error": 3}).num_tries == 5
    with pytest.raises(ValidationError, match="counts"):
        Outcomes(model="m", half="sealed", counts={"forgotten": 1})  # type: ignore[dict-item]
