"""A chart of rows: one model a row, its scores as marks with intervals on one shared axis.

In: rows of estimates. Out: a drawing for :func:`spiritsafe.report.charts.svg.figure`. On wide pages names stand left
and numbers right of the axis; on narrow ones above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.report.charts.axes import Axis, linear_axis
from spiritsafe.report.charts.svg import Drawing, marker, svg_line, svg_text
from spiritsafe.report.data.models import Role
from spiritsafe.report.html.markup import Html, join, shorten, tag
from spiritsafe.stats import Estimate

_CHARACTER = 8.2  # pixels of a bold 14 px character in a wide system font


@final
@dataclass(frozen=True, kw_only=True)
class Mark:
    """One estimate of a row; ``spoken`` is its text for pointers and screen readers."""

    score: Estimate
    spoken: str
    hollow: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """One model.

    Attributes:
        note: The numbers as text, one or two lines.
        size_share: Length of the size bar, as a share of the longest; None for charts without sizes.
    """

    label: str
    role: Role
    detail: str
    marks: tuple[Mark, ...]
    note: tuple[str, ...]
    size_share: float | None = None
    size: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Where things stand for one width; ``size_width`` 0 leaves the size bars out."""

    stacked: bool
    label_width: float
    size_width: float
    plot_left: float
    plot_right: float
    row_height: float
    top: float
    right: float


def _columns(width: int, with_sizes: bool, with_reference: bool) -> _Columns:
    if width < 500:
        return _Columns(
            stacked=True,
            label_width=width,
            size_width=0,
            plot_left=12,
            plot_right=width - 14,
            row_height=86,
            top=4,
            right=width,
        )
    label = 204.0 if width < 900 else 250.0
    size = 200.0 if with_sizes and width >= 900 else 0.0
    note = 128.0 if width < 900 else 160.0
    return _Columns(
        stacked=False,
        label_width=label,
        size_width=size,
        plot_left=label + size + 10,
        plot_right=width - note - 14,
        row_height=60,
        top=26 if with_reference else 10,
        right=width,
    )


def row_chart(rows: Sequence[Row], *, axis_title: str, reference: tuple[float, str] | None = None) -> Drawing:
    """A drawing with one row a model.

    Args:
        rows: At least one, each with at least one mark.
        axis_title: What the axis shows, with its unit.
        reference: A value that all rows are read against, with its label.
    """
    estimates = [mark.score for row in rows for mark in row.marks]
    low = min(0.0, *(estimate.low for estimate in estimates))
    high = max(estimate.high for estimate in estimates)

    def draw(width: int) -> tuple[float, Html]:
        with_sizes = any(row.size_share is not None for row in rows)
        columns = _columns(width, with_sizes, reference is not None)
        axis = linear_axis(low, high, start=columns.plot_left, end=columns.plot_right, at_most=5)
        bottom = columns.top + columns.row_height * len(rows)
        content = [_axis(axis, columns, bottom, axis_title)]
        if reference and not columns.stacked:
            content.append(_reference_label(axis, reference))
        for index, row in enumerate(rows):
            content.append(_row(row, axis, columns, columns.top + index * columns.row_height, reference))
        return bottom + 46, join(content)

    return draw


def _axis(axis: Axis, columns: _Columns, bottom: float, title: str) -> Html:
    labels = [
        svg_text(axis(tick), bottom + 18, f"{100 * tick:g}".replace("-", "−"), class_="t tick", anchor="middle")
        for tick in axis.ticks
    ]
    middle = (columns.plot_left + columns.plot_right) / 2
    labels.append(svg_line(0, bottom, columns.right, bottom, "rule"))
    return join([*labels, svg_text(middle, bottom + 38, title, class_="t axis", anchor="middle")])


def _reference_label(axis: Axis, reference: tuple[float, str]) -> Html:
    value, label = reference
    x = axis(value)
    near_left = x - axis.start < 30
    return svg_text(x - (4 if near_left else 0), 16, label, class_="t tick", anchor=None if near_left else "middle")


def _lines(axis: Axis, top: float, bottom: float, reference: tuple[float, str] | None) -> list[Html]:
    """Grid and reference behind one row's marks; on narrow pages they keep clear of the words above."""
    lines = [svg_line(axis(tick), top, axis(tick), bottom, "grid") for tick in axis.ticks]
    if reference:
        lines.append(svg_line(axis(reference[0]), top, axis(reference[0]), bottom, "reference"))
    return lines


def _row(row: Row, axis: Axis, columns: _Columns, top: float, reference: tuple[float, str] | None) -> Html:
    strip = top + (65 if columns.stacked else columns.row_height / 2)
    behind = strip - 17 if columns.stacked else top
    parts = _lines(axis, behind, top + columns.row_height, reference)
    parts.append(svg_line(0, top, columns.right, top, "rule"))
    parts.extend(_stacked_words(row, columns, top) if columns.stacked else _side_words(row, columns, strip))
    if columns.size_width and row.size_share is not None:
        bar = (columns.size_width - 24) * row.size_share
        parts.append(
            tag(
                "rect",
                x=columns.label_width,
                y=strip - 14,
                width=bar,
                height="9",
                rx="1.5",
                class_=f"size s-{row.role}",
            )
        )
        parts.append(svg_text(columns.label_width, strip + 15, row.size, class_="t tick"))
    spread = 17 if len(row.marks) > 1 else 0
    for index, mark in enumerate(row.marks):
        y = strip + (index - (len(row.marks) - 1) / 2) * spread
        if reference and len(row.marks) == 1:
            parts.append(svg_line(axis(reference[0]), y, axis(mark.score.value), y, f"gain g-{row.role}"))
        parts.append(_mark(mark, row.role, axis, y))
    return tag("g", *parts)


def _stacked_words(row: Row, columns: _Columns, top: float) -> list[Html]:
    size = row.size or row.detail
    limit = int((columns.right - 34) / _CHARACTER) - len(size)
    return [
        marker(row.role, 8, top + 16),
        svg_text(22, top + 21, shorten(row.label, limit), class_="t name"),
        svg_text(columns.right, top + 21, size, class_="t tick", anchor="end"),
        svg_text(22, top + 41, " ".join(row.note), class_="t value"),
    ]


def _side_words(row: Row, columns: _Columns, strip: float) -> list[Html]:
    limit = int((columns.label_width - 30) / _CHARACTER)
    detail = row.detail if columns.size_width or not row.size else f"{row.detail}, {row.size}"
    words = [
        marker(row.role, 8, strip - 9),
        svg_text(22, strip - 4, shorten(row.label, limit), class_="t name"),
        svg_text(22, strip + 15, detail, class_="t tick"),
    ]
    first = strip + (5 if len(row.note) == 1 else -4)
    for index, line in enumerate(row.note):
        class_ = "t value" if index == 0 else "t tick"
        words.append(svg_text(columns.plot_right + 16, first + 19 * index, line, class_=class_))
    return words


def _mark(mark: Mark, role: Role, axis: Axis, y: float) -> Html:
    low, high = axis(mark.score.low), axis(mark.score.high)
    return tag(
        "g",
        tag("title", mark.spoken),
        svg_line(low, y, high, y, f"whisker w-{role}"),
        svg_line(low, y - 5, low, y + 5, f"whisker w-{role}"),
        svg_line(high, y - 5, high, y + 5, f"whisker w-{role}"),
        marker(role, axis(mark.score.value), y, hollow=mark.hollow),
    )
