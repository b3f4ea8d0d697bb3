"""The ladder: key figures, every model with its size and its score in each exam, and the models that sat none.

In: :class:`ReportData`. Out: sections, in which each exam has its part. Without an exam the models stand there with
their sizes and how they were made, and the section says that nothing is certified.
"""

from __future__ import annotations

from spiritsafe.report.charts.interval_plot import Mark, Row, row_chart
from spiritsafe.report.charts.svg import FULL, figure
from spiritsafe.report.data.exam import ExamPart, ExamScore
from spiritsafe.report.data.models import Rung
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, paragraph, section, tag
from spiritsafe.report.html.tables import nothing, numeric, plain, stacked, table, wide
from spiritsafe.report.numbers import (
    change_range,
    change_value,
    memory_text,
    scaled_count,
    score_range,
    score_text,
    score_value,
    share_text,
    speed_text,
)
from spiritsafe.report.sections.exams import exam_anchor, exam_title
from spiritsafe.report.text.headline import NO_EXAM, base_name, bases_of, best_student, confidence_text, seeds_of
from spiritsafe.stats import Estimate


def key_figures(data: ReportData) -> Html | None:
    """What the best student gained in the first exam, weighs and kept; None without a student that sat."""
    exam = data.exams[0] if data.exams else None
    best = best_student(data, exam) if exam else None
    if exam is None or best is None:
        return None
    student, score = best
    seeds = seeds_of(data, exam, student)
    if seeds is not None:
        figures = [
            (f"Sealed exam score, {seeds.num_seeds} seeds", score_value(seeds.sealed), score_range(seeds.sealed)),
            (f"Gain over {seeds.over}", f"{change_value(seeds.gain)} points", change_range(seeds.gain)),
        ]
    else:
        figures = [("Sealed exam score", score_value(score.sealed), score_range(score.sealed))]
    if score.change and seeds is None:
        against = f"Change against {base_name(data, score.against)}"
        figures.append((against, f"{change_value(score.change)} points", change_range(score.change)))
    if score.gain_kept:
        figures.append(("Of the teacher’s gain kept", score_value(score.gain_kept), score_range(score.gain_kept)))
    figures += _size_figure(student, data.teacher)
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", tag("span", value, class_="big"), tag("span", below, class_="r")))
            for name, value, below in figures
        ),
        class_="figures",
        aria_label=f"{student.name} in figures",
    )


def _size_figure(student: Rung, teacher: Rung | None) -> list[tuple[str, str, str]]:
    if student.weight_bytes is None:
        return []
    size = memory_text(student.weight_bytes)
    if teacher and teacher.weight_bytes:
        share = share_text(student.weight_bytes, teacher.weight_bytes)
        return [("Of the teacher’s bytes", share, f"{size} of {memory_text(teacher.weight_bytes)}")]
    parameters = "" if student.num_parameters is None else f"{scaled_count(student.num_parameters)} parameters"
    return [("Size of its weights", size, parameters)]


def ladder_section(data: ReportData) -> Html:
    """The ladder of each exam as a chart and as a table, and the models that sat none."""
    if not data.ladder:
        nothing_made = "This run made no model, so there is no ladder."
        return section("ladder", "The ladder", paragraph(nothing_made), None if data.exams else _uncertified())
    if not data.exams:
        return section("ladder", "The models", _uncertified(), _unsat_table(data))
    parts = [part for exam in data.exams for part in _ladder(data, exam)]
    return section("ladder", "The ladder", *parts, *_unsat(data))


def _uncertified() -> Html:
    return paragraph(f"{NO_EXAM[0].upper()}{NO_EXAM[1:]}.", class_="separation")


def _ladder(data: ReportData, exam: ExamPart) -> list[Html | None]:
    title = exam_title(data, exam)
    if not exam.scores:
        return [title, paragraph("No model of this run sat this exam.")]
    over = (
        f"Change is against {base_name(data, next(iter(bases_of(exam)), None))} on the same problems"
        if len(bases_of(exam)) < 2
        else "Change is against the given model that stands below it, on the same problems"
    )
    words = (
        f"Sealed exam score of each model, with {confidence_text(exam.estimates())} intervals. {over}, in points; "
        "“gain kept” is the student’s gain as a share of the teacher’s; the public gap is public minus sealed."
    )
    return [title, paragraph(words, class_="lead"), _ladder_chart(data, exam), _ladder_table(data, exam)]


def _size_words(rung: Rung, teacher: Rung | None) -> str:
    if rung.weight_bytes is None:
        return "served"
    size = memory_text(rung.weight_bytes)
    if rung.storage is not None:
        return f"{size}, {rung.storage}"
    return (
        f"{size}, {share_text(rung.weight_bytes, teacher.weight_bytes)}" if teacher and teacher.weight_bytes else size
    )


def _ladder_chart(data: ReportData, exam: ExamPart) -> Html:
    sat, bases = data.sat(exam), bases_of(exam)
    largest = max((rung.weight_bytes or 0 for rung, _ in sat), default=0)
    rows = [
        Row(
            label=rung.name,
            role=rung.role,
            detail=rung.role,
            marks=(Mark(score=score.sealed, spoken=f"{rung.name}: {score_text(score.sealed)}"),),
            note=(score_value(score.sealed), f"({score_range(score.sealed)})"),
            size_share=rung.weight_bytes / largest if rung.weight_bytes and largest else None,
            size=_size_words(rung, data.teacher),
        )
        for rung, score in sat
    ]
    base = exam.score_of(bases[0]) if len(bases) == 1 else None
    name = base_name(data, base.model) if base else ""
    spoken = "; ".join(f"{rung.name} ({rung.role}): {score_text(score.sealed)}" for rung, score in sat)
    confidence = confidence_text(exam.estimates())
    return figure(
        exam_anchor("ladder-chart", data, exam),
        title="Size of the weights and sealed exam score",
        description=f"One row a model, marks are scores and whiskers {confidence} intervals. {spoken}.",
        draw=row_chart(
            rows,
            axis_title="sealed exam score, % of problems",
            reference=(base.sealed.value, name.removeprefix("the ")) if base else None,
        ),
        layouts=FULL,
        note=f"Dashed line: {name}’s score. Shaded: the change against it." if base else None,
    )


def _ladder_table(data: ReportData, exam: ExamPart) -> Html:
    several = len(data.exams) > 1  # with one, the gain over the start stands in the staircase
    columns = plain("Model") + numeric(
        "Parameters",
        "Weights",
        "Of teacher’s bytes",
        "Tokens/s",
        "Sealed score",
        "Change, points",
        *(("Gain over start, points",) if several else ()),
        "Gain kept",
        "Public score",
        "Public gap, points",
    )
    rows = [_ladder_row(data, exam, rung, score) for rung, score in data.sat(exam)]
    caption = f"The ladder of {exam.name}, model by model" if several else "The ladder, model by model"
    return table(columns, rows, caption=caption)


def _ladder_row(data: ReportData, exam: ExamPart, rung: Rung, score: ExamScore) -> list[object]:
    sealed, change, kept, public = score.sealed, score.change, score.gain_kept, score.public
    below = f"over {score.against}" if len(bases_of(exam)) > 1 else None
    gain = [_change(score.gain) if score.gain else nothing(None)] if len(data.exams) > 1 else []
    return [
        *_size_cells(rung, data.teacher),
        speed_text(score.tokens_per_s) if score.tokens_per_s is not None else nothing("not measured"),
        stacked(score_value(sealed), score_range(sealed)),
        _change(change, below) if change else nothing(None if data.is_given(rung) else "not compared"),
        *gain,
        stacked(score_value(kept), score_range(kept)) if kept else nothing(_why_not_kept(rung)),
        stacked(score_value(public.score), score_range(public.score)) if public else nothing("no public half"),
        _change(public.gap.gap) if public else nothing("no public half"),
    ]


def _change(change: Estimate, below: str | None = None) -> Html:
    cell = stacked(change_value(change), change_range(change))
    return tag("span", cell, tag("span", below, class_="role")) if below else cell


def _size_cells(rung: Rung, teacher: Rung | None) -> list[object]:
    """Name, parameters, bytes, and what share of the teacher's these are."""
    size = rung.weight_bytes
    share = "no teacher" if teacher is None else None
    return [
        tag("span", tag("span", rung.name, class_="model"), tag("span", rung.role, class_=f"role r-{rung.role}")),
        scaled_count(rung.num_parameters) if rung.num_parameters is not None else nothing("not known"),
        _stored(rung, size) if size else nothing("served"),
        share_text(size, teacher.weight_bytes) if size and teacher and teacher.weight_bytes else nothing(share),
    ]


def _stored(rung: Rung, size: int) -> str | Html:
    return memory_text(size) if rung.storage is None else stacked(memory_text(size), rung.storage)


def _why_not_kept(rung: Rung) -> str | None:
    return "not computed" if rung.role == "student" else None


def _unsat(data: ReportData) -> list[Html]:
    """Models that sat no exam, where others did."""
    if not data.unsat:
        return []
    return [tag("h3", "Models that sat no exam"), _unsat_table(data)]


def _unsat_table(data: ReportData) -> Html:
    columns = plain("Model") + numeric("Parameters", "Weights", "Of teacher’s bytes") + wide("How it was made")
    made = {row.name: row for row in data.made}
    rows = []
    for rung in data.unsat:
        row = made.get(rung.name)
        how = "given" if data.is_given(rung) else "not recorded"
        if row is not None:
            how = f"{row.made_by} from {row.start}" if row.start else row.made_by
        rows.append([*_size_cells(rung, data.teacher), how])
    return table(columns, rows, caption="Models without a score")
