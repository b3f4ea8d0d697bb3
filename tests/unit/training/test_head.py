from __future__ import annotations

import math

import pytest
import torch
from tiny_training import OperatorLog
from torch import Tensor
from torch.nn import functional

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.training.head import cross_entropy_head

R, H, V = 37, 11, 53


def problem(dtype: torch.dtype, *, spread: float = 1.0, rows: int = R) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, H, generator=generator, dtype=torch.float64)
    weight = torch.randn(V, H, generator=generator, dtype=torch.float64) * spread
    targets = torch.randint(V, (rows,), generator=generator)
    weights = torch.rand(rows, generator=generator, dtype=torch.float64)
    return hidden.to(dtype), weight.to(dtype), targets, weights


def reference(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    hidden, weight = hidden.double().requires_grad_(), weight.double().requires_grad_()
    logits = hidden @ weight.T * scale
    loss = (functional.cross_entropy(logits, targets, reduction="none") * weights).sum()
    loss.backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return loss.detach(), hidden.grad, weight.grad


@pytest.mark.parametrize("scale", [1.0, 0.125])
@pytest.mark.parametrize("logits_bytes", [None, 1, 8 * V * 5])
def test_loss_and_gradients_equal_autograd_in_float64(scale: float, logits_bytes: int | None) -> None:
    hidden, weight, targets, weights = problem(torch.float64)
    buffer = torch.ones_like(weight)
    result = cross_entropy_head(
        hidden, weight, targets, weights, scale=scale, grad_weight_VH=buffer, logits_bytes=logits_bytes
    )
    loss, grad_hidden, grad_weight = reference(hidden, weight, targets, weights, scale)
    torch.testing.assert_close(result.loss, loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.grad_hidden_RH, grad_hidden, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(buffer, 1.0 + grad_weight, rtol=1e-10, atol=1e-12)


def test_metrics_are_unweighted_sums() -> None:
    hidden, weight, targets, weights = problem(torch.float32)
    result = cross_entropy_head(hidden, weight, targets, weights, grad_weight_VH=None, logits_bytes=4 * V * 7)
    logits = hidden @ weight.T
    assert float(result.cross_entropy) == pytest.approx(
        float(functional.cross_entropy(logits, targets, reduction="sum"))
    )
    assert int(result.num_right) == int((logits.argmax(1) == targets).sum())


def test_tokens_of_tiny_probability_have_finite_exact_loss() -> None:
    hidden, weight, targets, weights = problem(torch.float32, spread=200.0)
    result = cross_entropy_head(hidden, weight, targets, weights, grad_weight_VH=None)
    loss, _, _ = reference(hidden, weight, targets, weights, 1.0)
    assert float(loss) > 200.0 * R / 4  # most targets have probability below the smallest float32
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-5)


def test_bfloat16_stays_near_the_exact_gradient_and_accumulates_in_float32() -> None:
    hidden, weight, targets, weights = problem(torch.bfloat16)
    buffer = torch.zeros(V, H)
    result = cross_entropy_head(hidden, weight, targets, weights, grad_weight_VH=buffer, logits_bytes=6 * V * 9)
    loss, grad_hidden, grad_weight = reference(hidden, weight, targets, weights, 1.0)
    assert result.grad_hidden_RH.dtype == torch.bfloat16
    assert float(result.loss) == pytest.approx(float(loss), rel=5e-3)
    assert float((result.grad_hidden_RH.double() - grad_hidden).norm() / grad_hidden.norm()) < 0.02
    assert float((buffer.double() - grad_weight).norm() / grad_weight.norm()) < 0.02


def test_three_products_a_chunk_and_two_when_the_head_is_frozen() -> None:
    hidden, weight, targets, weights = problem(torch.float32)
    for buffer, expected in ((torch.zeros(V, H), 3), (None, 2)):
        with OperatorLog() as log:
            cross_entropy_head(hidden, weight, targets, weights, grad_weight_VH=buffer)
        assert len([name for name in log.products if name != "dot"]) == expected


def test_memory_does_not_grow_with_rows() -> None:
    largest = []
    for rows in (40, 400):
        hidden, weight, targets, weights = problem(torch.float32, rows=rows)
        with OperatorLog() as log:
            cross_entropy_head(
                hidden, weight, targets, weights, grad_weight_VH=torch.zeros(V, H), logits_bytes=4 * V * 20
            )
        largest.append(log.largest_bytes)
    assert max(largest) <= max(4 * V * 20, 400 * H * 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [("width", "fit neither"), ("rows", "fit neither"), ("target", "vocabulary of 53"), ("negative", "vocabulary")],
)
def test_shapes_that_do_not_fit_are_refused(change: str, words: str) -> None:
    hidden, weight, targets, weights = problem(torch.float32)
    if change == "width":
        weight = weight[:, :-1]
    elif change == "rows":
        targets = targets[:-1]
    else:
        targets = targets.clone()
        targets[0] = V if change == "target" else -100
    with pytest.raises(CompatibilityError, match=words):
        cross_entropy_head(hidden, weight, targets, weights, grad_weight_VH=None)


def test_no_rows_are_refused_in_words() -> None:
    hidden, weight, targets, weights = problem(torch.float32)
    with pytest.raises(CompatibilityError, match="no rows"):
        cross_entropy_head(hidden[:0], weight, targets[:0], weights[:0], grad_weight_VH=None)


def test_zero_weight_rows_teach_nothing() -> None:
    hidden, weight, targets, weights = problem(torch.float64)
    weights[3:] = 0.0
    result = cross_entropy_head(hidden, weight, targets, weights, grad_weight_VH=None)
    assert torch.count_nonzero(result.grad_hidden_RH[3:]) == 0
    assert math.isfinite(float(result.loss))
