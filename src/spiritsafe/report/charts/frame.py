"""The frame of a line chart: axes, grid, labels, and lines through points.

In: what the chart must hold, and its width. Out: scales from values to pixels, and markup. A chart that shows something
against tokens, rounds or tries is drawn inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.report.charts.axes import Axis, linear_axis
from spiritsafe.report.charts.svg import svg_line, svg_text
from spiritsafe.report.html.markup import Html, join, tag
from spiritsafe.report.numbers import tick_count

FRAME_HEIGHT = 280
"""Pixels of a chart with its labels."""


def chart_axes(width: int, last: float, low: float, high: float, *, first: float = 0.0) -> tuple[Axis, Axis]:
    """Scales of a chart so wide: across from ``first`` to ``last``, up from ``low`` to ``high``."""
    num_ticks = 4 if width < 400 else 5
    across = linear_axis(first, max(last, first + 1.0), start=50.0, end=width - 18.0, at_most=num_ticks)
    up = linear_axis(low, high, start=230.0, end=14.0, at_most=5)
    return across, up


def chart_frame(
    across: Axis, up: Axis, labels: Sequence[str], title: str, *, across_labels: Sequence[str] | None = None
) -> Html:
    """Grid, baseline, labels and the title of the axis below.

    Args:
        across: Scale of the x axis.
        up: Scale of the y axis.
        labels: One for each tick of ``up``.
        title: What the x axis shows.
        across_labels: One for each tick of ``across``; None: the ticks as counts.
    """
    below = across_labels or [tick_count(tick) for tick in across.ticks]
    parts = [svg_line(across.start, up(tick), across.end, up(tick), "grid") for tick in up.ticks]
    parts += [
        svg_text(across.start - 8, up(tick) + 4.5, label, class_="t tick", anchor="end")
        for tick, label in zip(up.ticks, labels, strict=True)
    ]
    parts.append(svg_line(across.start, up.start, across.end, up.start, "baseline"))
    for tick, label in zip(across.ticks, below, strict=True):
        parts.append(svg_line(across(tick), up.start, across(tick), up.start + 5, "baseline"))
        parts.append(svg_text(across(tick), up.start + 21, label, class_="t tick", anchor="middle"))
    middle = (across.start + across.end) / 2
    parts.append(svg_text(middle, up.start + 43, title, class_="t axis", anchor="middle"))
    return join(parts)


def decimal_labels(ticks: Sequence[float]) -> tuple[str, ...]:
    """Ticks with as many decimals as tell them apart."""
    step = ticks[1] - ticks[0]
    digits = next((digits for digits in range(7) if abs(round(step, digits) - step) < step / 1000), 6)
    return tuple(f"{tick:.{digits}f}".replace("-", "−") for tick in ticks)


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Html:
    """A line through points in pixels."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)
