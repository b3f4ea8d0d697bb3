"""Exams side by side: names and anchors of the parts that each exam has on the page.

In: :class:`ReportData` and one of its exams. Out: markup and ids. With one exam nothing is named, for there is nothing
to tell apart.
"""

from __future__ import annotations

from spiritsafe.report.data.exam import ExamPart
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, tag


def exam_title(data: ReportData, exam: ExamPart) -> Html | None:
    """The exam's name as a heading, where there are several."""
    return tag("h3", exam.name) if len(data.exams) > 1 else None


def exam_anchor(anchor: str, data: ReportData, exam: ExamPart) -> str:
    """An id that no other exam's part has."""
    place = data.exams.index(exam)
    return f"{anchor}-{place + 1}" if place else anchor
