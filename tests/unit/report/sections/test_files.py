"""Files on the page and in the terminal: what they weigh and scored, and which of them nobody should take."""

from __future__ import annotations

from page_checker import PageChecker
from report_parts import STUDENT, estimate

from spiritsafe.report import ExamScore, FileFigures, ReportData, Rung, build_report, terminal_summary
from spiritsafe.report.sections.files import files_section
from spiritsafe.report.text.files import dominated_by

FILES = (("q8", "Q8_0", 120_000_000, 8.51, 0.0, 0.61), ("q5", "Q5_K_M", 95_000_000, 6.4, 0.79, 0.52),
         ("q4", "Q4_0", 76_000_000, 4.66, 0.0, 0.55))  # fmt: skip


def _with_files(data: ReportData) -> ReportData:
    figures = {
        name: FileFigures(
            file=f"<b>{name}</b>|.gguf",
            of=STUDENT,
            type=kind,
            bits_per_weight=bits,
            substituted_share=share,
            memory_bytes=2 * size,
            tokens_per_s=71.0,
            kl=estimate(0.0002, 0.0001),
        )
        for name, kind, size, bits, share, _ in FILES
    }
    rungs = [
        Rung(name=name, role="student", num_parameters=113_263_488, weight_bytes=size, file=figures[name])
        for name, _, size, *_ in FILES
    ]
    scores = [
        ExamScore(model=name, sealed=estimate(value, 0.06), gain=estimate(value - 0.6, 0.05))
        for name, *_, value in FILES
    ]
    (exam, *others) = data.exams
    sat = exam.model_copy(update={"scores": (*exam.scores, *scores)})
    return data.model_copy(update={"ladder": (*data.ladder, *rungs), "exams": (sat, *others)})


def test_a_larger_file_that_scored_less_is_dominated_and_others_are_not(data: ReportData) -> None:
    several = _with_files(data)
    assert dominated_by(several, several.exams[0]) == {"q5": "q4"}
    assert dominated_by(several, None) == {}


def test_the_table_shows_true_bits_and_escapes_names(data: ReportData) -> None:
    page = PageChecker(str(files_section(_with_files(data))))
    assert page.problems == []
    words = page.text.replace("\u00a0", " ").replace("\u202f", " ")
    for shown in ("<b>q5</b>|.gguf", "6.40, 79% not Q5_K_M", "0.0002 0.0001 to 0.00031", "52.0 %", "q4", STUDENT):
        assert shown in words, shown
    assert files_section(data) is None


def test_page_and_terminal_have_the_files(data: ReportData) -> None:
    several = _with_files(data)
    assert 'href="#files"' in build_report(several)
    assert 'href="#files"' not in build_report(data)
    said = terminal_summary(several)
    assert "q5 (Q5_K_M)" in said
    assert "8.51" in said
    assert "Dominated by" not in terminal_summary(data)
