"""The picture of a compute curve: accuracy against what a problem costs, all models and methods in one chart.

In: a :class:`~spiritsafe.rollouts.test_time.records.ComputeCurve` and which cost. Out: a drawing for
:func:`spiritsafe.report.charts.svg.figure`. The colour is the model; dashes and marks are the method; the ceiling that
no method reaches, pass@k, is dashed. Whiskers are the intervals; where methods share a cost they stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from spiritsafe.report.charts.axes import Axis, linear_axis
from spiritsafe.report.charts.frame import polyline
from spiritsafe.report.charts.log_axis import LogAxis, log_axis
from spiritsafe.report.charts.svg import Drawing, svg_line, svg_text
from spiritsafe.report.html.markup import Html, join, shorten, tag
from spiritsafe.report.numbers import score_text, tick_count, work_text
from spiritsafe.report.text.compute_curve import METHOD_WORDS, method_at, tokens_text, work_tick
from spiritsafe.rollouts import (
    METHODS,
    ComputeCurve,
    ComputeLine,
    ComputePoint,
    CostAxis,
    ModelCompute,
    SelectionMethod,
)

AXIS_WORDS: dict[CostAxis, str] = {
    "tokens": "tokens generated a problem",
    "flops": "operations a problem (2 × parameters × tokens)",
}
_NUM_TONES = 6
_ROW = 21.0
_KEY = 34.0
_SHIFT: dict[SelectionMethod, float] = {
    "likelihood": 4.0,
    "self_check": -4.0,
}  # pixels, so that whiskers do not hide each other


def has_points(curve: ComputeCurve, axis: CostAxis) -> bool:
    """Whether anything can be drawn against this cost."""
    return bool(_costs(curve, axis))


def _cost(point: ComputePoint, axis: CostAxis) -> float | None:
    """The point's place on a logarithmic axis; None where it has none."""
    cost = point.num_tokens if axis == "tokens" else point.flops
    return cost if cost else None


def _costs(curve: ComputeCurve, axis: CostAxis) -> list[float]:
    points = (point for model in curve.models for line in model.lines for point in line.points)
    return [cost for point in points if (cost := _cost(point, axis)) is not None]


def compute_drawing(curve: ComputeCurve, axis: CostAxis) -> Drawing:
    """A drawing of all models whose costs are known on this axis; there must be one, see :func:`has_points`."""
    costs = _costs(curve, axis)
    tops = [
        point.accuracy.value if line.method == "oracle" else point.accuracy.high
        for model in curve.models
        for line in model.lines
        for point in line.points
    ]

    def draw(width: int) -> tuple[float, Html]:
        legend, top = _legend(curve, axis, width)
        bottom = top + (250.0 if width < 500 else 320.0)
        across = log_axis(
            min(costs), max(costs), start=46.0, end=width - 14.0, at_most=4 if width < 500 else 7 if width < 900 else 9
        )
        up = linear_axis(0.0, max(*tops, 0.05), start=bottom, end=top + 8, at_most=5)
        frame = _frame(across, up, AXIS_WORDS[axis], tick_count if axis == "tokens" else work_tick)
        models = [
            tag("g", *_model(model, across, up, axis), class_=f"tone{index % _NUM_TONES}")
            for index, model in enumerate(curve.models)
        ]
        return bottom + 50.0, join([legend, frame, *models])

    return draw


def _frame(across: LogAxis, up: Axis, title: str, label: Callable[[float], str]) -> Html:
    parts = []
    for tick in up.ticks:
        parts.append(svg_line(across.start, up(tick), across.end, up(tick), "grid"))
        parts.append(svg_text(across.start - 8, up(tick) + 4.5, f"{100 * tick:g}", class_="t tick", anchor="end"))
    parts.append(svg_line(across.start, up.start, across.end, up.start, "baseline"))
    for tick in across.ticks:
        parts.append(svg_line(across(tick), up.start, across(tick), up.start + 5, "baseline"))
        parts.append(svg_text(across(tick), up.start + 21, label(tick), class_="t tick", anchor="middle"))
    middle = (across.start + across.end) / 2
    parts.append(svg_text(middle, up.start + 43, title, class_="t axis", anchor="middle"))
    return join(parts)


def _model(model: ModelCompute, across: LogAxis, up: Axis, axis: CostAxis) -> list[Html]:
    """Lines first, then whiskers, then marks, so that no mark is crossed out."""
    lines, whiskers, marks = [], [], []
    for line in model.lines:
        places = [(across(cost), up(p.accuracy.value), p) for p in line.points if (cost := _cost(p, axis)) is not None]
        if len(places) > 1:
            lines.append(polyline([(x, y) for x, y, _ in places], f"way w-{line.method}"))
        for x, y, point in places if len(places) == 1 else places[1:]:  # all lines begin at "one sample"
            if line.method != "oracle":
                whiskers.append(_whisker(x + _SHIFT.get(line.method, 0.0), point, up))
            marks.append(tag("g", tag("title", _spoken(model, line, point, axis)), _mark(line.method, x, y)))
    return [*lines, *whiskers, *marks]


def _whisker(x: float, point: ComputePoint, up: Axis) -> Html:
    return svg_line(x, up(point.accuracy.low), x, up(point.accuracy.high), "span")


def _spoken(model: ModelCompute, line: ComputeLine, point: ComputePoint, axis: CostAxis) -> str:
    cost = f"{tokens_text(point.num_tokens)} tokens" if axis == "tokens" else work_text(point.flops or 0.0)
    return f"{model.name}, {method_at(line.method, point.num_samples)}, {cost}: {score_text(point.accuracy)}"


def _mark(method: SelectionMethod, x: float, y: float) -> Html:
    """A shape a method: those that are one point stand out, those on lines are small."""
    shapes: dict[SelectionMethod, tuple[tuple[float, float], ...]] = {
        "greedy": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "majority_early": ((-7, 0), (4.5, -6), (4.5, 6)),
        "likelihood": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "self_check": ((0, -4.5), (4, 3), (-4, 3)),
    }
    if method in shapes:
        corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[method])
        return tag("polygon", points=corners, class_="at")
    if method == "mean":
        return tag("circle", cx=x, cy=y, r="5.5", class_="at hollow")
    return tag("circle", cx=x, cy=y, r="3.2" if method == "majority" else "1.5", class_="at")


def _legend(curve: ComputeCurve, axis: CostAxis, width: int) -> tuple[Html, float]:
    """Models by colour, methods by line and mark, in rows that fit; and where the plot may begin."""
    shown = [
        (index, model)
        for index, model in enumerate(curve.models)
        if axis == "tokens" or model.num_parameters is not None
    ]
    present = {line.method for _, model in shown for line in model.lines}
    models = [(_model_key(index), shorten(model.name, int((width - _KEY) / 9))) for index, model in shown]
    methods = [(_method_key(method), METHOD_WORDS[method]) for method in METHODS if method in present]
    first, below = _flow(models, width, 8.0)
    second, end = _flow(methods, width, below)
    return join([*first, *second]), end + 6.0


def _model_key(index: int) -> Callable[[float, float], Html]:
    return lambda x, y: tag(
        "g",
        tag("rect", x=x, y=y - 5.0, width=_KEY, height="10", rx="2", class_="at"),
        class_=f"tone{index % _NUM_TONES}",
    )


def _method_key(method: SelectionMethod) -> Callable[[float, float], Html]:
    def key(x: float, y: float) -> Html:
        is_line = method not in ("greedy", "mean", "majority_early")
        line = polyline([(x, y), (x + _KEY, y)], f"way w-{method}") if is_line else None
        mark = None if method == "oracle" else _mark(method, x + _KEY / 2, y)
        return tag("g", line, mark, class_="plain")

    return key


def _length(words: str) -> float:
    """Pixels of 13 px text in the widest of the fonts that systems have for pages."""
    return sum(12.5 if char in "MWmw@%" else 9.0 if char.isupper() or char.isdigit() else 7.4 for char in words)


def _flow(
    entries: Sequence[tuple[Callable[[float, float], Html], str]], width: int, top: float
) -> tuple[Iterable[Html], float]:
    """Entries from left to right, in as many rows as they need; and the height of the next row."""
    parts, x, y = [], 2.0, top
    for key, words in entries:
        length = _KEY + 7 + _length(words)
        if x > 2.0 and x + length > width:
            x, y = 2.0, y + _ROW
        parts.append(key(x, y))
        parts.append(svg_text(x + _KEY + 7, y + 4.5, words, class_="t tick"))
        x += length + 10
    return parts, y + _ROW
