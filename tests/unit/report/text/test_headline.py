from __future__ import annotations

from typing import Any

import pytest
from report_parts import estimate

from spiritsafe.report import ReportData, build_report, terminal_summary
from spiritsafe.report.text.headline import (
    best_student,
    confidence_text,
    gap_sentence,
    headline,
    headline_support,
    platform_words,
    separation_text,
)


def with_student(data: ReportData, **changes: Any) -> ReportData:
    return data.model_copy(update={"ladder": (*data.ladder[:2], data.ladder[2].model_copy(update=changes))})


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_headline_of_a_gain(data: ReportData) -> None:
    assert plain(headline(data)) == (
        "SmolLM2-135M-sums-24L gained 51 points (+44 to +58) on the sealed exam, in 84 % of the teacher’s bytes."
    )


@pytest.mark.parametrize(
    ("value", "spread", "words"),
    [
        (0.02, 0.05, "No gain shown: SmolLM2-135M-sums-24L changed by +2.0 points (−3.0 to +7.5) on the sealed exam."),
        (-0.2, 0.06, "SmolLM2-135M-sums-24L lost 20 points (−26 to −13) on the sealed exam."),
    ],
)
def test_headline_claims_no_more_than_the_interval(data: ReportData, value: float, spread: float, words: str) -> None:
    assert headline(with_student(data, change=estimate(value, spread))) == words


def test_headline_without_student(data: ReportData) -> None:
    alone = data.model_copy(update={"ladder": data.ladder[:2]})
    assert headline(alone) == "SmolLM2-135M-sums gained 60 points (+54 to +68) on the sealed exam."
    assert "No student was made in this run." in headline_support(alone)


def test_headline_without_base_exam_or_models(data: ReportData) -> None:
    assert "without a base there is no gain to state" in headline(with_student(data, change=None))
    assert headline_support(data).startswith("Every model answered the same 200 sealed problems")
    unsat = with_student(data, sealed=None, change=None, gain_kept=None, public=None)
    assert "sat no sealed exam" in headline(unsat)
    assert headline_support(unsat).startswith("Every model that sat answered")
    assert headline(data.model_copy(update={"ladder": data.ladder[:1]})).endswith("nothing was trained.")
    assert headline(data.model_copy(update={"ladder": ()})) == "This run made no model."
    assert headline_support(data.model_copy(update={"ladder": (), "exam": None})) == "No exam was sat."


def test_the_best_student_is_the_one_with_the_best_score_then_the_smaller(data: ReportData) -> None:
    student = data.ladder[2]
    small = student.model_copy(update={"name": "small", "weight_bytes": 10})
    better = student.model_copy(update={"name": "better", "sealed": estimate(0.6, 0.05)})
    assert best_student(data.model_copy(update={"ladder": (student, small)})) == small
    assert best_student(data.model_copy(update={"ladder": (better, small)})) == better
    assert best_student(data.model_copy(update={"ladder": data.ladder[:2]})) is None


def test_gap_sentences_are_the_exams_own(data: ReportData) -> None:
    teacher = data.ladder[1]
    sentence = plain(gap_sentence(teacher))
    assert sentence.startswith("public minus sealed is +2.5 points (−6.0 to +11.9). Cannot rule out studying")
    assert "On the gain over the base: No sign of studying (p = 0.34)" in sentence
    assert gap_sentence(teacher.model_copy(update={"public": None})).startswith("sat no public half")
    assert gap_sentence(teacher.model_copy(update={"public": None, "sealed": None})) == "did not sit."


def test_separation_in_plain_words(data: ReportData) -> None:
    checks = data.verification
    assert checks is not None
    assert separation_text(checks).startswith("Self-examined: one person held all keys")
    signed = checks.model_copy(update={"separation": "third party", "counter_signers": ("Ada (key 12)",)})
    assert separation_text(signed).startswith("Third party:")
    assert "Counter-signed by Ada (key 12)" in separation_text(signed)


def test_confidence_levels(data: ReportData) -> None:
    assert plain(confidence_text(data)) == "95 %"
    early = data.ladder[1].model_copy(update={"change": estimate(0.1, 0.1).model_copy(update={"confidence": 0.9})})
    assert plain(confidence_text(data.model_copy(update={"ladder": (data.ladder[0], early)}))) == "90 % to 95 %"


def test_of_several_seeds_all_are_told_of_and_not_the_best(steps: ReportData) -> None:
    assert headline(steps) == (
        "rl gained 17 points (+12 to +23) over SmolLM2-135M-sums on the sealed exam, 3 seeds together."
    )
    arms = (steps.reinforced[0].arms[0].model_copy(update={"num_seeds": 1}), *steps.reinforced[0].arms[1:])
    single = steps.model_copy(update={"reinforced": (steps.reinforced[0].model_copy(update={"arms": arms}),)})
    assert headline(single) == "rl gained 60 points (+54 to +68) on the sealed exam."
    assert best_student(steps) == steps.ladder[2]
    controls = steps.model_copy(update={"ladder": (*steps.ladder[:2], steps.ladder[3])})
    assert best_student(controls) is None  # a control is nobody's product


def test_a_run_on_two_platforms_says_so(data: ReportData) -> None:
    assert platform_words(data.run) == ""
    assert platform_words(data.run.model_copy(update={"platforms": ("A",)})) == ""
    two = data.run.model_copy(update={"platforms": ("Zen 4", "Haswell", "Zen 4"), "mixed_stages": ("teach",)})
    assert platform_words(two) == (
        "Begun on Zen 4; continued on Haswell; then on Zen 4: figures may differ in their last bits. "
        "Computed by more than one: teach."
    )
    assert "mixed" not in data.run.canonical().decode()  # reports that were written before keep their form
    shown = data.model_copy(update={"run": two})
    assert "Begun on Zen 4" in terminal_summary(shown)
    page = build_report(shown)
    assert page.count("Begun on Zen 4; continued on Haswell") == 2
