"""The results part of the page: key figures, ladder, public against sealed, every problem accounted for.

In: :class:`ReportData`. Out: sections. A part that has nothing to show says so in a sentence.
"""

from __future__ import annotations

from spiritsafe.exam.records import OutcomeStatus
from spiritsafe.report.charts.interval_plot import Mark, Row, row_chart
from spiritsafe.report.charts.svg import FULL, figure, share_bar
from spiritsafe.report.data.exam import Outcomes, Rung
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, paragraph, section, tag
from spiritsafe.report.html.tables import nothing, numeric, plain, stacked, table, wide
from spiritsafe.report.numbers import (
    change_range,
    change_text,
    change_value,
    count_text,
    memory_text,
    scaled_count,
    score_range,
    score_text,
    score_value,
    share_text,
    speed_text,
)
from spiritsafe.report.text.headline import best_student, confidence_text, gap_sentence, seeds_of

_STATUSES: tuple[OutcomeStatus, ...] = ("correct", "wrong", "unparsed", "truncated", "refused", "error", "unscored")


def key_figures(data: ReportData) -> Html | None:
    """What the best student gained, weighs and kept; None without a student that sat."""
    student, teacher = best_student(data), data.rung_of("teacher")
    if student is None or student.sealed is None:
        return None
    seeds = seeds_of(data, student)
    if seeds is not None:
        step, arm = seeds
        figures = [
            (f"Sealed exam score, {arm.num_seeds} seeds", score_value(arm.sealed), score_range(arm.sealed)),
            (f"Gain over {step.start}", f"{change_value(arm.gain)} points", change_range(arm.gain)),
        ]
    else:
        figures = [("Sealed exam score", score_value(student.sealed), score_range(student.sealed))]
    if student.change and seeds is None:
        figures.append(
            ("Change against the base", f"{change_value(student.change)} points", change_range(student.change))
        )
    if student.gain_kept:
        figures.append(("Of the teacher’s gain kept", score_value(student.gain_kept), score_range(student.gain_kept)))
    size = memory_text(student.weight_bytes)
    if teacher:
        share = share_text(student.weight_bytes, teacher.weight_bytes)
        figures.append(("Of the teacher’s bytes", share, f"{size} of {memory_text(teacher.weight_bytes)}"))
    else:
        figures.append(("Size of its weights", size, f"{scaled_count(student.num_parameters)} parameters"))
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", tag("span", value, class_="big"), tag("span", below, class_="r")))
            for name, value, below in figures
        ),
        class_="figures",
        aria_label=f"{student.name} in figures",
    )


def ladder_section(data: ReportData) -> Html:
    """The ladder as a chart and as a table."""
    if not data.ladder:
        return section("ladder", "The ladder", paragraph("This run made no model, so there is no ladder."))
    chart = _ladder_chart(data) if any(rung.sealed for rung in data.ladder) else None
    words = (
        f"Sealed exam score of each model, with {confidence_text(data)} intervals. Change is against the base on the "
        "same problems, in points; “gain kept” is the student’s gain as a share of the teacher’s; the public gap is "
        "public minus sealed."
    )
    return section("ladder", "The ladder", paragraph(words, class_="lead"), chart, _ladder_table(data))


def _size_words(rung: Rung, teacher: Rung | None) -> str:
    size = memory_text(rung.weight_bytes)
    return f"{size}, {share_text(rung.weight_bytes, teacher.weight_bytes)}" if teacher else size


def _ladder_chart(data: ReportData) -> Html:
    teacher, base = data.rung_of("teacher"), data.rung_of("base")
    largest = max(rung.weight_bytes for rung in data.ladder)
    sat = [(rung, rung.sealed) for rung in data.ladder if rung.sealed]
    rows = [
        Row(
            label=rung.name,
            role=rung.role,
            detail=rung.role,
            marks=(Mark(score=sealed, spoken=f"{rung.name}: {score_text(sealed)}"),),
            note=(score_value(sealed), f"({score_range(sealed)})"),
            size_share=rung.weight_bytes / largest,
            size=_size_words(rung, teacher),
        )
        for rung, sealed in sat
    ]
    reference = (base.sealed.value, "base") if base and base.sealed else None
    spoken = "; ".join(f"{rung.name} ({rung.role}): {score_text(sealed)}" for rung, sealed in sat)
    return figure(
        "ladder-chart",
        title="Size of the weights and sealed exam score",
        description=f"One row a model, marks are scores and whiskers {confidence_text(data)} intervals. {spoken}.",
        draw=row_chart(rows, axis_title="sealed exam score, % of problems", reference=reference),
        layouts=FULL,
        note="Dashed line: the base’s score. Shaded: the change against it." if reference else None,
    )


def _ladder_table(data: ReportData) -> Html:
    columns = plain("Model") + numeric(
        "Parameters",
        "Weights",
        "Of teacher’s bytes",
        "Tokens/s",
        "Sealed score",
        "Change, points",
        "Gain kept",
        "Public score",
        "Public gap, points",
    )
    teacher = data.rung_of("teacher")
    return table(columns, [_ladder_row(rung, teacher) for rung in data.ladder], caption="The ladder, model by model")


def _ladder_row(rung: Rung, teacher: Rung | None) -> list[object]:
    sealed, change, kept, public = rung.sealed, rung.change, rung.gain_kept, rung.public
    name = tag("span", tag("span", rung.name, class_="model"), tag("span", rung.role, class_=f"role r-{rung.role}"))
    return [
        name,
        scaled_count(rung.num_parameters),
        memory_text(rung.weight_bytes),
        share_text(rung.weight_bytes, teacher.weight_bytes) if teacher else nothing("no teacher"),
        speed_text(rung.tokens_per_s) if rung.tokens_per_s is not None else nothing("not measured"),
        stacked(score_value(sealed), score_range(sealed)) if sealed else nothing("did not sit"),
        stacked(change_value(change), change_range(change)) if change else nothing(_why_no_change(rung)),
        stacked(score_value(kept), score_range(kept)) if kept else nothing(_why_not_kept(rung)),
        stacked(score_value(public.score), score_range(public.score)) if public else nothing("no public half"),
        stacked(change_value(public.gap.gap), change_range(public.gap.gap)) if public else nothing("no public half"),
    ]


def _why_no_change(rung: Rung) -> str | None:
    return "not compared" if rung.role != "base" else None


def _why_not_kept(rung: Rung) -> str | None:
    return "not computed" if rung.role == "student" else None


def public_section(data: ReportData) -> Html:
    """Public against sealed scores, and what the permutation test says."""
    title = "Studying for the test?"
    pairs = [(rung, rung.sealed, rung.public) for rung in data.ladder if rung.sealed and rung.public]
    if not pairs:
        why = "This paper had no public half" if data.exam else "No exam was sat"
        return section("public", title, paragraph(f"{why}, so the test for studying cannot be made."))
    lead = (
        "The public half is published, the sealed half is not; both are random halves of one bank. A model "
        "that studied for the test does better on the public half than chance allows."
    )
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
        "public-chart",
        title="Sealed (filled) and public (hollow) score",
        description=f"Two marks a model with {confidence_text(data)} intervals. {spoken}.",
        draw=row_chart(rows, axis_title="score, % of problems"),
        layouts=FULL,
    )
    findings = tag(
        "ul",
        *(tag("li", tag("strong", rung.name), ": ", gap_sentence(rung)) for rung in data.ladder),
        class_="findings",
    )
    return section("public", title, paragraph(lead, class_="lead"), chart, findings)


def outcomes_section(data: ReportData) -> Html:
    """Every committed problem of every sitting, counted once."""
    title = "Every problem accounted for"
    if not data.outcomes:
        return section("outcomes", title, paragraph("No exam was sat, so there are no outcomes to count."))
    lead = (
        "Each try at a problem stands in exactly one column, and all of them are the denominator: only “correct” "
        "counts. “Unparsed”: no answer was found in the text; “truncated”: the model ran out of tokens; “error”: no "
        "answer could be had; “unscored”: the verifier failed."
    )
    columns = plain("Model", "Half") + numeric("Tries", *map(str.capitalize, _STATUSES)) + wide("Shares")
    rows = [_outcome_row(outcomes) for outcomes in data.outcomes]
    legend = tag(
        "p",
        *(tag("span", tag("span", class_=f"swatch o-{name}"), name) for name in _STATUSES),
        class_="legend",
        aria_hidden="true",
    )
    return section(
        "outcomes",
        title,
        paragraph(lead, class_="lead"),
        legend,
        table(columns, rows, caption="Outcomes of each sitting", narrow="dense"),
    )


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
