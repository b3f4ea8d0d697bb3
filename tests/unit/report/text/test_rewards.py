from __future__ import annotations

import pytest
from report_parts import estimate

from spiritsafe.report import PassPoint, Reinforced, ReportData
from spiritsafe.report.text.rewards import findings, versus_sentence, warnings_of

EXAMS = ["exam"]


def plain(sentences: list[str]) -> str:
    return " ".join(sentences).replace("\u00a0", " ")


@pytest.fixture
def step(steps: ReportData) -> Reinforced:
    return steps.reinforced[0]


def with_gain(step: Reinforced, low: float, high: float) -> Reinforced:
    middle, spread = (low + high) / 2, (high - low) / 2.1
    arms = (step.arms[0].model_copy(update={"gain": estimate(middle, spread)}), *step.arms[1:])
    return step.model_copy(update={"arms": arms})


def with_passes(step: Reinforced, first: float, last: float) -> Reinforced:
    def point(k: int, gain: float) -> PassPoint:
        return PassPoint(k=k, before=estimate(0.4, 0.1), after=estimate(0.4 + gain, 0.1), gain=estimate(gain, 0.05))

    return step.model_copy(update={"passes": (point(1, first), point(8, last))})


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.2, "It gained +15"),
        (-0.2, -0.1, "It lost against SmolLM2-135M-sums on the sealed exam"),
        (-0.1, 0.2, "No gain over SmolLM2-135M-sums is shown"),
    ],
)
def test_a_gain_is_claimed_only_outside_its_interval(step: Reinforced, low: float, high: float, words: str) -> None:
    assert words in plain(findings(with_gain(step, low, high), EXAMS))


def test_each_control_is_held_against_it(step: Reinforced) -> None:
    said = plain(findings(step, EXAMS))
    assert "Against a random reward it is ahead by +16.5 points" in said
    assert "That it beats fine-tuning on right answers alone is not shown: +2.0 points" in said
    assert "over 3 seeds" in said
    worse = step.arms[1].model_copy(update={"behind": estimate(-0.2, 0.05)})
    assert "It is behind a random reward" in plain(
        findings(step.model_copy(update={"arms": (step.arms[0], worse)}), EXAMS)
    )


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (0.3, 0.2, "something was taught"),
        (0.3, 0.0, "elicited rather than taught"),
        (0.3, -0.2, "fewer problems in 8 tries"),
        (0.0, 0.0, "no change is shown"),
    ],
)
def test_taught_or_elicited(step: Reinforced, first: float, last: float, words: str) -> None:
    assert words in plain(findings(with_passes(step, first, last), EXAMS))


def test_warnings_and_alarms_are_told(step: Reinforced) -> None:
    said = plain(warnings_of(step))
    assert "rl, before it began: pass@8 is 24%" in said
    assert "rl, alarm: round 118: Entropy fell" in said
    assert "rl-rft ended before its last round: 5 rounds" in said


@pytest.mark.parametrize(
    ("value", "words"), [(0.2, "is ahead of"), (-0.2, "is behind"), (0.01, "differ over 3 seeds is not shown")]
)
def test_one_against_another(steps: ReportData, value: float, words: str) -> None:
    pair = steps.exams[0].versus[0].model_copy(update={"difference": estimate(value, 0.05)})
    said = plain([versus_sentence(pair)])
    assert words in said
    assert said.endswith("at 1.28 PFLOP against 980 TFLOP.")
