from __future__ import annotations

import re

from page_checker import PageChecker

from spiritsafe.report import ReportData
from spiritsafe.report.sections.results import key_figures, ladder_section, outcomes_section, public_section


def text(markup: str) -> str:
    page = PageChecker(markup)
    assert page.problems == []
    return page.text.replace("\u00a0", " ")


def test_key_figures_are_the_best_students(data: ReportData) -> None:
    figures = key_figures(data)
    assert figures is not None
    words = text(figures)
    assert "54.5 % 47.6–62.1 %" in words.replace("  ", " ")
    assert "227 MB of 269 MB" in words
    assert key_figures(data.model_copy(update={"ladder": data.ladder[:2]})) is None
    no_teacher = key_figures(data.model_copy(update={"ladder": data.ladder[2:]}))
    assert no_teacher is not None
    assert "113 M parameters" in text(no_teacher)


def test_the_ladder_shows_every_column_of_every_model(data: ReportData) -> None:
    made = ladder_section(data)
    words = text(made)
    rows = re.findall(r"<tr role=\"row\">(.*?)</tr>", made)[1:]
    assert len(rows) == len(data.ladder)
    student = text("<p>" + re.sub(r"</?t[dh][^>]*>", " ", rows[2]) + "</p>")
    for shown in (
        "student",
        "113 M",
        "227 MB",
        "84 %",
        "230",
        "54.5 %",
        "+51.0",
        "+44.2 to +58.5",
        "84.3 %",
        "52.5 %",
        "−2.0",
    ):
        assert shown in student
    assert "Dashed line: the base’s score" in words


def test_missing_parts_of_a_rung_are_said(data: ReportData) -> None:
    bare = data.ladder[2].model_copy(
        update={"tokens_per_s": None, "sealed": None, "change": None, "gain_kept": None, "public": None}
    )
    words = text(ladder_section(data.model_copy(update={"ladder": (bare,), "exam": None})))
    for said in ("not measured", "did not sit", "not compared", "not computed", "no public half", "no teacher"):
        assert said in words
    assert "so there is no ladder" in text(ladder_section(data.model_copy(update={"ladder": ()})))


def test_public_against_sealed(data: ReportData) -> None:
    words = text(public_section(data))
    assert words.count("Cannot rule out studying") == 3
    assert "gap +2.5 points (−6.0 to +11.9)" in words
    without = data.model_copy(update={"ladder": tuple(r.model_copy(update={"public": None}) for r in data.ladder)})
    assert "This paper had no public half" in text(public_section(without))
    assert "No exam was sat" in text(public_section(without.model_copy(update={"exam": None})))


def test_outcomes_are_all_counted(data: ReportData) -> None:
    made = outcomes_section(data)
    words = text(made)
    for name in ("Correct", "Wrong", "Unparsed", "Truncated", "Refused", "Error", "Unscored"):
        assert name in words
    last = re.findall(r"<tr role=\"row\">(.*?)</tr>", made)[-1]
    cells = [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", last)]
    assert cells[1:] == ["sealed", "200", "109", "81", "6", "3", "0", "0", "1", ""]
    widths = [float(width) for width in re.findall(r'width="([\d.]+)"', last)]
    assert sum(widths) == 100
    assert "no outcomes to count" in text(outcomes_section(data.model_copy(update={"outcomes": ()})))


def test_key_figures_of_several_seeds_are_those_of_all(steps: ReportData) -> None:
    figures = key_figures(steps)
    assert figures is not None
    words = text(figures)
    assert "Sealed exam score, 3 seeds 81.0 %" in words
    assert "Gain over SmolLM2-135M-sums +17.0 points" in words
    assert "Change against the base" not in words
