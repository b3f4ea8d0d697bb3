"""What ``measure`` steps found: one table a step, and curves of accuracy against compute.

In: :class:`~spiritsafe.report.data.run.ReportData`. Out: sections, none where nothing was measured. They say that this
is practice: nobody sealed the problems.
"""

from __future__ import annotations

from spiritsafe.report.data.measured import Measured
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, paragraph, section, tag
from spiritsafe.report.html.tables import nothing, numeric, plain, stacked, table, wide
from spiritsafe.report.sections.compute_curve import compute_section
from spiritsafe.report.text.headline import confidence_text
from spiritsafe.report.text.measured import PRACTICE, count_words, measured_difference, measured_value, what_words


def measured_sections(data: ReportData) -> list[Html]:
    """The tables first, then the curves."""
    if not data.measured and not data.compute:
        return []
    shown = (found for one in data.measured for found in (one.value, one.difference) if found)
    spans = f" Below each number stands its {confidence_text(shown)} interval." if data.measured else ""
    lead = (
        f"{PRACTICE}: nobody sealed these problems, and the numbers rest on the maker’s word.{spans} Differences are "
        "against the first model of the step on the same problems, paired."
    )
    steps = dict.fromkeys(one.step for one in data.measured)
    tables = [part for step in steps for part in _step(step, [one for one in data.measured if one.step == step])]
    curves = [
        compute_section(
            one.curve, anchor=f"compute-{number}", title=f"{one.step}: accuracy against compute, {one.data}"
        )
        for number, one in enumerate(data.compute, start=1)
    ]
    return [section("measured", "Measured, not examined", paragraph(lead, class_="lead"), *tables), *curves]


def _step(step: str, rows: list[Measured]) -> list[Html]:
    columns = plain("Model", "Data") + wide("What") + numeric("Value", "Difference", "Over")
    return [tag("h3", step), table(columns, [_row(one) for one in rows], caption=f"What {step} measured")]


def _row(one: Measured) -> list[object]:
    difference = nothing(None)
    if one.difference:
        against = tag("span", f"against {one.against}", class_="role")
        difference = tag("span", stacked(*measured_difference(one, one.difference)), against)
    return [
        tag("span", one.model, class_="model"),
        one.data,
        what_words(one),
        stacked(*measured_value(one)),
        difference,
        count_words(one),
    ]
