"""Identities of the forward-KL head that hold for all inputs."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiritsafe.distill.loss_head import ForwardKLResult, TeacherRows, forward_kl_head

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(2, 30))
SPREADS = st.floats(0.01, 20.0)
TEMPERATURES = st.floats(0.25, 5.0)
SHARES = st.sampled_from([0.0, 0.2, 0.9])
EXAMPLES = settings(max_examples=40, deadline=None)


class Case:
    def __init__(self, seed: int, sizes: tuple[int, int, int], spread: float, dtype: torch.dtype) -> None:
        rows, width, vocab = sizes
        generator = torch.Generator().manual_seed(seed)
        self.hidden = torch.randn(rows, width, generator=generator, dtype=dtype) * spread
        self.weight = torch.randn(vocab, width, generator=generator, dtype=dtype)
        self.teacher_hidden = torch.randn(rows, width, generator=generator, dtype=dtype) * spread
        self.teacher_weight = torch.randn(vocab, width, generator=generator, dtype=dtype)
        self.targets = torch.randint(vocab, (rows,), generator=generator)
        self.weights = torch.rand(rows, generator=generator, dtype=dtype)
        self.order = torch.randperm(vocab, generator=generator)
        self.buffer = torch.zeros_like(self.weight)

    def run(self, temperature: float, ce_share: float) -> ForwardKLResult:
        self.buffer.zero_()
        return forward_kl_head(
            self.hidden,
            self.weight,
            TeacherRows(hidden_RG=self.teacher_hidden, weight_UG=self.teacher_weight),
            self.targets,
            self.weights,
            temperature=temperature,
            ce_share=ce_share,
            grad_weight_VH=self.buffer,
        )


@given(SEEDS, SIZES, SPREADS, TEMPERATURES)
@EXAMPLES
def test_kl_is_never_negative(seed: int, sizes: tuple[int, int, int], spread: float, temperature: float) -> None:
    case = Case(seed, sizes, spread, torch.float32)
    largest = max(
        float((h @ w.T).abs().max())
        for h, w in ((case.hidden, case.weight), (case.teacher_hidden, case.teacher_weight))
    )
    assert float(case.run(temperature, 0.0).kl) >= -1e-6 * sizes[0] * (1.0 + largest / temperature)


@given(SEEDS, SIZES, SPREADS, TEMPERATURES)
@EXAMPLES
def test_kl_and_its_gradient_vanish_at_equality(
    seed: int, sizes: tuple[int, int, int], spread: float, temperature: float
) -> None:
    case = Case(seed, sizes, spread, torch.float32)
    case.teacher_hidden, case.teacher_weight = case.hidden.clone(), case.weight.clone()
    result = case.run(temperature, 0.0)
    assert float(result.kl) == 0.0
    assert torch.count_nonzero(result.grad_hidden_RH) == 0
    assert torch.count_nonzero(case.buffer) == 0


@given(SEEDS, SIZES, SPREADS, TEMPERATURES, SHARES)
@EXAMPLES
def test_the_order_of_the_vocabulary_does_not_matter(
    seed: int, sizes: tuple[int, int, int], spread: float, temperature: float, ce_share: float
) -> None:
    case = Case(seed, sizes, spread, torch.float64)
    before, buffer = case.run(temperature, ce_share), case.buffer.clone()
    place_of = torch.argsort(case.order)
    case.weight, case.teacher_weight = case.weight[case.order], case.teacher_weight[case.order]
    case.targets = place_of[case.targets]
    after = case.run(temperature, ce_share)
    torch.testing.assert_close(after.loss, before.loss, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(after.grad_hidden_RH, before.grad_hidden_RH, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(case.buffer, buffer[case.order], rtol=1e-8, atol=1e-10)


@given(SEEDS, SIZES, st.floats(0.01, 3.0), TEMPERATURES, SHARES)
@EXAMPLES
def test_the_gradient_is_the_slope_of_the_loss(
    seed: int, sizes: tuple[int, int, int], spread: float, temperature: float, ce_share: float
) -> None:
    case = Case(seed, sizes, spread, torch.float64)
    result = case.run(temperature, ce_share)
    grad_hidden, grad_weight = result.grad_hidden_RH.clone(), case.buffer.clone()
    generator = torch.Generator().manual_seed(seed)
    step_hidden = torch.randn(case.hidden.shape, generator=generator, dtype=torch.float64)
    step_weight = torch.randn(case.weight.shape, generator=generator, dtype=torch.float64)
    slope = float((grad_hidden * step_hidden).sum() + (grad_weight * step_weight).sum())
    start_hidden, start_weight, size = case.hidden.clone(), case.weight.clone(), 1e-5

    def loss_at(distance: float) -> Tensor:
        case.hidden, case.weight = start_hidden + distance * step_hidden, start_weight + distance * step_weight
        return case.run(temperature, ce_share).loss

    measured = float(loss_at(size) - loss_at(-size)) / (2 * size)
    scale = float(grad_hidden.norm() * step_hidden.norm() + grad_weight.norm() * step_weight.norm())
    assert abs(measured - slope) <= 1e-5 * (1.0 + scale)
