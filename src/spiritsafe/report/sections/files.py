"""Models that are one file: what each weighs and takes, what it scored, and which of them nobody should take.

In: :class:`~spiritsafe.report.data.run.ReportData`. Out: one table an exam; nothing where no model is a file.
"""

from __future__ import annotations

from spiritsafe.report.data.exam import ExamPart, ExamScore
from spiritsafe.report.data.models import FileFigures, Rung
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, paragraph, section, tag
from spiritsafe.report.html.tables import nothing, numeric, plain, stacked, table
from spiritsafe.report.numbers import (
    change_range,
    change_value,
    memory_text,
    score_range,
    score_value,
    speed_text,
)
from spiritsafe.report.sections.exams import exam_title
from spiritsafe.report.text.files import FILES_NOTE, bits_text, divergence_text, dominated_by


def files_section(data: ReportData) -> Html | None:
    """Every file beside the model that it holds, in each exam; without an exam once, without scores."""
    if not any(rung.file for rung in data.ladder):
        return None
    parts: list[Html] = []
    for exam in data.exams or (None,):
        if exam is not None and (title := exam_title(data, exam)) is not None:
            parts.append(title)
        parts.append(_files(data, exam))
    return section("files", "Files", paragraph(FILES_NOTE, class_="lead"), *parts)


def _files(data: ReportData, exam: ExamPart | None) -> Html:
    columns = (
        plain("File")
        + numeric("Bytes", "Bits a weight", "Divergence, nats", "Memory", "Tokens/s, one stream", "Sealed score")
        + numeric("Change, points")
        + plain("Dominated by")
    )
    worse = dominated_by(data, exam)
    held = {rung.file.of for rung in data.ladder if rung.file}
    rows = [
        _row(rung, exam.score_of(rung.name) if exam else None, worse.get(rung.name))
        for rung in data.ladder
        if rung.file or rung.name in held
    ]
    return table(columns, rows, caption="Files and the models that they hold")


def _row(rung: Rung, score: ExamScore | None, worse_than: str | None) -> list[object]:
    figures = rung.file
    return [
        _name(rung),
        memory_text(rung.weight_bytes) if rung.weight_bytes else nothing("not known"),
        *(_figures(figures) if figures else [nothing(None)] * 4),
        stacked(score_value(score.sealed), score_range(score.sealed)) if score else nothing("did not sit"),
        stacked(change_value(score.gain), change_range(score.gain))
        if figures and score and score.gain
        else nothing(None),
        tag("span", worse_than, class_="model") if worse_than else nothing(None),
    ]


def _name(rung: Rung) -> Html:
    detail = rung.file.file if rung.file else rung.role
    return tag("span", tag("span", rung.name, class_="model"), tag("span", detail, class_="role"))


def _figures(figures: FileFigures) -> list[object]:
    kl, memory, speed = figures.kl, figures.memory_bytes, figures.tokens_per_s
    return [
        bits_text(figures),
        stacked(*divergence_text(kl)) if kl else nothing("not measured"),
        memory_text(memory) if memory else nothing("not measured"),
        speed_text(speed) if speed else nothing("not measured"),
    ]
