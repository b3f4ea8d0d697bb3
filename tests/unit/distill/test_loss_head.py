from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distill.loss_head import TeacherRows, forward_kl_head
from tiny_training import OperatorLog

R, H, G, V = 37, 11, 7, 53


def problem(
    dtype: torch.dtype, *, vocab: int = V, teacher_vocab: int = V, rows: int = R
) -> tuple[Tensor, Tensor, TeacherRows, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    teacher = TeacherRows(hidden_RG=draw(rows, G), weight_UG=draw(teacher_vocab, G), scale=1.25)
    targets = torch.randint(min(vocab, teacher_vocab), (rows,), generator=generator)
    return draw(rows, H), draw(vocab, H), teacher, targets, torch.rand(rows, generator=generator, dtype=torch.float64)


def reference(
    hidden: Tensor,
    weight: Tensor,
    teacher: TeacherRows,
    targets: Tensor,
    weights: Tensor,
    t: float,
    ce: float,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The module's formula, written with autograd; returns loss, both gradients and KL of each row."""
    hidden, weight = hidden.double().requires_grad_(), weight.double().requires_grad_()
    logits = hidden @ weight.T * scale
    common = min(weight.shape[0], teacher.weight_UG.shape[0])
    teacher_logits = teacher.hidden_RG.double() @ teacher.weight_UG.double().T * teacher.scale
    log_p = torch.log_softmax(teacher_logits[:, :common] / t, 1)
    log_q = torch.log_softmax(logits / t, 1)[:, :common]
    kl = (log_p.exp() * (log_p - log_q)).sum(1)
    nll = -torch.log_softmax(logits, 1).gather(1, targets[:, None]).squeeze(1)
    loss = (weights * ((1 - ce) * t**2 * kl + ce * nll)).sum()
    loss.backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return loss.detach(), hidden.grad, weight.grad, kl.detach()


CASES = list(itertools.product([1.0, 2.0], [0.0, 0.3], [(V, V), (V, V + 9), (V + 9, V)], [1.0, 0.125]))


@pytest.mark.parametrize(("temperature", "ce_share", "vocabs", "scale"), CASES)
def test_loss_and_gradients_equal_autograd_in_float64(
    temperature: float, ce_share: float, vocabs: tuple[int, int], scale: float
) -> None:
    hidden, weight, teacher, targets, weights = problem(torch.float64, vocab=vocabs[0], teacher_vocab=vocabs[1])
    loss, grad_hidden, grad_weight, kl = reference(
        hidden, weight, teacher, targets, weights, temperature, ce_share, scale
    )
    for logits_bytes in (None, 3 * 8 * V * 5):
        buffer = torch.ones_like(weight)
        result = forward_kl_head(
            hidden,
            weight,
            teacher,
            targets,
            weights,
            temperature=temperature,
            ce_share=ce_share,
            scale=scale,
            grad_weight_VH=buffer,
            logits_bytes=logits_bytes,
        )
        torch.testing.assert_close(result.loss, loss, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(result.kl, kl.sum(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(result.grad_hidden_RH, grad_hidden, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(buffer, 1.0 + grad_weight, rtol=1e-10, atol=1e-12)


def test_what_is_said_of_both_models() -> None:
    hidden, weight, teacher, targets, weights = problem(torch.float64, rows=20)
    result = forward_kl_head(hidden, weight, teacher, targets, weights, grad_weight_VH=None)
    teacher_logits = teacher.hidden_RG @ teacher.weight_UG.T * teacher.scale
    entropy = torch.distributions.Categorical(logits=teacher_logits).entropy()
    logits = hidden @ weight.T
    assert result.num_watched == 20
    assert float(result.teacher_entropy) == pytest.approx(float(entropy.sum()))
    assert int(result.num_agreeing) == int((logits.argmax(1) == teacher_logits.argmax(1)).sum())
    assert result.cross_entropy is not None
    assert float(result.cross_entropy) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
    )
    warm = forward_kl_head(hidden, weight, teacher, targets, weights, temperature=2.0, grad_weight_VH=None)
    assert warm.cross_entropy is None
    entropy = torch.distributions.Categorical(logits=teacher_logits / 2).entropy()
    assert float(warm.teacher_entropy) == pytest.approx(float(entropy.sum()))


def test_only_some_rows_of_a_large_chunk_are_watched() -> None:
    hidden, weight, teacher, targets, weights = problem(torch.float32, rows=400)
    result = forward_kl_head(hidden, weight, teacher, targets, weights, grad_weight_VH=None)
    assert 32 <= result.num_watched < 64


def test_bfloat16_stays_near_the_exact_gradient_and_accumulates_in_float32() -> None:
    hidden, weight, teacher, targets, weights = problem(torch.bfloat16)
    loss, grad_hidden, grad_weight, _ = reference(hidden, weight, teacher, targets, weights, 1.0, 0.2, 1.0)
    buffer = torch.zeros(V, H)
    result = forward_kl_head(
        hidden, weight, teacher, targets, weights, ce_share=0.2, grad_weight_VH=buffer, logits_bytes=18 * V * 9
    )
    assert result.grad_hidden_RH.dtype == torch.bfloat16
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-2)
    assert float((result.grad_hidden_RH.double() - grad_hidden).norm() / grad_hidden.norm()) < 0.03
    assert float((buffer.double() - grad_weight).norm() / grad_weight.norm()) < 0.03


@pytest.mark.parametrize(("temperature", "ce_share"), [(1.0, 0.0), (2.0, 0.5)])
def test_four_products_a_chunk_whatever_the_mixture(temperature: float, ce_share: float) -> None:
    hidden, weight, teacher, targets, weights = problem(torch.float32)
    with OperatorLog() as log:
        forward_kl_head(
            hidden,
            weight,
            teacher,
            targets,
            weights,
            temperature=temperature,
            ce_share=ce_share,
            grad_weight_VH=torch.zeros(V, H),
        )
    assert len([name for name in log.products if name != "dot"]) == 4


def test_memory_does_not_grow_with_rows() -> None:
    largest = []
    for rows in (40, 400):
        hidden, weight, teacher, targets, weights = problem(torch.float32, rows=rows)
        buffer = torch.zeros(V, H)
        with OperatorLog() as log:
            forward_kl_head(
                hidden, weight, teacher, targets, weights, grad_weight_VH=buffer, logits_bytes=3 * 4 * V * 20
            )
        largest.append(log.largest_bytes)
    assert max(largest) <= max(4 * V * 20, 400 * H * 4)


def test_an_equal_teacher_gives_exactly_nothing() -> None:
    hidden, weight, _, targets, weights = problem(torch.float32)
    teacher = TeacherRows(hidden_RG=hidden, weight_UG=weight)
    buffer = torch.zeros(V, H)
    result = forward_kl_head(hidden, weight, teacher, targets, weights, grad_weight_VH=buffer)
    assert float(result.loss) == 0.0
    assert torch.count_nonzero(result.grad_hidden_RH) == 0
    assert torch.count_nonzero(buffer) == 0
    assert int(result.num_agreeing) == result.num_watched


@pytest.mark.parametrize("change", ["rows", "width"])
def test_a_teacher_that_does_not_fit_is_refused(change: str) -> None:
    hidden, weight, teacher, targets, weights = problem(torch.float32)
    broken = TeacherRows(
        hidden_RG=teacher.hidden_RG[1:] if change == "rows" else teacher.hidden_RG[:, 1:], weight_UG=teacher.weight_UG
    )
    with pytest.raises(CompatibilityError, match="Teacher hidden states"):
        forward_kl_head(hidden, weight, broken, targets, weights, grad_weight_VH=None)
