from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from policy_reference import LOSSES, reference_term, sequence_loss
from pydantic import ValidationError
from torch import Tensor

from spiritsafe.core.errors import IntegrityError
from spiritsafe.reinforce.loss.policy_loss import (
    PolicyLoss,
    TokenLoss,
    clipped_loss,
    likelihood_loss,
    policy_loss,
    reference_penalty,
    sequence_log_ratios,
    truncated_loss,
)


def logs(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def near(found: Tensor | None, expected: list[float]) -> None:
    assert found is not None
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_clipping_by_hand() -> None:
    # ratios 1, 1.5, 1.5, 0.5, 0.5, 1.1 with clips 0.2 and 0.28
    found = clipped_loss(
        logs(1.0, 1.5, 1.5, 0.5, 0.5, 1.1), numbers(2.0, 2.0, -2.0, 2.0, -2.0, -1.0), clip_low=0.2, clip_high=0.28
    )
    # min(r A, clip(r) A): 2; min(3, 2.56); min(-3, -2.56); min(1, 1.6); min(-1, -1.6); -1.1
    near(found.loss_R, [-2.0, -2.56, 3.0, -1.0, 1.6, 1.1])
    # no gradient where the bound is the smaller: too likely a good token, too unlikely a bad one
    near(found.slope_R, [-2.0, 0.0, 3.0, -1.0, 0.0, 1.1])
    assert found.is_clipped_R is not None
    assert found.is_clipped_R.tolist() == [False, True, False, False, True, False]
    near(found.ratio_R, [1.0, 1.5, 1.5, 0.5, 0.5, 1.1])


def test_truncated_weights_by_hand() -> None:
    # probability now 0.2, 0.6, 0.3; ratios 0.5, 3, 3 with cap 2
    found = truncated_loss(logs(0.2, 0.6, 0.3), logs(0.5, 3.0, 3.0), numbers(1.0, 1.0, -1.0), cap=2.0)
    near(found.slope_R, [-0.5, -2.0, 2.0])
    near(found.loss_R, [-0.5 * math.log(0.2), -2.0 * math.log(0.6), 2.0 * math.log(0.3)])
    assert found.is_clipped_R is not None
    assert found.is_clipped_R.tolist() == [False, True, True]


def test_likelihood_by_hand() -> None:
    found = likelihood_loss(logs(0.25, 0.5), numbers(1.0, -3.0))
    near(found.loss_R, [math.log(4.0), 3.0 * math.log(0.5)])
    near(found.slope_R, [-1.0, 3.0])
    assert found.ratio_R is None


def test_the_penalty_by_hand() -> None:
    # q/p = 1, 2, 0.5
    found = reference_penalty(logs(0.5, 0.25, 0.5), logs(0.5, 0.5, 0.25))
    near(found.loss_R, [0.0, 2.0 - math.log(2.0) - 1.0, 0.5 + math.log(2.0) - 1.0])
    near(found.slope_R, [0.0, -1.0, 0.5])


def test_a_sequences_ratio_is_the_geometric_mean() -> None:
    # of 2 and 8 it is 4; of 0.5 alone 0.5
    ratios = sequence_log_ratios(logs(2.0, 8.0, 0.5), torch.tensor([0, 0, 1])).exp()
    near(ratios, [4.0, 4.0, 0.5])


def test_the_penalty_estimates_the_divergence_it_is_named_after() -> None:
    p, q = numbers(0.5, 0.3, 0.2), numbers(0.2, 0.2, 0.6)
    expected = (p * reference_penalty(p.log(), q.log()).loss_R).sum()
    assert float(expected) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-12)


def case(seed: int = 0) -> tuple[list[Tensor], list[Tensor], list[float], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def draw(length: int) -> Tensor:
        return -4.0 + torch.randn(length, generator=generator, dtype=torch.float64)

    lengths = [5, 1, 9, 2, 3]
    now = [draw(n) for n in lengths]
    drawn = [own + 0.4 * torch.randn(own.shape, generator=generator, dtype=torch.float64) for own in now]
    return now, drawn, [1.0, -1.0, -0.3, 0.0, 2.0], [draw(n) for n in lengths]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_slopes_equal_autograd_in_float64(name: str) -> None:
    config = LOSSES[name]
    now, drawn, advantages, _ = case()
    leaves = [own.clone().requires_grad_() for own in now]
    expected = [sequence_loss(config, *parts) for parts in zip(leaves, drawn, advantages, strict=True)]
    torch.cat(expected).sum().backward()
    found = policy_loss(
        config,
        torch.cat(now),
        torch.cat(drawn),
        torch.cat([torch.full_like(own, a) for own, a in zip(now, advantages, strict=True)]),
        torch.cat([torch.full((own.numel(),), place) for place, own in enumerate(now)]),
    )
    torch.testing.assert_close(found.loss_R, torch.cat(expected).detach(), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(found.slope_R, torch.cat([leaf.grad for leaf in leaves]), rtol=1e-12, atol=1e-14)


def test_the_penaltys_slope_equals_autograd() -> None:
    now, _, _, reference = case()
    leaf = torch.cat(now).requires_grad_()
    reference_term(leaf, torch.cat(reference)).sum().backward()
    found = reference_penalty(leaf.detach(), torch.cat(reference))
    torch.testing.assert_close(found.slope_R, leaf.grad, rtol=1e-12, atol=1e-14)


def test_on_policy_all_methods_with_a_ratio_have_the_same_gradient() -> None:
    now = torch.cat(case()[0])
    advantages, sequences = torch.linspace(-1, 1, now.numel()).double(), torch.arange(now.numel())

    def slope(name: str) -> TokenLoss:
        return policy_loss(LOSSES[name], now, now, advantages, sequences)

    for name in LOSSES:
        torch.testing.assert_close(slope(name).slope_R, -advantages, rtol=0.0, atol=0.0)


def test_presets_are_the_papers_and_can_be_changed() -> None:
    assert PolicyLoss(method="dapo").to_json() == {
        "method": "dapo",
        "clip_low": 0.2,
        "clip_high": 0.28,
        "truncation": None,
        "kl_weight": 0.0,
        "temperature": 1.0,
        "aggregation": "token",
        "baseline": "mean",
        "scale": "group",
    }
    assert (PolicyLoss(method="gspo").clip_low, PolicyLoss(method="gspo").aggregation) == (3e-4, "sequence")
    assert (PolicyLoss(method="dr_grpo").scale, PolicyLoss(method="dr_grpo").aggregation) == ("none", "constant")
    assert PolicyLoss(method="rloo").baseline == "leave_one_out"
    assert PolicyLoss(method="dapo", scale="none", clip_high=0.5).clip_high == 0.5
    assert PolicyLoss(method="grpo", truncation=2.0).clip_low is None


@pytest.mark.parametrize("name", LOSSES)
def test_a_resolved_record_reads_back_as_itself(name: str) -> None:
    assert PolicyLoss.from_json(LOSSES[name].to_json()) == LOSSES[name]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "ppo"}, "method"),
        ({}, "method"),
        ({"method": "grpo", "clip": 0.2}, "clip"),
        ({"method": "rloo", "clip_low": 0.2}, "no effect with rloo"),
        ({"method": "rft", "clip_high": 0.2}, "no effect with rft"),
        ({"method": "cispo", "clip_low": 0.2}, "clip_low has no effect"),
        ({"method": "cispo", "clip_high": None}, "needs clip_high"),
        ({"method": "cispo", "truncation": 2.0}, "no effect with cispo"),
        ({"method": "rft", "truncation": 2.0}, "no effect with rft"),
        ({"method": "grpo", "truncation": 2.0, "clip_low": 0.2}, "beside truncation"),
        ({"method": "dapo", "clip_low": None}, "needs clip_low and clip_high"),
        ({"method": "rft", "baseline": "mean"}, "must be none"),
        ({"method": "grpo", "truncation": 0.5}, "truncation"),
        ({"method": "grpo", "temperature": 0.0}, "temperature"),
        ({"method": "grpo", "clip_low": 1.0}, "clip_low"),
    ],
)
def test_what_cannot_take_effect_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PolicyLoss.model_validate(given)
    with pytest.raises(IntegrityError):
        PolicyLoss.from_json(given)


def test_something_else_than_a_mapping_is_refused() -> None:
    with pytest.raises(IntegrityError):
        PolicyLoss.from_json(["grpo"])
