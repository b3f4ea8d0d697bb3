"""Accuracy against compute, shown: a section of a report, a page of its own, one picture, or the numbers.

In: a :class:`~spiritsafe.rollouts.test_time.records.ComputeCurve`. Out: markup, or a file whose ending says what it is
to hold: ``.html``, ``.svg`` or ``.json``. Exercise it with ``spiritsafe sample TASK --model A --samples 8 --curve
curve.html``.
"""

from __future__ import annotations

import re
from pathlib import Path

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.atomic import write_json, write_text
from spiritsafe.report.charts.compute_curve import AXIS_WORDS, compute_drawing, has_points
from spiritsafe.report.charts.svg import FULL, figure
from spiritsafe.report.html.document import page_head, style_sheet
from spiritsafe.report.html.markup import Html, join, paragraph, section, tag
from spiritsafe.report.html.tables import nothing, numeric, plain, stacked, table
from spiritsafe.report.numbers import change_range, change_value, score_range, score_text, score_value, work_text
from spiritsafe.report.text.compute_curve import METHOD_WORDS, compute_findings, method_at, tokens_text
from spiritsafe.rollouts import ComputeCurve, CostAxis, EqualCost, ModelCompute

CURVE_SUFFIXES = (".html", ".svg", ".json")

_AXES: tuple[CostAxis, ...] = ("tokens", "flops")
_SVG_WIDTH = 960
_SVG_RULES = re.compile(r"^\.(?:t|name|tick|axis|grid|baseline|tone\d|plain|way|w-|at|span|hollow)\b[^{]*\{.*\}$", re.M)
_VARIABLE = re.compile(r"^\s*(--[\w-]+):\s*(#[0-9a-f]{6});$", re.M)


def compute_section(curve: ComputeCurve, *, anchor: str = "compute", title: str = "Accuracy against compute") -> Html:
    """Both pictures, findings, all lines' ends and the comparisons at equal cost.

    Args:
        curve: At least one model.
        anchor: Unique in the page.
    """
    lead = (
        f"{curve.task}: {curve.num_problems} problems, {curve.num_samples} attempts at each at temperature "
        f"{curve.sampling.temperature:g}, at most {curve.sampling.max_tokens} tokens. Every point comes from this one "
        "pool: k attempts stand for all subsets of k. The oracle picks a correct attempt wherever there is one; it is "
        f"a ceiling and no method. Bars: {curve.interval}."
    )
    figures = [_figure(curve, axis, f"{anchor}-{axis}") for axis in _AXES if has_points(curve, axis)]
    findings = compute_findings(curve)
    listed = tag("ul", *(tag("li", sentence) for sentence in findings), class_="findings") if findings else None
    notes = [paragraph(f"{model.name}: {note}", class_="note") for model in curve.models for note in model.notes]
    return section(anchor, title, paragraph(lead, class_="lead"), *figures, listed, *_tables(curve), *notes)


def _figure(curve: ComputeCurve, axis: CostAxis, anchor: str) -> Html:
    said = [
        f"{model.name}: "
        + ", ".join(
            f"{method_at(line.method, line.points[-1].num_samples)} {score_text(line.points[-1].accuracy)}"
            for line in model.lines
        )
        for model in curve.models
    ]
    return figure(
        anchor,
        title=f"Accuracy, % of problems, against {AXIS_WORDS[axis]}",
        description=f"One colour a model, one kind of line a method. {'; '.join(said)}.",
        draw=compute_drawing(curve, axis),
        layouts=FULL,
    )


def _tables(curve: ComputeCurve) -> list[Html]:
    columns = plain("Model and method") + numeric(
        "Attempts", "Tokens a problem", "Operations a problem", "Accuracy", "Against one sample, points"
    )
    rows = [row for model in curve.models for row in _rows(model)]
    found = [tag("h3", "Every method with all attempts"), table(columns, rows, caption="Every method", narrow="dense")]
    if curve.differences:
        columns = plain("First − second", "How") + numeric("Both spend, a problem", "Difference, points")
        found.append(tag("h3", "Two models at the same cost, paired by problem"))
        found.append(table(columns, [_difference(one) for one in curve.differences], caption="At the same cost"))
    return found


def _rows(model: ModelCompute) -> list[list[object]]:
    rows: list[list[object]] = []
    for line in model.lines:
        point = line.points[-1]
        name = tag("span", model.name, class_="model")
        rows.append(
            [
                tag("span", name, tag("span", METHOD_WORDS[line.method], class_="role")),
                point.num_samples,
                tokens_text(point.num_tokens),
                nothing("size not known") if point.flops is None else work_text(point.flops),
                stacked(score_value(point.accuracy), score_range(point.accuracy)),
                stacked(change_value(line.gain), change_range(line.gain)) if line.gain else nothing(None),
            ]
        )
    return rows


def _difference(one: EqualCost) -> list[object]:
    cost = f"{tokens_text(one.cost)} tokens" if one.axis == "tokens" else work_text(one.cost)
    name = tag("span", f"{one.first} − {one.second}", class_="model")
    difference = stacked(change_value(one.difference), change_range(one.difference))
    return [name, METHOD_WORDS[one.method], cost, difference]


def build_compute_page(curve: ComputeCurve) -> str:
    """A page of its own, which loads nothing and runs no script."""
    body = tag(
        "body",
        tag("header", tag("h1", f"Accuracy against compute: {curve.task}")),
        tag("main", compute_section(curve, title="One pool of attempts")),
        tag("footer", paragraph("Made by spiritsafe. This page is one file: it loads nothing and runs no script.")),
    )
    head = page_head(f"{curve.task}: accuracy against compute")
    return f'<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def build_compute_svg(curve: ComputeCurve) -> str:
    """One picture: the chart against tokens and, where sizes are known, the one against operations below it.

    Colours are written out, because few programs that show pictures know a style sheet's variables.
    """
    parts, top = [], 16.0
    for axis in _AXES:
        if has_points(curve, axis):
            height, content = compute_drawing(curve, axis)(_SVG_WIDTH)
            title = f'<text x="2" y="8" class="t name">Accuracy, % of problems, against {AXIS_WORDS[axis]}</text>'
            parts.append(tag("g", Html(title), transform=f"translate(20 {top:.0f})"))
            parts.append(tag("g", content, transform=f"translate(20 {top + 28:.0f})"))
            top += height + 62
    words = (f"{curve.task}, {curve.num_problems} problems", f"Bars: {curve.interval}")
    notes = [tag("text", line, x="22", y=top - 8 + 20 * row, class_="t tick") for row, line in enumerate(words)]
    top += 20
    back = tag("rect", x="0", y="0", width=_SVG_WIDTH + 40, height=top + 8, fill=_variables()["--paper"])
    size = {"width": _SVG_WIDTH + 40, "height": f"{top + 8:.0f}", "viewBox": f"0 0 {_SVG_WIDTH + 40} {top + 8:.0f}"}
    picture = tag(
        "svg",
        tag("title", f"Accuracy against compute: {curve.task}"),
        tag("style", Html(_picture_style())),
        join([back, *parts, *notes]),
        xmlns="http://www.w3.org/2000/svg",
        **size,
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{picture}\n'


def _variables() -> dict[str, str]:
    """The light scheme's colours: the first value that each variable is given."""
    found: dict[str, str] = {}
    for name, value in _VARIABLE.findall(style_sheet()):
        found.setdefault(name, value)
    return found


def _picture_style() -> str:
    """The charts' own rules of the report's style sheet."""
    colours = _variables()
    rules = "\n".join(_SVG_RULES.findall(style_sheet()))
    rules = re.sub(r"var\((--[\w-]+)\)", lambda match: colours[match[1]], rules)
    return f"text {{ font-family: system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif; }}\n{rules}"


def write_compute(path: Path, curve: ComputeCurve) -> None:
    """Write the curve as what the file's ending says, whole or not at all.

    Raises:
        RecipeError: The ending is none of ``.html``, ``.svg``, ``.json``.
        StorageError: The file cannot be written.
    """
    if path.suffix == ".html":
        write_text(path, build_compute_page(curve))
    elif path.suffix == ".svg":
        write_text(path, build_compute_svg(curve))
    elif path.suffix == ".json":
        write_json(path, curve.to_json())
    else:
        raise RecipeError(f"{path} has no ending that says what to draw.", hint="Use .html, .svg or .json.")
