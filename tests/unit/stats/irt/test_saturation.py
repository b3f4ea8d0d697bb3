from __future__ import annotations

import numpy as np
import pytest

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.irt.model import ItemBank
from spiritsafe.stats.irt.saturation import watch_saturation


def bank(difficulties: list[float]) -> ItemBank:
    return ItemBank(
        names=tuple(str(i) for i in range(len(difficulties))),
        difficulties=tuple(difficulties),
        discriminations=(1.0,) * len(difficulties),
        model="rasch",
        num_sittings=3,
    )


def test_a_paper_that_everybody_solves_is_worn_out() -> None:
    right = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]])
    found = watch_saturation(bank([-3.0, -3.0, 0.0, 1.0]), right)
    assert (found.solved_by_all, found.solved_by_none) == (0.5, 0.0)
    assert found.saturated
    assert "worn out" in found.statement


def test_a_paper_in_the_middle_of_its_students_is_not() -> None:
    right = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1]])
    found = watch_saturation(bank([-1.0, -0.5, 0.5, 1.0]), right)
    assert found.solved_by_all == 0.0
    assert not found.saturated
    assert found.information_at_top > 0.5


def test_a_student_far_above_the_paper_wears_it_out() -> None:
    difficulties = [-2.0] * 40
    right = np.array([[1] * 40, [1] * 20 + [0] * 20, [0] * 20 + [1] * 20])
    found = watch_saturation(bank(difficulties), right)
    assert found.information_at_top < 0.25
    assert found.saturated


def test_counts_of_other_problems_are_refused() -> None:
    with pytest.raises(NumericalError):
        watch_saturation(bank([0.0]), [[1, 0]])
