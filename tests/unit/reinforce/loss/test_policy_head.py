from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from policy_reference import LOSSES, reference_term, sequence_loss
from tiny_training import OperatorLog
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.reinforce.loss import policy_head as module
from spiritsafe.reinforce.loss.policy_head import PolicyRows, policy_head, token_logprobs
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss

H, V = 11, 53
LENGTHS = (5, 1, 9, 2, 3, 7)
R = sum(LENGTHS)


def problem(dtype: torch.dtype, *, known: bool = True) -> tuple[Tensor, Tensor, PolicyRows]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(R, H, generator=generator, dtype=torch.float64)
    weight = torch.randn(V, H, generator=generator, dtype=torch.float64)
    sequences = torch.cat([torch.full((n,), place) for place, n in enumerate(LENGTHS)])
    targets = torch.randint(V, (R,), generator=generator)
    now = torch.log_softmax(hidden @ weight.T, 1).gather(1, targets[:, None]).squeeze(1)
    rows = PolicyRows(
        targets_R=targets,
        weights_R=torch.linspace(0.5, 2.0, len(LENGTHS)).double()[sequences] / R,
        advantages_R=torch.tensor([1.0, -1.0, -0.3, 0.0, 2.0, -2.0]).double()[sequences],
        drawn_R=now + 0.4 * torch.randn(R, generator=generator, dtype=torch.float64),
        is_known_R=torch.full((R,), known),
        sequences_R=sequences,
        reference_R=now + 0.4 * torch.randn(R, generator=generator, dtype=torch.float64),
    )
    return hidden.to(dtype), weight.to(dtype), rows


def of(config: PolicyLoss, rows: PolicyRows) -> PolicyRows:
    return rows if config.kl_weight else replace(rows, reference_R=None)


def naive(config: PolicyLoss, hidden: Tensor, weight: Tensor, rows: PolicyRows, scale: float) -> tuple[Tensor, ...]:
    """The loss over all logits, its gradients, log-probabilities and entropies."""
    hidden, weight = hidden.double().requires_grad_(), weight.double().requires_grad_()
    log_p = torch.log_softmax(hidden @ weight.T * (scale / config.temperature), 1)
    now = log_p.gather(1, rows.targets_R[:, None]).squeeze(1)
    loss = torch.zeros((), dtype=torch.float64)
    for place in range(len(LENGTHS)):
        own = rows.sequences_R == place
        drawn = torch.where(rows.is_known_R, rows.drawn_R, now.detach())[own]
        costs = sequence_loss(config, now[own], drawn, float(rows.advantages_R[own][0]))
        if rows.reference_R is not None:
            costs = costs + config.kl_weight * reference_term(now[own], rows.reference_R[own])
        loss = loss + (rows.weights_R[own] * costs).sum()
    loss.backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return loss.detach(), hidden.grad, weight.grad, now.detach(), -(log_p.exp() * log_p).sum(1).detach()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.125])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_equal_autograd_in_float64(name: str, scale: float, known: bool) -> None:
    config = LOSSES[name]
    hidden, weight, rows = problem(torch.float64, known=known)
    rows = of(config, rows)
    loss, grad_hidden, grad_weight, now, entropy = naive(config, hidden, weight, rows, scale)
    for most in (R, 8, 4, 1):
        buffer = torch.ones_like(weight)
        result = policy_head(
            hidden, weight, rows, config=config, scale=scale, grad_weight_VH=buffer, logits_bytes=8 * V * most
        )
        torch.testing.assert_close(result.loss, loss, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(result.grad_hidden_RH, grad_hidden, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(buffer, 1.0 + grad_weight, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(result.logprobs_R, now, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(result.entropy_R, entropy, rtol=1e-10, atol=1e-11)


def test_what_is_unknown_of_one_sequence_leaves_the_others_as_they_are() -> None:
    config = LOSSES["gspo wide"]
    hidden, weight, rows = problem(torch.float64)
    rows = replace(of(config, rows), is_known_R=rows.sequences_R != 2)
    loss, grad_hidden, *_ = naive(config, hidden, weight, rows, 1.0)
    result = policy_head(hidden, weight, rows, config=config, grad_weight_VH=None)
    torch.testing.assert_close(result.loss, loss, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(result.grad_hidden_RH, grad_hidden, rtol=1e-9, atol=1e-12)
    assert result.token.ratio_R is not None
    assert result.token.ratio_R[rows.sequences_R == 2].tolist() == [1.0] * LENGTHS[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_lower_precision_stays_near_the_exact_gradient_and_accumulates_in_float32(
    name: str, dtype: torch.dtype
) -> None:
    config = LOSSES[name]
    hidden, weight, rows = problem(dtype)
    if name == "gspo":  # ranges of 3e-4 are within rounding: which sequence is clipped would be chance
        rows = replace(rows, is_known_R=torch.zeros_like(rows.is_known_R))
    rows = of(config, rows)
    _, grad_hidden, grad_weight, now, entropy = naive(config, hidden, weight, rows, 1.0)
    buffer = torch.zeros(V, H)
    result = policy_head(hidden, weight, rows, config=config, grad_weight_VH=buffer)
    bound = 1e-5 if dtype == torch.float32 else 0.03
    assert result.grad_hidden_RH.dtype == dtype
    assert result.logprobs_R.dtype == torch.float32
    assert float((result.grad_hidden_RH.double() - grad_hidden).norm() / grad_hidden.norm()) < bound
    assert float((buffer.double() - grad_weight).norm() / grad_weight.norm()) < bound
    torch.testing.assert_close(result.logprobs_R.double(), now, rtol=bound, atol=bound)
    torch.testing.assert_close(result.entropy_R.double(), entropy, rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_three_products_a_chunk_and_two_with_a_frozen_head(name: str, dtype: torch.dtype) -> None:
    config = LOSSES[name]
    hidden, weight, rows = problem(dtype)
    for buffer, expected in ((torch.zeros(V, H), 3), (None, 2)):
        with OperatorLog() as log:
            policy_head(hidden, weight, of(config, rows), config=config, grad_weight_VH=buffer)
        assert sum(name != "dot" for name in log.products) == expected


def products(config: PolicyLoss, most: int, *, known: bool = True) -> int:
    hidden, weight, rows = problem(torch.float64, known=known)
    with OperatorLog() as log:
        policy_head(
            hidden,
            weight,
            of(config, rows),
            config=config,
            grad_weight_VH=torch.zeros_like(weight),
            logits_bytes=8 * V * most,
        )
    return sum(name != "dot" for name in log.products)


def test_a_fourth_product_only_for_a_sequence_beyond_the_budget() -> None:
    # 5 + 1 | 9 | 2 + 3 | 7 rows in chunks of 9: four chunks that end where sequences end
    assert products(LOSSES["gspo wide"], 9) == 4 * 3
    # chunks of 8: the sequence of 9 rows is read once in two chunks before its two chunks of gradients
    assert products(LOSSES["gspo wide"], 8) == 3 * 3 + 2 * 4
    # by token, or with ratios that are 1 by definition, 27 rows are just as many chunks as they need
    assert products(LOSSES["dapo wide"], 9) == 3 * 3
    assert products(LOSSES["gspo wide"], 9, known=False) == 3 * 3


def test_memory_is_bounded_by_the_budget_whatever_the_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPU_STRIPE_BYTES", 4 * V * 20)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(600, 4, generator=generator), torch.randn(V, 4, generator=generator)
    rows = PolicyRows(
        targets_R=torch.randint(V, (600,), generator=generator),
        weights_R=torch.ones(600),
        advantages_R=torch.ones(600),
        drawn_R=torch.full((600,), -4.0),
        is_known_R=torch.ones(600, dtype=torch.bool),
        sequences_R=torch.arange(600) // 300,
    )
    for name in ("dapo", "gspo"):
        with OperatorLog() as log:
            policy_head(
                hidden, weight, rows, config=LOSSES[name], grad_weight_VH=torch.zeros(V, 4), logits_bytes=4 * V * 60
            )
        assert log.largest_bytes == 4 * V * 60
        assert log.largest_bytes < 4 * V * 600


def test_log_probabilities_take_one_product() -> None:
    hidden, weight, rows = problem(torch.float64)
    expected = torch.log_softmax(hidden @ weight.T * 0.5, 1).gather(1, rows.targets_R[:, None]).squeeze(1)
    for most in (R, 4):
        with OperatorLog() as log:
            found = token_logprobs(hidden, weight, rows.targets_R, scale=0.5, logits_bytes=8 * V * most)
        assert len(log.products) == -(-R // most)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_rows_that_do_not_fit_are_refused() -> None:
    hidden, weight, rows = problem(torch.float64)
    with pytest.raises(CompatibilityError, match="fit neither"):
        policy_head(hidden[:-1], weight, rows, config=LOSSES["grpo"], grad_weight_VH=None)
    with pytest.raises(CompatibilityError, match="vocabulary"):
        token_logprobs(hidden, weight[:40], rows.targets_R, scale=1.0)
