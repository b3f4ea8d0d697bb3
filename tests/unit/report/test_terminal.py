from __future__ import annotations

from typing import Any

from report_parts import estimate
from rich.cells import cell_len

from spiritsafe.report import Measured, ReportData, terminal_summary
from spiritsafe.report.numbers import WIDTH


def test_the_ladder_with_intervals(data: ReportData) -> None:
    words = terminal_summary(data).replace("\u00a0", " ")
    assert words.startswith("SmolLM2-135M-sums-24L gained 51 points (+44 to +58)")
    assert "54.5 % [47.6–62.1]" in words
    assert "+51.0 [+44.2, +58.5]" in words
    assert "84 % [76–94]" in words
    assert "SmolLM2-135M-sums-24L     227 MB 84 %" in words
    assert "Cannot rule out studying" in words
    assert words.endswith("quickstart: 9 stages, 9 min 10 s; self-examined.")


def renamed(data: ReportData, name: str, **changes: Any) -> ReportData:
    """The student under another name, with other numbers."""
    (exam,) = data.exams
    student = data.ladder[2].model_copy(update={"name": name, "weight_bytes": 10**13})
    score = exam.scores[2].model_copy(update={"model": name, **changes})
    sat = exam.model_copy(update={"scores": (*exam.scores, score)})
    return data.model_copy(update={"ladder": (*data.ladder, student), "exams": (sat,)})


def test_lines_are_never_wider_than_the_terminal(data: ReportData, two_exams: ReportData, no_exam: ReportData) -> None:
    wide = renamed(data, "模型" * 40, tokens_per_s=123_456.0, sealed=estimate(1.0, 0.0))
    long = Measured.model_validate(no_exam.measured[1].to_json() | {"step": "held-" * 9, "what": "kl:" + "deep" * 20})
    measured = no_exam.model_copy(update={"measured": (*no_exam.measured, long)})
    for run in (data, wide, two_exams, no_exam, measured):
        for line in terminal_summary(run).splitlines():
            assert cell_len(line) <= WIDTH


def test_names_cannot_drive_the_terminal(data: ReportData, no_exam: ReportData) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07[bold red]m[/]\nnew line"
    measured = no_exam.measured[0].model_copy(update={"model": evil, "data": evil, "step": evil})
    rungs = (no_exam.ladder[0].model_copy(update={"name": evil}),)
    named = data.exams[0].model_copy(update={"name": evil, "task": evil})
    two = data.model_copy(update={"exams": (named, named.model_copy(update={"name": "other"}))})
    quiet = no_exam.model_copy(update={"ladder": rungs, "measured": (measured,)})
    for run in (renamed(data, evil), quiet, two):
        words = terminal_summary(run)
        assert "\x1b" not in words
        assert "\x07" not in words
        assert "[bold" in words


def test_missing_parts(data: ReportData) -> None:
    bare = ReportData(run=data.run, inputs=data.inputs)
    assert terminal_summary(bare).startswith("This run made no model;")
    assert "no certificate" in terminal_summary(bare)
    (exam,) = data.exams
    nobody = data.model_copy(update={"exams": (exam.model_copy(update={"scores": ()}),)})
    assert "No model sat the sealed exam." in terminal_summary(nobody)


def test_without_an_exam_models_and_measures_are_shown(no_exam: ReportData) -> None:
    words = " ".join(terminal_summary(no_exam).replace("\u00a0", " ").split())
    assert words.startswith("This run made llama-cut and llama-r1; no exam in this recipe: nothing here is certified.")
    for row in (
        "deepseek (teacher) given - served",
        "llama-r1 (tuned) fine-tuned 1.24 B 2.47 GB",
        "held-out llama-r1 chats negative log-likelihood, 1.100 [1.060 to 1.144] −0.312 [−0.342, −0.279]",
        "held-out llama maths accuracy, % of problems 25.0 % [18.0–32.7] -",
        "Practice, never a certificate. Brackets: 95 % intervals.",
    ):
        assert row in words, row
    assert "Sealed" not in words
    assert words.endswith("no certificate.")


def test_each_exam_has_its_table(two_exams: ReportData) -> None:
    words = terminal_summary(two_exams).replace("\u00a0", " ")
    parts = words.split("\n\n")
    assert parts[1] == "qwen-sums gained 30 points (+25 to +36) over qwen on the sealed exam code."
    assert "code: 150 sealed problems of code:solve" in parts
    assert "Change: against SmolLM2-135M-Instruct on the same problems" in words
    assert "against the given model that its weights come from" in " ".join(words.split())
    assert "Models that sat no exam" in words
    assert "Public against sealed in maths: 6 of 6 models" in " ".join(words.split())
    assert "code: " in words.partition("code: 150")[2]


def test_steps_have_a_table_and_their_findings(steps: ReportData) -> None:
    words = terminal_summary(steps).replace("\u00a0", " ")
    assert words.startswith("rl gained 17 points (+12 to +23) over SmolLM2-135M-sums")
    table = next(part for part in words.split("\n\n") if part.startswith("Made"))
    assert "1.28 PFLOP" in table
    assert "+17.0 [+12.0, +22.5]" in table
    assert "rl: It gained +17.0 points" in words
    assert "Warnings and alarms: 3, in the report." in " ".join(words.split())
    assert all(cell_len(line) <= WIDTH for line in words.splitlines())


def test_many_models_are_told_of_in_one_line(steps: ReportData) -> None:
    words = " ".join(terminal_summary(steps).split())
    assert "Public against sealed: 6 of 6 models show no sign of studying" in words
    assert "Cannot rule out" not in words
    (exam,) = steps.exams
    score = exam.scores[3]
    assert score.public is not None
    gap = score.public.gap.model_copy(update={"p_value": 0.01})
    studied = score.model_copy(update={"public": score.public.model_copy(update={"gap": gap})})
    sat = exam.model_copy(update={"scores": (*exam.scores[:3], studied, *exam.scores[4:])})
    words = " ".join(terminal_summary(steps.model_copy(update={"exams": (sat,)})).split())
    assert "5 of 6 models show no sign" in words
    assert f"{studied.model}: public minus sealed" in words
