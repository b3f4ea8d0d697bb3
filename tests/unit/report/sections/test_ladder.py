from __future__ import annotations

import re

from page_checker import PageChecker

from spiritsafe.report import FileFigures, ReportData, terminal_summary
from spiritsafe.report.sections.ladder import key_figures, ladder_section


def text(markup: str) -> str:
    page = PageChecker(markup)
    assert page.problems == []
    return page.text.replace("\u00a0", " ")


def only(data: ReportData, *places: int) -> ReportData:
    """Some of the models, with their scores."""
    (exam,) = data.exams
    scores = tuple(exam.scores[place] for place in places)
    ladder = tuple(data.ladder[place] for place in places)
    return data.model_copy(update={"ladder": ladder, "exams": (exam.model_copy(update={"scores": scores}),)})


def test_key_figures_are_the_best_students(data: ReportData) -> None:
    figures = key_figures(data)
    assert figures is not None
    words = text(figures)
    assert "54.5 % 47.6–62.1 %" in words.replace("  ", " ")
    assert "227 MB of 269 MB" in words
    assert key_figures(only(data, 0, 1)) is None
    no_teacher = key_figures(only(data, 2))
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


Q4_0 = FileFigures(file="s.gguf", of="s", type="Q4_0", bits_per_weight=5.35, substituted_share=0.0)


def test_a_file_stands_with_its_bytes_type_and_bits(data: ReportData) -> None:
    file = data.ladder[2].model_copy(update={"role": "quantised", "file": Q4_0, "weight_bytes": 91_000_000})
    shown = data.model_copy(update={"ladder": (*data.ladder[:2], file)})
    made = ladder_section(shown)
    assert "Q4_0, 5.35 bits a weight" in text(made)
    assert 'class="role r-quantised"' in made
    assert "91.0 MB Q4_0" in terminal_summary(shown).replace("\u00a0", " ")
    unsat = ladder_section(shown.model_copy(update={"exams": ()}))
    assert "Q4_0, 5.35 bits a weight" in text(unsat)


def test_missing_parts_of_a_score_are_said(data: ReportData) -> None:
    nothing = {"tokens_per_s": None, "change": None, "against": None, "gain_kept": None, "public": None}
    bare = only(data, 2)
    score = bare.exams[0].scores[0].model_copy(update=nothing)
    exam = bare.exams[0].model_copy(update={"scores": (score,)})
    words = text(ladder_section(bare.model_copy(update={"exams": (exam,)})))
    for said in ("not measured", "not compared", "not computed", "no public half", "no teacher"):
        assert said in words
    unsat = text(ladder_section(bare.model_copy(update={"exams": (exam.model_copy(update={"scores": ()}),)})))
    assert "No model of this run sat this exam. Models that sat no exam" in unsat
    assert "so there is no ladder" in text(ladder_section(data.model_copy(update={"ladder": (), "exams": ()})))


def test_without_an_exam_the_models_stand_there_and_nothing_is_certified(no_exam: ReportData) -> None:
    words = text(ladder_section(no_exam))
    assert "No exam in this recipe: nothing here is certified." in words
    for row in (
        "deepseek teacher not known served – given",
        "llama base 1.24 B 2.47 GB no teacher given",
        "llama-cut cut 936 M 1.87 GB no teacher cut from llama",
        "llama-r1 tuned 1.24 B 2.47 GB no teacher fine-tuned from llama",
    ):
        assert row.replace("– given", "no teacher given") in words, row
    assert "Sealed" not in words
    assert key_figures(no_exam) is None


def test_each_exam_has_its_ladder(two_exams: ReportData) -> None:
    made = ladder_section(two_exams)
    words = text(made)
    first, second = words.split(" code ", 1)
    assert "Change is against SmolLM2-135M-Instruct on the same problems" in first
    assert "Dashed line: SmolLM2-135M-Instruct’s score" in first
    assert "Change is against the given model that stands below it" in second
    assert "+30.0 +25.0 to +35.5 over qwen" in second
    assert "Dashed line" not in second  # no one line to be held against
    assert "Models that sat no exam" in second
    assert "qwen-cut cut 300 M 600 MB" in second
    assert made.count("<figure") == 2


def test_key_figures_of_several_seeds_are_those_of_all(steps: ReportData) -> None:
    figures = key_figures(steps)
    assert figures is not None
    words = text(figures)
    assert "Sealed exam score, 3 seeds 81.0 %" in words
    assert "Gain over SmolLM2-135M-sums +17.0 points" in words
    assert "Change against the base" not in words
