"""The staircase: every model and set of answers in the order of making, what it was made of, took and gained.

In: :class:`~spiritsafe.report.data.run.ReportData`. Out: a section, or nothing where the run recorded no cost.
Scores stand here where there is one exam to speak of.
"""

from __future__ import annotations

from spiritsafe.report.data.exam import ExamPart
from spiritsafe.report.data.learning import MadeRow
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, paragraph, section, tag
from spiritsafe.report.html.tables import nothing, numeric, plain, stacked, table, wide
from spiritsafe.report.numbers import change_range, change_value, count_text, score_range, score_value, work_text


def staircase_section(data: ReportData) -> Html | None:
    """The table and the comparisons; None for runs that recorded nothing."""
    pairs = [_versus(data, exam) for exam in data.exams if exam.versus]
    if not data.made:
        return section("steps", "Step by step", paragraph("This run made nothing."), *pairs) if pairs else None
    lead = (
        "Each row goes on from the one it names. Operations are those of the weights’ matrix products, 2 for each "
        "parameter and token generated or read, 6 for each trained on; “in all” counts everything that a model was "
        "made of as well, back to the models that were given."
    )
    columns = (
        plain("Made", "From")
        + wide("What went in")
        + numeric("Tokens generated", "Tokens trained on", "Tokens read", "Operations", "In all")
    )
    exam = data.exams[0] if len(data.exams) == 1 else None
    if exam:
        lead += " Gains are against the start on the same sealed problems, in points."
        columns += numeric("Sealed score", "Gain over start, points")
    listed = table(columns, [_row(row, exam) for row in data.made], caption="Step by step", narrow="dense")
    return section("steps", "Step by step", paragraph(lead, class_="lead"), listed, *pairs)


def _versus(data: ReportData, exam: ExamPart) -> Html:
    words = (
        "One against the other, problem by problem, seeds added up. Operations are what was spent on one model since "
        "both had the same weights, the drawing of its answers included; teachers are left out (they stand above)."
    )
    columns = plain("First", "Against") + numeric(
        "Seeds", "First, sealed", "Second, sealed", "Difference, points", "p", "Operations, first", "Operations, second"
    )
    rows: list[list[object]] = [
        [
            tag("span", pair.first, class_="model"),
            pair.second,
            count_text(pair.num_seeds),
            stacked(score_value(pair.first_sealed), score_range(pair.first_sealed)),
            stacked(score_value(pair.second_sealed), score_range(pair.second_sealed)),
            stacked(change_value(pair.difference), change_range(pair.difference)),
            f"{pair.p_value:.2g}",
            work_text(pair.first_flops),
            work_text(pair.second_flops),
        ]
        for pair in exam.versus
    ]
    title = f"One against another in {exam.name}" if len(data.exams) > 1 else "One against another"
    listed = table(columns, rows, caption=title, narrow="dense")
    return tag("div", tag("h3", title), paragraph(words), listed)


def _row(row: MadeRow, exam: ExamPart | None) -> list[object]:
    cells = [
        tag("span", tag("span", row.name, class_="model"), tag("span", row.made_by, class_="role")),
        row.start or nothing(None),
        row.counts or nothing(None),
        _tokens(row.generated_tokens),
        _tokens(row.trained_tokens),
        _tokens(row.read_tokens),
        work_text(row.flops) if row.flops else nothing(None),
        work_text(row.total_flops) if row.total_flops else nothing(None),
    ]
    if exam is None:
        return cells
    score = exam.score_of(row.name)
    gain = score.gain if score else None
    return [
        *cells,
        stacked(score_value(score.sealed), score_range(score.sealed)) if score else nothing(None),
        stacked(change_value(gain), change_range(gain)) if gain else nothing(None),
    ]


def _tokens(count: int) -> object:
    return count_text(count) if count else nothing(None)
