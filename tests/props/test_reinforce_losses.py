"""What must hold for rewards and losses of all shapes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_reference import LOSSES

from spiritsafe.reinforce.loss.advantages import aggregation_weights, group_advantages, overlong_penalty
from spiritsafe.reinforce.loss.policy_loss import policy_loss, reference_penalty

REWARDS = st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=8), min_size=1, max_size=5)
ROWS = st.lists(
    st.tuples(st.floats(-8.0, -0.01), st.floats(-8.0, -0.01), st.floats(-2.0, 2.0)), min_size=1, max_size=12
)


@given(REWARDS, st.sampled_from(["mean", "leave_one_out"]), st.sampled_from(["none", "group", "batch"]))
@settings(max_examples=100, deadline=None)
def test_advantages_sum_to_zero_and_keep_the_order_of_rewards(
    rewards: list[list[float]], baseline: str, scale: str
) -> None:
    found = group_advantages(rewards, baseline=baseline, scale=scale)  # type: ignore[arg-type]
    for group, advantages in zip(rewards, found, strict=True):
        assert sum(advantages) == pytest.approx(0.0, abs=1e-6 * max(1.0, *map(abs, advantages)))
        for reward, advantage in zip(group, advantages, strict=True):
            for other, another in zip(group, advantages, strict=True):
                assert reward <= other or advantage >= another


@given(REWARDS, st.floats(-5, 5))
@settings(max_examples=60, deadline=None)
def test_adding_a_constant_to_all_rewards_changes_no_advantage(rewards: list[list[float]], shift: float) -> None:
    shifted = group_advantages([[reward + shift for reward in group] for group in rewards])
    for group, other in zip(group_advantages(rewards), shifted, strict=True):
        assert group == pytest.approx(other, abs=1e-12)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10), st.sampled_from(["token", "sequence", "constant"]))
@settings(max_examples=100, deadline=None)
def test_weights_are_positive_and_average_a_constant_loss(lengths: list[int], kind: str) -> None:
    weights = aggregation_weights(lengths, kind, max_tokens=50)  # type: ignore[arg-type]
    assert min(weights) > 0
    mean = sum(w * n for w, n in zip(weights, lengths, strict=True)) / sum(lengths)
    # a loss of 1 for each token is 1 on average; with the constant divisor it is the mean length over the longest
    assert mean == pytest.approx(sum(lengths) / (50 * len(lengths)) if kind == "constant" else 1.0)


@given(st.integers(0, 200), st.integers(1, 150), st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_a_longer_completion_never_loses_less(num_tokens: int, limit: int, buffer: int) -> None:
    if buffer > limit:
        return
    here, there = (overlong_penalty(n, limit=limit, buffer=buffer) for n in (num_tokens, num_tokens + 1))
    assert -1.0 <= there <= here <= 0.0


@given(ROWS, st.sampled_from(sorted(LOSSES)))
@settings(max_examples=150, deadline=None)
def test_no_loss_pushes_a_token_the_wrong_way_or_beyond_its_bound(
    rows: list[tuple[float, float, float]], name: str
) -> None:
    config = LOSSES[name]
    now, drawn, advantages = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    found = policy_loss(config, now, drawn, advantages, torch.arange(len(rows)) // 3)
    assert bool((found.slope_R * advantages <= 0).all())
    if found.ratio_R is None:
        assert torch.equal(found.slope_R, -advantages)
        return
    pushed = found.slope_R.abs() / advantages.abs().clamp(min=1e-300)
    if config.truncation is not None or config.method == "cispo":
        cap = config.truncation or 1.0 + float(config.clip_high or 0.0)
        assert bool((pushed <= cap * (1 + 1e-12)).all())
    else:
        free = (advantages != 0) & (found.slope_R != 0)
        beyond = free & (advantages > 0) & (found.ratio_R > 1.0 + float(config.clip_high or 0.0))
        assert not bool(beyond.any())


@given(st.floats(-20, -1e-6), st.floats(-20, -1e-6))
@settings(max_examples=100, deadline=None)
def test_the_penalty_is_never_negative_and_pulls_towards_the_reference(now: float, reference: float) -> None:
    found = reference_penalty(torch.tensor([now], dtype=torch.float64), torch.tensor([reference], dtype=torch.float64))
    assert float(found.loss_R) >= 0.0
    assert math.copysign(1.0, float(found.slope_R)) == math.copysign(1.0, now - reference) or now == reference
