from __future__ import annotations

from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.core.records import FinishReason, Sampling, Status, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.distil.on_policy import config as onpolicy_config
from spiritsafe.distil.on_policy.config import (
    Cursor,
    OnPolicyConfig,
    StepMix,
    VerdictWeights,
    endless_shuffle,
    mix_of_round,
)


def config(**changes: Any) -> OnPolicyConfig:
    given = {"prompts_per_round": 6, "samples_per_prompt": 2, "steps_per_round": 3, "num_rounds": 5} | changes
    return OnPolicyConfig.model_validate(given)


def verdict(status: Status) -> Verdict:
    return Verdict(status=status, score=float(status == "correct"), verifier="test", version="1")


def test_the_cap_grows_linearly_to_the_full_length() -> None:
    growing = config(sampling=Sampling(max_tokens=100), cap_start=20)
    assert [growing.cap_of(r) for r in range(5)] == [20, 40, 60, 80, 100]
    assert growing.sampling_of(1) == Sampling(max_tokens=40)
    early = config(sampling=Sampling(max_tokens=100), cap_start=20, cap_share=0.5)
    assert [early.cap_of(r) for r in range(5)] == [20, 60, 100, 100, 100]
    uncapped = config(sampling=Sampling(max_tokens=100))
    assert [uncapped.cap_of(r) for r in range(5)] == [100] * 5


@pytest.mark.parametrize(
    ("status", "finish", "weight"),
    [
        ("correct", "stop", 0.0),
        ("wrong", "stop", 2.0),
        ("unparsed", "stop", 0.5),
        ("unscored", "error", 0.25),
        ("correct", "length", 0.75),
        ("unparsed", "length", 0.75),
    ],
)
def test_the_verdict_decides_the_weight_of_whole_answers(status: Status, finish: FinishReason, weight: float) -> None:
    weights = VerdictWeights(correct=0.0, wrong=2.0, unparsed=0.5, unscored=0.25, truncated=0.75)
    assert weights.of(verdict(status), finish) == weight
    assert weights.of(None, finish) == 1.0
    assert VerdictWeights().of(verdict(status), finish) == 1.0
    assert weights.drops_some
    assert not VerdictWeights().drops_some


def test_a_step_holds_its_share_of_the_students_documents() -> None:
    steps, after = mix_of_round(config(share=0.75), 12, Cursor())
    assert [(s.first_own, s.num_own, s.first_off, s.num_off) for s in steps] == [
        (0, 4, 0, 1),
        (4, 4, 1, 2),
        (8, 4, 3, 1),
    ]
    assert after == Cursor(num_own=12, num_off=4)
    alone, after = mix_of_round(config(share=1.0), 7, after)
    assert [(s.num_own, s.num_off) for s in alone] == [(2, 0), (2, 0), (3, 0)]
    assert after == Cursor(num_own=19, num_off=4)


def test_a_step_without_answers_falls_back_and_the_share_recovers() -> None:
    steps, after = mix_of_round(config(share=0.5), 0, Cursor())
    assert steps[0] == StepMix(first_own=0, num_own=0, first_off=0, num_off=4, num_fallback=4)
    assert after == Cursor(num_own=0, num_off=12)
    steps, after = mix_of_round(config(share=0.5), 12, after)
    assert [(s.num_own, s.num_off) for s in steps] == [(4, 0)] * 3
    assert after == Cursor(num_own=12, num_off=12)


def test_each_shuffle_is_made_once_and_is_the_one_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counted(Random):
        def shuffle(self, x: Any) -> None:
            made.append(len(x))
            super().shuffle(x)

    monkeypatch.setattr(onpolicy_config, "Random", Counted)
    onpolicy_config._shuffle.cache_clear()
    drawn = [place for step in range(20) for place in endless_shuffle(33, first=3 * step, count=3, seed=(5, "off"))]
    assert made == [33, 33]
    wanted: list[int] = []
    for epoch in (0, 1):
        order = list(range(33))
        Random(derive_seed(5, "off", epoch)).shuffle(order)
        wanted += order
    assert drawn == wanted[:60]


def test_shuffles_follow_each_other_without_loss() -> None:
    first = endless_shuffle(7, first=0, count=21, seed=(3, "x"))
    assert [sorted(first[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert first[:7] != first[7:14]
    assert endless_shuffle(7, first=5, count=11, seed=(3, "x")) == first[5:16]
    assert endless_shuffle(7, first=0, count=21, seed=(4, "x")) != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps_per_round": 13}, "cannot feed"),
        ({"sampling": {"temperature": 0.0}}, "all samples of a prompt are equal"),
        ({"cap_share": 0.5}, "without cap_start"),
        ({"cap_start": 256}, "below sampling.max_tokens"),
        ({"cap_start": 8, "num_rounds": 1}, "at least 2"),
        ({"share": 0.0}, "greater than 0"),
        ({"weights": dict.fromkeys(("correct", "wrong", "unparsed", "unscored", "truncated"), 0.0)}, "all weights"),
    ],
)
def test_options_that_cannot_take_effect_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)
