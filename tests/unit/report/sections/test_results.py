from __future__ import annotations

import re

from page_checker import PageChecker

from spiritsafe.report import PartScore, ReportData
from spiritsafe.report.sections.results import outcomes_section, parts_section, public_section
from spiritsafe.stats import score_interval


def text(markup: str | None) -> str:
    assert markup is not None
    page = PageChecker(markup)
    assert page.problems == []
    return page.text.replace("\u00a0", " ")


def test_public_against_sealed(data: ReportData) -> None:
    words = text(public_section(data))
    assert words.count("Cannot rule out studying") == 3
    assert "gap +2.5 points (−6.0 to +11.9)" in words
    (exam,) = data.exams
    scores = tuple(score.model_copy(update={"public": None}) for score in exam.scores)
    without = data.model_copy(update={"exams": (exam.model_copy(update={"scores": scores}),)})
    assert "This paper had no public half" in text(public_section(without))


def test_parts_stand_under_what_tells_them_apart(data: ReportData) -> None:
    assert parts_section(data) is None
    (exam,) = data.exams
    first, *others = exam.scores
    halves = tuple(
        PartScore(
            part=f"code:solve?inputs=9&language={language}", sealed=score_interval([1] * right + [0] * (9 - right))
        )
        for language, right in (("cobol", 3), ("python", 6))
    )
    scores = (first.model_copy(update={"parts": halves}), *others)
    mixed = data.model_copy(update={"exams": (exam.model_copy(update={"scores": scores}),)})
    words = text(parts_section(mixed))
    assert "language=cobol language=python" in words
    assert "inputs=9" not in words
    assert re.search(rf"{first.model} 33\.3 % .*66\.7 %", words)
    assert {part.sealed for part in halves} <= set(scores[0].estimates())


def test_without_an_exam_there_are_no_such_parts(no_exam: ReportData) -> None:
    assert public_section(no_exam) is None
    assert parts_section(no_exam) is None
    assert outcomes_section(no_exam) is None


def test_each_exam_has_its_parts(two_exams: ReportData) -> None:
    words = text(public_section(two_exams))
    assert "maths" in words
    assert "This paper had no public half" in words.partition(" code ")[2]
    words = text(outcomes_section(two_exams))
    assert "qwen sealed 150 30 120 0" in words.partition(" code ")[2]


def test_outcomes_are_all_counted(data: ReportData) -> None:
    made = outcomes_section(data)
    words = text(made)
    for name in ("Correct", "Wrong", "Unparsed", "Truncated", "Refused", "Error", "Unscored"):
        assert name in words
    last = re.findall(r"<tr role=\"row\">(.*?)</tr>", str(made))[-1]
    cells = [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", last)]
    assert cells[1:] == ["sealed", "200", "109", "81", "6", "3", "0", "0", "1", ""]
    widths = [float(width) for width in re.findall(r'width="([\d.]+)"', last)]
    assert sum(widths) == 100
    exam = data.exams[0].model_copy(update={"outcomes": ()})
    assert "no outcomes to count" in text(outcomes_section(data.model_copy(update={"exams": (exam,)})))
