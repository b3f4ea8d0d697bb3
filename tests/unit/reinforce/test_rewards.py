from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from reinforce_parts import verdict

from spiritsafe.core.records import FinishReason, Status
from spiritsafe.reinforce.rewards import RewardConfig, reward_of

VERIFIER = RewardConfig()


def earned(
    config: RewardConfig,
    status: Status,
    *,
    finish: FinishReason = "stop",
    tokens: int = 5,
    score: float | None = None,
    coin: int = 0,
) -> float | None:
    return reward_of(
        config,
        verdict(status, score),
        finish_reason=finish,
        num_tokens=tokens,
        max_tokens=20,
        coin=("coin", coin),
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("verifier", {"correct": 1.0, "wrong": 0.0, "unparsed": 0.0, "unscored": None}),
        ("format", {"correct": 1.0, "wrong": 1.0, "unparsed": 0.0, "unscored": None}),
    ],
)
def test_what_each_verdict_earns(kind: Any, expected: dict[Status, float | None]) -> None:
    assert {status: earned(RewardConfig(kind=kind), status) for status in expected} == expected


def test_part_marks_count_only_when_told() -> None:
    assert earned(VERIFIER, "wrong", score=0.4) == 0.0
    assert earned(RewardConfig(partial=True), "wrong", score=0.4) == 0.4
    assert earned(RewardConfig(partial=True), "correct") == 1.0


def test_a_truncated_answer_earns_nothing_unless_told() -> None:
    assert earned(VERIFIER, "correct", finish="length") == 0.0
    assert earned(RewardConfig(kind="format"), "wrong", finish="length") == 0.0
    assert earned(RewardConfig(grades_truncated=True), "correct", finish="length") == 1.0


@pytest.mark.parametrize("kind", ["verifier", "format", "random"])
@pytest.mark.parametrize(("finish", "tokens"), [("error", 0), ("refused", 4), ("stop", 0)])
def test_what_was_not_drawn_is_left_out_whatever_is_rewarded(kind: Any, finish: FinishReason, tokens: int) -> None:
    assert earned(RewardConfig(kind=kind), "correct", finish=finish, tokens=tokens) is None


def test_long_answers_lose_along_the_ramp() -> None:
    config = RewardConfig(overlong_buffer=8, grades_truncated=True)
    # the limit is 20: nothing up to 12 tokens, an eighth for each token beyond
    expected = {5: 1.0, 12: 1.0, 13: 0.875, 16: 0.5, 20: 0.0}
    assert {tokens: earned(config, "correct", tokens=tokens) for tokens in expected} == expected
    assert earned(RewardConfig(overlong_buffer=8), "correct", tokens=20, finish="length") == -1.0


def test_a_coin_falls_at_its_rate_and_never_looks_at_the_text() -> None:
    for rate in (0.2, 0.5):
        coins = RewardConfig(kind="random", rate=rate)
        thrown = [earned(coins, "correct", coin=number) for number in range(4000)]
        assert set(thrown) == {0.0, 1.0}
        # four standard deviations of a share of 4000
        assert sum(map(float, thrown)) / 4000 == pytest.approx(rate, abs=4 * (rate * (1 - rate) / 4000) ** 0.5)
        others = [
            earned(coins, status, finish=finish, tokens=20, coin=number)
            for number in range(50)
            for status, finish in (("unparsed", "length"), ("unscored", "stop"))
        ]
        assert others == [value for value in thrown[:50] for _ in range(2)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate": 0.3}, "rate has no effect"),
        ({"kind": "random", "overlong_buffer": 5}, "a coin does not look"),
        ({"kind": "random", "grades_truncated": True}, "a coin does not look"),
        ({"kind": "format", "partial": True}, "partial has no effect"),
    ],
)
def test_options_without_effect_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RewardConfig.model_validate(fields)
