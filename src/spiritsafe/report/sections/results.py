"""What sittings say beyond the score: public against sealed, part by part, and every problem accounted for.

In: :class:`ReportData`. Out: sections, in which each exam has its part; nothing where the recipe has no exam.
"""

from __future__ import annotations

from spiritsafe.exam.records import OutcomeStatus
from spiritsafe.report.charts.interval_plot import Mark, Row, row_chart
from spiritsafe.report.charts.svg import FULL, figure, share_bar
from spiritsafe.report.data.exam import ExamPart, Outcomes
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, paragraph, section, tag
from spiritsafe.report.html.tables import numeric, plain, table, wide
from spiritsafe.report.numbers import change_range, change_text, change_value, count_text, score_text
from spiritsafe.report.sections.exams import exam_anchor, exam_title
from spiritsafe.report.text.headline import base_name, confidence_text, gap_sentence
from spiritsafe.report.text.parts import part_labels

_STATUSES: tuple[OutcomeStatus, ...] = ("correct", "wrong", "unparsed", "truncated", "refused", "error", "unscored")


def public_section(data: ReportData) -> Html | None:
    """Public against sealed scores, and what the permutation test says; None without an exam."""
    title = "Studying for the test?"
    if not data.exams:
        return None
    if not any(score.public for exam in data.exams for score in exam.scores):
        why = "This paper had no public half, so the test for studying cannot be made."
        return section("public", title, paragraph(why))
    lead = (
        "The public half is published, the sealed half is not; both are random halves of one bank. A model "
        "that studied for the test does better on the public half than chance allows."
    )
    parts = [part for exam in data.exams for part in _public(data, exam)]
    return section("public", title, paragraph(lead, class_="lead"), *parts)


def _public(data: ReportData, exam: ExamPart) -> list[Html | None]:
    pairs = [(rung, score.sealed, score.public) for rung, score in data.sat(exam) if score.public]
    if not pairs:
        return [exam_title(data, exam), paragraph("This paper had no public half.")]
    rows = [
        Row(
            label=rung.name,
            role=rung.role,
            detail=rung.role,
            marks=(
                Mark(score=sealed, spoken=f"{rung.name}, sealed: {score_text(sealed)}"),
                Mark(score=public.score, spoken=f"{rung.name}, public: {score_text(public.score)}", hollow=True),
            ),
            note=(f"gap {change_value(public.gap.gap)} points", f"({change_range(public.gap.gap)})"),
        )
        for rung, sealed, public in pairs
    ]
    spoken = "; ".join(
        f"{rung.name}: sealed {score_text(sealed)}, public {score_text(public.score)}, "
        f"gap {change_text(public.gap.gap)}"
        for rung, sealed, public in pairs
    )
    chart = figure(
        exam_anchor("public-chart", data, exam),
        title="Sealed (filled) and public (hollow) score",
        description=f"Two marks a model with {confidence_text(exam.estimates())} intervals. {spoken}.",
        draw=row_chart(rows, axis_title="score, % of problems"),
        layouts=FULL,
    )
    said = [
        tag("li", tag("strong", rung.name), ": ", gap_sentence(score, base_name(data, score.against)))
        for rung, score in data.sat(exam)
    ]
    return [exam_title(data, exam), chart, tag("ul", *said, class_="findings")]


def parts_section(data: ReportData) -> Html | None:
    """Scores on each task of exams over several; None without such an exam."""
    exams = [exam for exam in data.exams if any(score.parts for score in exam.scores)]
    if not exams:
        return None
    lead = "Sealed scores on each part of the paper: fewer problems, so wider intervals than the whole's."
    parts = [part for exam in exams for part in _parts(data, exam)]
    return section("parts", "Part by part", paragraph(lead, class_="lead"), *parts)


def _parts(data: ReportData, exam: ExamPart) -> list[Html | None]:
    names = list(dict.fromkeys(part.part for score in exam.scores for part in score.parts))
    rows: list[list[object]] = []
    for rung, score in data.sat(exam):
        found = {part.part: score_text(part.sealed) for part in score.parts}
        rows.append([tag("span", rung.name, class_="model"), *(found.get(name, "") for name in names)])
    columns = plain("Model") + numeric(*part_labels(names))
    caption = f"Sealed score on each part of {exam.name}" if len(data.exams) > 1 else "Sealed score on each part"
    return [exam_title(data, exam), table(columns, rows, caption=caption)]


def outcomes_section(data: ReportData) -> Html | None:
    """Every committed problem of every sitting, counted once; None without an exam."""
    title = "Every problem accounted for"
    if not data.exams:
        return None
    if not any(exam.outcomes for exam in data.exams):
        return section("outcomes", title, paragraph("No exam was sat, so there are no outcomes to count."))
    lead = (
        "Each try at a problem stands in exactly one column, and all of them are the denominator: only “correct” "
        "counts. “Unparsed”: no answer was found in the text; “truncated”: the model ran out of tokens; “error”: no "
        "answer could be had; “unscored”: the verifier failed."
    )
    legend = tag(
        "p",
        *(tag("span", tag("span", class_=f"swatch o-{name}"), name) for name in _STATUSES),
        class_="legend",
        aria_hidden="true",
    )
    parts = [part for exam in data.exams if exam.outcomes for part in _outcomes(data, exam)]
    return section("outcomes", title, paragraph(lead, class_="lead"), legend, *parts)


def _outcomes(data: ReportData, exam: ExamPart) -> list[Html | None]:
    columns = plain("Model", "Half") + numeric("Tries", *map(str.capitalize, _STATUSES)) + wide("Shares")
    rows = [_outcome_row(outcomes) for outcomes in exam.outcomes]
    caption = f"Outcomes of each sitting of {exam.name}" if len(data.exams) > 1 else "Outcomes of each sitting"
    return [exam_title(data, exam), table(columns, rows, caption=caption, narrow="dense")]


def _outcome_row(outcomes: Outcomes) -> list[object]:
    counts, total = [outcomes.counts.get(name, 0) for name in _STATUSES], max(outcomes.num_tries, 1)
    bar = share_bar([(f"o-{name}", count / total) for name, count in zip(_STATUSES, counts, strict=True)])
    return [
        tag("span", outcomes.model, class_="model"),
        outcomes.half,
        count_text(outcomes.num_tries),
        *(count_text(count) for count in counts),
        bar,
    ]
