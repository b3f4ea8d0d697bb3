from __future__ import annotations

from page_checker import PageChecker

from spiritsafe.report import ReportData
from spiritsafe.report.sections.rewards import rewards_section


def text(data: ReportData) -> str:
    section = rewards_section(data)
    assert section is not None
    page = PageChecker(section)
    assert page.problems == []
    return page.text.replace("\u00a0", " ").replace("\u202f", " ")


def test_the_section_shows_gains_controls_curves_and_times(steps: ReportData) -> None:
    words = text(steps)
    for shown in (
        "What learning by reward did",
        "DAPO, 8 answers to a problem",
        "Gain over SmolLM2-135M-sums on the sealed exam",
        "verified reward",
        "+17.0 points",
        "random reward",
        "Dev problems solved in k tries",
        "93.0 % (90.0–96.3 %) before, 98.5 % (97.3–99.8 %) after",
        "Share of drawn answers that are right",
        "Entropy, nats a token",
        "Sampler against trainer",
        "1 000 000",
        "1 250 000",
        "5 min 12 s",
        "Entropy fell from 0.612",
        "Dev score, share of problems",
    ):
        assert shown in words, shown


def test_runs_without_steps_have_no_such_section(data: ReportData) -> None:
    assert rewards_section(data) is None


def test_what_was_not_measured_is_not_drawn(steps: ReportData) -> None:
    bare = steps.reinforced[0].model_copy(update={"passes": (), "well_formed": None, "arms": ()})
    words = text(steps.model_copy(update={"reinforced": (bare,)}))
    assert "k tries" not in words
    assert "Gain over" not in words
    assert "Reward, mean" in words


def test_each_exam_has_its_gains(two_exams: ReportData) -> None:
    words = text(two_exams)
    assert "Gain over SmolLM2-135M-sums on the sealed exam maths" in words
    assert "Gain over SmolLM2-135M-sums on the sealed exam code" in words
    assert "maths: It gained +17.0 points" in words
    assert "code: It lost against SmolLM2-135M-sums" in words


def test_without_an_exam_no_gain_is_claimed(steps: ReportData) -> None:
    words = text(steps.model_copy(update={"exams": ()}))
    assert "no gain is certified" in words
    assert "sealed" not in words
    assert "Reward, mean" in words
