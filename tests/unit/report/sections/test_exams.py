from __future__ import annotations

from spiritsafe.report import ReportData
from spiritsafe.report.sections.exams import exam_anchor, exam_title


def test_one_exam_is_not_named(data: ReportData) -> None:
    (exam,) = data.exams
    assert exam_title(data, exam) is None
    assert exam_anchor("chart", data, exam) == "chart"


def test_several_are_told_apart(two_exams: ReportData) -> None:
    first, second = two_exams.exams
    assert [exam_title(two_exams, exam) for exam in (first, second)] == ["<h3>maths</h3>", "<h3>code</h3>"]
    assert [exam_anchor("chart", two_exams, exam) for exam in (first, second)] == ["chart", "chart-2"]
