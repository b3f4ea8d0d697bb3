from __future__ import annotations

from page_checker import PageChecker

from spiritsafe.report import ReportData
from spiritsafe.report.sections.lineage import staircase_section


def test_each_row_tells_what_went_in_and_what_came_out(steps: ReportData) -> None:
    section = staircase_section(steps)
    assert section is not None
    page = PageChecker(section)
    assert page.problems == []
    words = page.text.replace("\u00a0", " ").replace("\u202f", " ")
    for shown in (
        "rl reinforced SmolLM2-135M-sums 200 rounds, 51200 answers, 30720 with an advantage 1 000 000 1 250 000 –",
        "1.28 PFLOP 1.55 PFLOP 81.0 % 76.0–86.5 % +17.0 +12.0 to +22.5",
        "harvest sampled rl 1812 of 4096 verified 90 000 – – – – – –",
    ):
        assert shown in words, shown
    versus = "rl tuned 3 81.0 % 76.0–86.5 % 78.0 % 73.0–83.5 % +3.0 −2.0 to +8.5 0.21 1.28 PFLOP 980 TFLOP"
    assert versus in words
    exam = steps.exams[0].model_copy(update={"versus": ()})
    alone = staircase_section(steps.model_copy(update={"exams": (exam,)}))
    assert "One against another" not in str(alone)


def test_scores_stand_here_where_there_is_one_exam(two_exams: ReportData, no_exam: ReportData) -> None:
    section = staircase_section(two_exams)
    assert section is not None
    words = PageChecker(section).text
    assert "Sealed score" not in words
    assert "One against another in code" in words
    section = staircase_section(no_exam)
    assert section is not None
    page = PageChecker(section)
    assert page.problems == []
    assert "Gain" not in page.text
    assert "llama-r1 fine-tuned llama" in page.text


def test_given_models_alone_can_be_compared(steps: ReportData) -> None:
    section = staircase_section(steps.model_copy(update={"made": ()}))
    assert section is not None
    assert "This run made nothing. One against another" in PageChecker(section).text


def test_runs_that_recorded_nothing_have_no_staircase(data: ReportData) -> None:
    assert staircase_section(data) is None
