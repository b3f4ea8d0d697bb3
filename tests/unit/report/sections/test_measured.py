from __future__ import annotations

from page_checker import PageChecker

from spiritsafe.report import ReportData
from spiritsafe.report.sections.measured import measured_sections


def text(data: ReportData) -> str:
    page = PageChecker("".join(measured_sections(data)))
    assert page.problems == []
    return page.text.replace("\u00a0", " ").replace("\u202f", " ")


def test_numbers_stand_with_intervals_and_are_called_practice(no_exam: ReportData) -> None:
    words = text(no_exam)
    for shown in (
        "Practice, never a certificate",
        "Below each number stands its 95 % interval",
        "held-out",
        "llama chats negative log-likelihood, nats a token 1.412 1.372 to 1.456 – 81 234 tokens",
        "1.100 1.060 to 1.144 −0.312 −0.342 to −0.279 against llama 81 234 tokens",
        "KL to deepseek, nats a token 0.080 0.070 to 0.091",
        "accuracy, % of problems 25.0 % 18.0–32.7 % – 128 problems",
        "ways: accuracy against compute, maths",
    ):
        assert shown in words, shown


def test_curves_alone_and_nothing_at_all(no_exam: ReportData, data: ReportData) -> None:
    words = text(no_exam.model_copy(update={"measured": ()}))
    assert "Below each number" not in words
    assert "accuracy against compute, maths" in words
    assert measured_sections(data) == []
