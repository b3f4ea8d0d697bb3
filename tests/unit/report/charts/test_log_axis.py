from __future__ import annotations

import pytest

from spiritsafe.report.charts.log_axis import log_axis, log_ticks


@pytest.mark.parametrize(
    ("low", "high", "at_most", "ticks"),
    [
        (40.0, 7000.0, 8, (50, 100, 200, 500, 1000, 2000, 5000)),
        (40.0, 7000.0, 4, (100, 300, 1000, 3000)),
        (1e9, 1e15, 8, (1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15)),
        (1e9, 1e15, 4, (1e9, 1e11, 1e13, 1e15)),
        (17.0, 130.0, 9, (20, 50, 100)),
        (31.0, 39.0, 5, (32, 34, 36, 38)),
    ],
)
def test_ticks_are_round_and_fit(low: float, high: float, at_most: int, ticks: tuple[float, ...]) -> None:
    assert log_ticks(low, high, at_most) == pytest.approx(ticks)


@pytest.mark.parametrize("low", [1e-3, 1.0, 7.5, 123.4, 9.99e11])
@pytest.mark.parametrize("ratio", [1.0, 1.01, 1.5, 3.0, 10.0, 700.0, 1e6])
def test_every_range_has_a_few_ticks_inside(low: float, ratio: float) -> None:
    axis = log_axis(low, low * ratio, start=0.0, end=100.0, at_most=6)
    assert 1 <= len(axis.ticks) <= 6
    assert all(0.0 <= axis(tick) <= 100.0 for tick in axis.ticks)
    assert 0.0 < axis(low) <= axis(low * ratio) < 100.0


def test_equal_ratios_are_equal_distances() -> None:
    axis = log_axis(10.0, 1000.0, start=50.0, end=450.0, at_most=5)
    assert axis(40.0) - axis(20.0) == pytest.approx(axis(800.0) - axis(400.0))
    assert axis(axis.low) == 50.0
    assert axis(axis.high) == 450.0


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_what_has_no_logarithm_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="logarithmic"):
        log_axis(low, high, start=0.0, end=1.0, at_most=3)
