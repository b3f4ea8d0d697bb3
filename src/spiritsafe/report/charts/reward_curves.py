"""Curves of learning by reward: a number against rounds for every run, and pass@k before and after.

In: runs and pass@k points. Out: drawings for :func:`spiritsafe.report.charts.svg.figure`. Long runs are thinned to the
mean of equal stretches of rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from spiritsafe.report.charts.frame import FRAME_HEIGHT, chart_axes, chart_frame, decimal_labels, polyline
from spiritsafe.report.charts.loss_curves import MAX_POINTS
from spiritsafe.report.charts.svg import Drawing, marker, svg_line
from spiritsafe.report.data.learning import PassPoint, RewardRun, RoundPoint
from spiritsafe.report.html.markup import Html, join, tag
from spiritsafe.report.numbers import score_text
from spiritsafe.stats import Estimate

Value = Callable[[RoundPoint], float | Estimate | None]
"""Which number of a round is shown; an estimate is drawn with its interval."""


def _points(run: RewardRun, value: Value) -> list[tuple[float, float]]:
    """Rounds and values, at most ``MAX_POINTS`` of them."""
    found = [(float(point.round), value(point)) for point in run.rounds]
    known = [(x, y.value if isinstance(y, Estimate) else y) for x, y in found if y is not None]
    size = -(-len(known) // MAX_POINTS) or 1
    parts = [known[start : start + size] for start in range(0, len(known), size)]
    return [(math.fsum(x for x, _ in part) / len(part), math.fsum(y for _, y in part) / len(part)) for part in parts]


def _intervals(run: RewardRun, value: Value) -> list[tuple[float, Estimate]]:
    return [(float(p.round), found) for p in run.rounds if isinstance(found := value(p), Estimate)]


def has_values(runs: Sequence[RewardRun], value: Value) -> bool:
    """Whether any run knows the number in any round."""
    return any(_points(run, value) for run in runs)


def round_drawing(runs: Sequence[RewardRun], value: Value) -> Drawing:
    """One line a run, controls below the real ones; at least one run knows the number."""
    lines = [(run.kind, points) for run in runs if (points := _points(run, value))]
    bars = [(run.kind, x, estimate) for run in runs for x, estimate in _intervals(run, value)]
    heights = [y for _, points in lines for _, y in points]
    heights += [end for _, _, estimate in bars for end in (estimate.low, estimate.high)]
    low, high, last = min(0.0, *heights), max(heights), max(x for _, points in lines for x, _ in points)

    def draw(width: int) -> tuple[float, Html]:
        across, up = chart_axes(width, last, low, high)
        parts = [chart_frame(across, up, decimal_labels(up.ticks), "round")]
        for kind, x, estimate in bars:
            role = "reinforced" if kind == "reinforced" else "control"
            whisker = svg_line(across(x), up(estimate.low), across(x), up(estimate.high), f"whisker w-{role}")
            parts.append(tag("g", tag("title", score_text(estimate)), whisker))
        for kind, points in sorted(lines, key=lambda line: line[0] == "reinforced"):
            placed = [(across(x), up(y)) for x, y in points]
            parts.append(polyline(placed, f"line l-{kind}"))
            if len(placed) < 3:  # a line of one point shows nothing
                parts += [tag("circle", cx=x, cy=y, r="3", class_=f"dot l-{kind}") for x, y in placed]
        return FRAME_HEIGHT, join(parts)

    return draw


def pass_drawing(points: Sequence[PassPoint]) -> Drawing:
    """pass@k against tries, on doubling steps, before and after, with intervals."""
    places = [math.log2(point.k) for point in points]
    high = max(max(point.before.high, point.after.high) for point in points)

    def draw(width: int) -> tuple[float, Html]:
        across, up = chart_axes(width, max(places), 0.0, high, first=0.0)
        labels = [f"{100 * tick:g}" for tick in up.ticks]
        tries = [f"{2**tick:g}" if tick == round(tick) else "" for tick in across.ticks]
        parts = [chart_frame(across, up, labels, "tries at a problem (k)", across_labels=tries)]
        # side by side: the two would hide each other's whiskers
        for name, shape, shift in (("before", "base", 0.0), ("after", "reinforced", 7.0)):
            scores = [(point.k, getattr(point, name)) for point in points]
            placed = [(across(x) + shift, up(score.value)) for x, (_, score) in zip(places, scores, strict=True)]
            parts.append(polyline(placed, f"line l-{'before' if name == 'before' else 'reinforced'}"))
            for (x, y), (k, score) in zip(placed, scores, strict=True):
                bottom, top = up(score.low), up(score.high)
                parts.append(
                    tag(
                        "g",
                        tag("title", f"{name}, pass@{k}: {score_text(score)}"),
                        svg_line(x, bottom, x, top, f"whisker w-{shape}"),
                        svg_line(x - 4, bottom, x + 4, bottom, f"whisker w-{shape}"),
                        svg_line(x - 4, top, x + 4, top, f"whisker w-{shape}"),
                        marker(shape, x, y),
                    )
                )
        return FRAME_HEIGHT, join(parts)

    return draw
