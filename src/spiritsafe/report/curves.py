"""Learning curves: loss and dev accuracy against the tokens seen.

In: a :class:`TrainingCurve`. Out: drawings for :func:`spiritsafe.report.svg.figure`. Long curves are thinned to the
mean of equal runs of steps, with a band from the smallest to the largest loss of each run, so that no spike is hidden
and the page stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from spiritsafe.report.axes import Axis, linear_axis
from spiritsafe.report.data import AccuracyPoint, LossPoint, TrainingCurve
from spiritsafe.report.markup import Html, join, tag
from spiritsafe.report.numbers import scaled_count, score_text, tick_count
from spiritsafe.report.svg import Drawing, marker, svg_line, svg_text

__all__ = ["MAX_POINTS", "Bucket", "accuracy_drawing", "loss_drawing", "thinned"]

MAX_POINTS = 160


@final
@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Some neighbouring steps as one point."""

    num_tokens: float
    mean: float
    low: float
    high: float


def thinned(losses: tuple[LossPoint, ...]) -> tuple[Bucket, ...]:
    """At most ``MAX_POINTS`` buckets of equally many steps each (the last may hold fewer)."""
    size = -(-len(losses) // MAX_POINTS)
    buckets = []
    for start in range(0, len(losses), max(size, 1)):
        part = losses[start : start + size]
        values = [point.loss for point in part]
        buckets.append(
            Bucket(
                num_tokens=sum(point.num_tokens for point in part) / len(part),
                mean=sum(values) / len(values),
                low=min(values),
                high=max(values),
            )
        )
    return tuple(buckets)


def _axes(width: int, last_token: int, low: float, high: float) -> tuple[Axis, Axis]:
    num_ticks = 4 if width < 400 else 5
    across = linear_axis(0.0, float(max(last_token, 1)), start=50.0, end=width - 18.0, at_most=num_ticks)
    up = linear_axis(low, high, start=230.0, end=14.0, at_most=5)
    return across, up


def _frame(across: Axis, up: Axis, labels: tuple[str, ...], title: str) -> Html:
    parts = [svg_line(across.start, up(tick), across.end, up(tick), "grid") for tick in up.ticks]
    parts += [
        svg_text(across.start - 8, up(tick) + 4.5, label, class_="t tick", anchor="end")
        for tick, label in zip(up.ticks, labels, strict=True)
    ]
    parts.append(svg_line(across.start, up.start, across.end, up.start, "baseline"))
    for tick in across.ticks:
        parts.append(svg_line(across(tick), up.start, across(tick), up.start + 5, "baseline"))
        parts.append(svg_text(across(tick), up.start + 21, tick_count(tick), class_="t tick", anchor="middle"))
    middle = (across.start + across.end) / 2
    parts.append(svg_text(middle, up.start + 43, title, class_="t axis", anchor="middle"))
    return join(parts)


def _decimals(ticks: tuple[float, ...]) -> tuple[str, ...]:
    step = ticks[1] - ticks[0]
    digits = next((digits for digits in range(7) if abs(round(step, digits) - step) < step / 1000), 6)
    return tuple(f"{tick:.{digits}f}".replace("-", "−") for tick in ticks)


def _path(points: list[tuple[float, float]], class_: str) -> Html:
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def _steps_words(points: tuple[LossPoint, ...] | tuple[AccuracyPoint, ...]) -> str:
    return f"tokens seen (steps {points[0].step} to {points[-1].step})"


def loss_drawing(curve: TrainingCurve) -> Drawing:
    """Loss in nats a token; the curve holds at least one point."""
    buckets = thinned(curve.losses)
    low, high = min(bucket.low for bucket in buckets), max(bucket.high for bucket in buckets)

    def draw(width: int) -> tuple[float, Html]:
        across, up = _axes(width, curve.losses[-1].num_tokens, low, high)
        frame = _frame(across, up, _decimals(up.ticks), _steps_words(curve.losses))
        line = [(across(bucket.num_tokens), up(bucket.mean)) for bucket in buckets]
        upper = [(across(bucket.num_tokens), up(bucket.high)) for bucket in buckets]
        lower = [(across(bucket.num_tokens), up(bucket.low)) for bucket in reversed(buckets)]
        band = tag("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in upper + lower), class_="band")
        return 280, join([frame, band, _path(line, "curve")])

    return draw


def accuracy_drawing(curve: TrainingCurve) -> Drawing:
    """Dev score in percent with its intervals; the curve holds at least one accuracy."""
    points = curve.accuracies
    last = max(points[-1].num_tokens, curve.losses[-1].num_tokens if curve.losses else 0)
    high = max(point.score.high for point in points)

    def draw(width: int) -> tuple[float, Html]:
        across, up = _axes(width, last, 0.0, high)
        labels = tuple(f"{100 * tick:g}" for tick in up.ticks)
        parts = [_frame(across, up, labels, _steps_words(points))]
        parts.append(_path([(across(point.num_tokens), up(point.score.value)) for point in points], "trend"))
        for point in points:
            x, bottom, top = across(point.num_tokens), up(point.score.low), up(point.score.high)
            words = f"{scaled_count(point.num_tokens)} tokens: {score_text(point.score)}"
            parts.append(
                tag(
                    "g",
                    tag("title", words),
                    svg_line(x, bottom, x, top, "whisker w-student"),
                    svg_line(x - 4, bottom, x + 4, bottom, "whisker w-student"),
                    svg_line(x - 4, top, x + 4, top, "whisker w-student"),
                    marker("student", x, up(point.score.value)),
                )
            )
        return 280, join(parts)

    return draw
