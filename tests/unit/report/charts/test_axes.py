from __future__ import annotations

import pytest

from spiritsafe.report.charts.axes import linear_axis, nice_ticks


@pytest.mark.parametrize(
    ("low", "high", "at_most", "ticks"),
    [
        (0.0, 0.72, 5, (0.0, 0.2, 0.4, 0.6, 0.8)),
        (0.0, 1.0, 5, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (-0.04, 0.3, 5, (-0.1, 0.0, 0.1, 0.2, 0.3)),
        (0.0, 331_200.0, 4, (0.0, 100_000.0, 200_000.0, 300_000.0, 400_000.0)),
    ],
)
def test_ticks_are_round_and_cover_the_values(low: float, high: float, at_most: int, ticks: tuple[float, ...]) -> None:
    assert nice_ticks(low, high, at_most) == pytest.approx(ticks)


@pytest.mark.parametrize("value", [0.0, 3.0, -2.5, 1e-9, 1e12])
def test_one_value_still_makes_an_axis(value: float) -> None:
    ticks = nice_ticks(value, value, 5)
    assert ticks[0] < value < ticks[-1]


def test_positions_run_from_start_to_end() -> None:
    axis = linear_axis(0.0, 1.0, start=200.0, end=0.0, at_most=5)
    assert (axis(0.0), axis(0.5), axis(1.0)) == (200.0, 100.0, 0.0)
