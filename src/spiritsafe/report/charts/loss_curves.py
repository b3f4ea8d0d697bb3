"""Learning curves: loss and dev accuracy against the tokens seen.

In: a :class:`TrainingCurve`. Out: drawings for :func:`spiritsafe.report.charts.svg.figure`. Long curves are thinned to
the mean of equal runs of steps, with a band from the smallest to the largest loss of each run, so that no spike is
hidden and the page stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from spiritsafe.report.charts.frame import FRAME_HEIGHT, chart_axes, chart_frame, decimal_labels, polyline
from spiritsafe.report.charts.svg import Drawing, marker, svg_line
from spiritsafe.report.data.run import AccuracyPoint, LossPoint, TrainingCurve
from spiritsafe.report.html.markup import Html, join, tag
from spiritsafe.report.numbers import scaled_count, score_text

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


def _steps_words(points: tuple[LossPoint, ...] | tuple[AccuracyPoint, ...]) -> str:
    return f"tokens seen (steps {points[0].step} to {points[-1].step})"


def loss_drawing(curve: TrainingCurve) -> Drawing:
    """Loss in nats a token; the curve holds at least one point."""
    buckets = thinned(curve.losses)
    low, high = min(bucket.low for bucket in buckets), max(bucket.high for bucket in buckets)

    def draw(width: int) -> tuple[float, Html]:
        across, up = chart_axes(width, curve.losses[-1].num_tokens, low, high)
        frame = chart_frame(across, up, decimal_labels(up.ticks), _steps_words(curve.losses))
        line = [(across(bucket.num_tokens), up(bucket.mean)) for bucket in buckets]
        upper = [(across(bucket.num_tokens), up(bucket.high)) for bucket in buckets]
        lower = [(across(bucket.num_tokens), up(bucket.low)) for bucket in reversed(buckets)]
        band = tag("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in upper + lower), class_="band")
        return FRAME_HEIGHT, join([frame, band, polyline(line, "curve")])

    return draw


def accuracy_drawing(curve: TrainingCurve) -> Drawing:
    """Dev score in percent with its intervals; the curve holds at least one accuracy."""
    points = curve.accuracies
    last = max(points[-1].num_tokens, curve.losses[-1].num_tokens if curve.losses else 0)
    high = max(point.score.high for point in points)

    def draw(width: int) -> tuple[float, Html]:
        across, up = chart_axes(width, last, 0.0, high)
        labels = tuple(f"{100 * tick:g}" for tick in up.ticks)
        parts = [chart_frame(across, up, labels, _steps_words(points))]
        parts.append(polyline([(across(point.num_tokens), up(point.score.value)) for point in points], "trend"))
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
        return FRAME_HEIGHT, join(parts)

    return draw
