from __future__ import annotations

import re

import pytest
from page_checker import PageChecker

from spiritsafe.report import LossPoint, ReportData, TrainingCurve
from spiritsafe.report.charts.loss_curves import MAX_POINTS, accuracy_drawing, loss_drawing, thinned


def points(num: int) -> tuple[LossPoint, ...]:
    return tuple(LossPoint(step=step, num_tokens=100 * step, loss=float(step % 7)) for step in range(num))


@pytest.mark.parametrize("num", [1, MAX_POINTS, MAX_POINTS + 1, 10_000])
def test_long_curves_are_thinned_without_hiding_spikes(num: int) -> None:
    losses = (*points(num - 1), LossPoint(step=num, num_tokens=100 * num, loss=99.0))
    buckets = thinned(losses)
    assert len(buckets) <= MAX_POINTS
    assert max(bucket.high for bucket in buckets) == 99.0
    assert all(bucket.low <= bucket.mean <= bucket.high for bucket in buckets)


def test_short_curves_are_drawn_as_they_are() -> None:
    assert [bucket.mean for bucket in thinned(points(5))] == [0, 1, 2, 3, 4]
    assert thinned(()) == ()


@pytest.mark.parametrize("width", [340, 510])
def test_loss_chart_has_axes_units_and_stays_inside(width: int, data: ReportData) -> None:
    height, drawing = loss_drawing(data.curves[0])(width)
    page = PageChecker(drawing)
    assert page.problems == []
    assert "tokens seen (steps 1 to 240)" in page.text
    assert "2.5" in page.text
    pairs = re.findall(r"([-\d.]+),([-\d.]+)", " ".join(re.findall(r'points="([^"]+)"', drawing)))
    assert all(50 <= float(x) <= width and 0 <= float(y) <= height for x, y in pairs)
    falling = re.findall(r'points="([^"]+)" class="curve"', drawing)[0].split()
    assert float(falling[0].split(",")[1]) < float(falling[-1].split(",")[1])


def test_every_accuracy_has_an_interval_on_the_chart(data: ReportData) -> None:
    curve = data.curves[1]
    drawing = accuracy_drawing(curve)(510)[1]
    assert drawing.count("<circle") == len(curve.accuracies)
    assert drawing.count('class="whisker') == 3 * len(curve.accuracies)
    assert all(re.search(r"\(.*–.*%\)", title) for title in re.findall("<title>(.*?)</title>", drawing))


def test_constant_losses_and_single_points_are_drawn() -> None:
    flat = TrainingCurve(
        stage="s", loss_name="l", losses=tuple(LossPoint(step=i, num_tokens=0, loss=0.0) for i in range(3))
    )
    assert "<polyline" in loss_drawing(flat)(340)[1]
