from __future__ import annotations

import itertools

import numpy as np
import pytest

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.multiple_testing import holm


def closed_test(p_values):
    """Adjusted p-values by the closure principle: the largest Bonferroni p of all intersections with a hypothesis."""
    places = range(len(p_values))
    sets = [s for size in range(1, len(p_values) + 1) for s in itertools.combinations(places, size)]
    return [max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets if place in s) for place in places]


@pytest.mark.parametrize("p_values", [[0.01], [0.04, 0.001, 0.03, 0.2], [0.5, 0.5, 0.9], [0.02, 0.02, 0.02]])
def test_holm_is_the_closure_of_bonferroni(p_values):
    assert holm(p_values) == pytest.approx(closed_test(p_values))


def test_unreported_sittings_count_as_if_they_had_shown_nothing():
    assert holm([0.01, 0.02], num_tests=4) == pytest.approx(holm([0.01, 0.02, 1.0, 1.0])[:2])
    assert holm([0.01], num_tests=5) == pytest.approx((0.05,))
    assert holm([]) == ()


def test_a_maker_who_sits_often_and_shows_the_best_is_seldom_believed():
    rng = np.random.default_rng(4)
    tries = rng.random((4000, 5))  # nothing is there: p-values are uniform
    naive = (tries.min(axis=1) <= 0.05).mean()
    adjusted = np.mean([min(holm(row)) <= 0.05 for row in tries.tolist()])
    assert naive > 0.2
    assert adjusted <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize(
    "call",
    [
        lambda: holm([1.2]),
        lambda: holm([0.1, 0.2], num_tests=1),
    ],
)
def test_impossible_adjustments_are_refused(call):
    with pytest.raises(NumericalError) as caught:
        call()
    assert caught.value.hint
