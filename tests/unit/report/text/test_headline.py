from __future__ import annotations

from typing import Any

import pytest
from report_parts import BASE, estimate

from spiritsafe.report import ReportData, SeedsTogether, build_report, terminal_summary
from spiritsafe.report.text.headline import (
    best_student,
    confidence_text,
    further_headlines,
    gap_sentence,
    headline,
    headline_support,
    platform_words,
    separation_text,
)


def with_student(data: ReportData, **changes: Any) -> ReportData:
    (exam,) = data.exams
    scores = (*exam.scores[:2], exam.scores[2].model_copy(update=changes))
    return data.model_copy(update={"exams": (exam.model_copy(update={"scores": scores}),)})


def some(data: ReportData, *places: int) -> ReportData:
    """Some of the models, with their scores."""
    (exam,) = data.exams
    scores = tuple(exam.scores[place] for place in places)
    ladder = tuple(data.ladder[place] for place in places)
    return data.model_copy(update={"ladder": ladder, "exams": (exam.model_copy(update={"scores": scores}),)})


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
    assert headline(some(data, 0, 1)) == "SmolLM2-135M-sums gained 60 points (+54 to +68) on the sealed exam."


def test_headline_without_base_or_models(data: ReportData) -> None:
    rootless = with_student(data, change=None, against=None)
    assert "without a base there is no gain to state" in headline(rootless)
    assert "Of SmolLM2-135M-sums-24L no change can be stated" in headline_support(rootless)
    assert headline_support(data) == (
        "Every model answered the same 200 sealed problems, from a bucket that training never draws on. "
        "Brackets hold 95\u00a0% intervals; comparisons are paired, problem by problem."
    )
    (exam,) = data.exams
    missing = data.model_copy(update={"exams": (exam.model_copy(update={"scores": exam.scores[:2]}),)})
    assert headline_support(missing).startswith("Every model that sat answered")
    nobody = data.model_copy(update={"exams": (exam.model_copy(update={"scores": ()}),)})
    assert headline(nobody) == "No model of this run sat the sealed exam, so this run shows no gain."
    assert headline(some(data, 0)).endswith("nothing was trained.")
    given_only = data.model_copy(update={"exams": (exam.model_copy(update={"scores": exam.scores[:1]}),)})
    assert headline(given_only).endswith("on the sealed exam; nothing that was made sat it.")


def test_models_that_were_given_are_told_side_by_side(data: ReportData) -> None:
    alone = some(data, 0, 1)
    ladder = (alone.ladder[0], alone.ladder[1].model_copy(update={"role": "given"}))
    assert plain(headline(alone.model_copy(update={"ladder": ladder}))) == (
        "The base model scored 3.5 % (1.5–5.7 %) and SmolLM2-135M-sums scored 64.0 % (57.2–71.5 %) on the sealed exam; "
        "nothing was trained."
    )


def test_a_given_teacher_is_nobodys_gain(data: ReportData) -> None:
    source = data.inputs.sources[0].model_copy(update={"name": data.ladder[1].name})
    inputs = data.inputs.model_copy(update={"sources": (source,)})
    assert headline(some(data, 0, 1).model_copy(update={"inputs": inputs})).endswith("nothing was trained.")


def test_headline_without_an_exam(data: ReportData, no_exam: ReportData) -> None:
    assert headline(no_exam) == (
        "This run made llama-cut and llama-r1; no exam in this recipe: nothing here is certified."
    )
    assert "What was measured is practice" in headline_support(no_exam)
    nothing = data.model_copy(update={"ladder": (), "exams": ()})
    assert headline(nothing) == "This run made no model; no exam in this recipe: nothing here is certified."
    many = tuple(data.ladder[2].model_copy(update={"name": f"s{number}"}) for number in range(5))
    said = headline(data.model_copy(update={"ladder": many, "exams": ()}))
    assert said.startswith("This run made s0, s1, s2 and 2 more;")


def test_each_exam_has_its_headline(two_exams: ReportData) -> None:
    assert headline(two_exams) == (
        "rl gained 17 points (+12 to +23) over SmolLM2-135M-sums on the sealed exam maths, 3 seeds together."
    )
    assert further_headlines(two_exams) == [
        "qwen-sums gained 30 points (+25 to +36) over qwen on the sealed exam code."
    ]
    support = headline_support(two_exams)
    assert "Every model that sat answered the same 200 sealed problems of maths" in support
    assert "150 sealed problems of code" in support


def test_the_best_student_is_the_one_with_the_best_score_then_the_smaller(data: ReportData) -> None:
    def found(*students: tuple[str, int, float]) -> str | None:
        (exam,) = data.exams
        ladder = [data.ladder[2].model_copy(update={"name": name, "weight_bytes": size}) for name, size, _ in students]
        scores = [
            exam.scores[2].model_copy(update={"model": name, "sealed": estimate(score, 0.05)})
            for name, _, score in students
        ]
        run = data.model_copy(update={"ladder": tuple(ladder)})
        best = best_student(run, exam.model_copy(update={"scores": tuple(scores)}))
        return best[0].name if best else None

    assert found(("large", 100, 0.5), ("small", 10, 0.5)) == "small"
    assert found(("better", 100, 0.6), ("small", 10, 0.5)) == "better"
    assert found() is None
    assert best_student(some(data, 0, 1), some(data, 0, 1).exams[0]) is None


def test_a_cut_model_is_told_of_only_where_nothing_else_was_made(data: ReportData) -> None:
    small = data.ladder[1].model_copy(update={"role": "cut"})
    cut = data.model_copy(update={"ladder": (data.ladder[0], small, data.ladder[2])})
    assert headline(cut).startswith("SmolLM2-135M-sums-24L gained")
    alone = some(data, 0, 1)
    assert headline(alone.model_copy(update={"ladder": cut.ladder[:2]})).startswith("SmolLM2-135M-sums gained")


def test_gap_sentences_are_the_exams_own(data: ReportData) -> None:
    score = data.exams[0].scores[1]
    sentence = plain(gap_sentence(score, "the base"))
    assert sentence.startswith("public minus sealed is +2.5 points (−6.0 to +11.9). Cannot rule out studying")
    assert "On the gain over the base: No sign of studying (p = 0.34)" in sentence
    assert gap_sentence(score.model_copy(update={"public": None}), "x").startswith("sat no public half")


def test_separation_in_plain_words(data: ReportData) -> None:
    checks = data.exams[0].verification
    assert checks is not None
    assert separation_text(checks).startswith("Self-examined: one person held all keys")
    signed = checks.model_copy(update={"separation": "third party", "counter_signers": ("Ada (key 12)",)})
    assert separation_text(signed).startswith("Third party:")
    assert "Counter-signed by Ada (key 12)" in separation_text(signed)


def test_confidence_levels(data: ReportData) -> None:
    assert plain(confidence_text(data.estimates())) == "95 %"
    early = with_student(data, change=estimate(0.1, 0.1).model_copy(update={"confidence": 0.9}))
    assert plain(confidence_text(early.estimates())) == "90 % to 95 %"
    assert confidence_text([]) == ""


def test_of_several_seeds_all_are_told_of_and_not_the_best(steps: ReportData) -> None:
    assert headline(steps) == (
        "rl gained 17 points (+12 to +23) over SmolLM2-135M-sums on the sealed exam, 3 seeds together."
    )
    arms = (steps.reinforced[0].arms[0].model_copy(update={"num_seeds": 1}), *steps.reinforced[0].arms[1:])
    single = steps.model_copy(update={"reinforced": (steps.reinforced[0].model_copy(update={"arms": arms}),)})
    assert headline(single) == "rl gained 60 points (+54 to +68) on the sealed exam."
    best = best_student(steps, steps.exams[0])
    assert best is not None
    assert best[0] == steps.ladder[2]
    controls = steps.model_copy(update={"ladder": (*steps.ladder[:2], steps.ladder[3])})
    assert best_student(controls, steps.exams[0]) is None  # a control is nobody's product


def test_seeds_of_any_step_are_told_of_together(data: ReportData) -> None:
    (exam,) = data.exams
    name = data.ladder[2].name
    group = SeedsTogether(
        step="student", models=(name, "other"), sealed=estimate(0.5, 0.05), change=estimate(0.4, 0.05), against=BASE
    )
    together = data.model_copy(update={"exams": (exam.model_copy(update={"seeds": (group,)}),)})
    assert headline(together) == "student gained 40 points (+35 to +46) on the sealed exam, 2 seeds together."
    others = group.model_copy(update={"models": ("other", "another")})
    apart = data.model_copy(update={"exams": (exam.model_copy(update={"seeds": (others,)}),)})
    assert headline(apart) == headline(data)


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
