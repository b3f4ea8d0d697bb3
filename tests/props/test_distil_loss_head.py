"""Identities of the loss head that hold for all inputs."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.losses.exact_head import DistilResult, distil_head
from spiritsafe.distil.signal import TeacherRows

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(2, 30))
SPREADS = st.floats(0.01, 20.0)
TEMPERATURES = st.floats(0.25, 5.0)
PARTS = st.sampled_from(["forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl"])
MIXES = st.fixed_dictionaries(
    {
        "ce": st.sampled_from([0.0, 0.3]),
        "forward_kl": st.floats(0.1, 1.0),
        "reverse_kl": st.sampled_from([0.0, 0.6]),
        "jsd": st.sampled_from([0.0, 0.8]),
        "jsd_beta": st.floats(0.01, 0.99),
        "skew_forward_kl": st.sampled_from([0.0, 0.9]),
        "skew_reverse_kl": st.sampled_from([0.0, 1.1]),
        "skew_alpha": st.floats(0.01, 0.99),
        "temperature": TEMPERATURES,
    }
)
NAMES = {"forward_kl": "kl", "skew_forward_kl": "skew_kl"}
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

    def run(self, mix: LossMix) -> DistilResult:
        self.buffer.zero_()
        return distil_head(
            self.hidden,
            self.weight,
            TeacherRows(hidden_RG=self.teacher_hidden, weight_UG=self.teacher_weight),
            self.targets,
            self.weights,
            mix=mix,
            grad_weight_VH=self.buffer,
        )

    def value(self, part: str, **more: float) -> float:
        """A divergence, summed over rows."""
        return float(self.run(LossMix(**{part: 1.0, **more})).sums[NAMES.get(part, part)][0])

    def swap(self) -> None:
        """Teacher and student change places."""
        self.hidden, self.teacher_hidden = self.teacher_hidden, self.hidden
        self.weight, self.teacher_weight = self.teacher_weight, self.weight

    def largest_logit(self) -> float:
        pairs = ((self.hidden, self.weight), (self.teacher_hidden, self.teacher_weight))
        return max(float((h @ w.T).abs().max()) for h, w in pairs)


@given(SEEDS, SIZES, SPREADS, TEMPERATURES, PARTS)
@EXAMPLES
def test_no_divergence_is_negative(
    seed: int, sizes: tuple[int, int, int], spread: float, temperature: float, part: str
) -> None:
    case = Case(seed, sizes, spread, torch.float32)
    value = case.value(part, temperature=temperature)
    assert value >= -1e-6 * sizes[0] * (1.0 + case.largest_logit() / temperature)


@given(SEEDS, SIZES, SPREADS, TEMPERATURES, PARTS, st.floats(0.01, 0.99))
@EXAMPLES
def test_divergences_and_gradients_vanish_at_equality(
    seed: int, sizes: tuple[int, int, int], spread: float, temperature: float, part: str, share: float
) -> None:
    case = Case(seed, sizes, spread, torch.float32)
    case.teacher_hidden, case.teacher_weight = case.hidden.clone(), case.weight.clone()
    result = case.run(LossMix(**{part: 0.7}, jsd_beta=share, skew_alpha=share, temperature=temperature))
    assert float(result.loss) == 0.0
    assert torch.count_nonzero(result.grad_hidden_RH) == 0
    assert torch.count_nonzero(case.buffer) == 0


@given(SEEDS, SIZES, SPREADS, TEMPERATURES, st.floats(0.01, 0.99))
@EXAMPLES
def test_exchanging_teacher_and_student(
    seed: int, sizes: tuple[int, int, int], spread: float, temperature: float, share: float
) -> None:
    """JSD(β) becomes JSD(1 - β), so JSD(0.5) stays; forward becomes reverse, plain and skew."""
    case = Case(seed, sizes, spread, torch.float64)
    mix = {"temperature": temperature, "skew_alpha": share}
    one = [
        case.value("jsd", **mix),
        case.value("jsd", jsd_beta=share, **mix),
        case.value("forward_kl", **mix),
        case.value("skew_forward_kl", **mix),
    ]
    case.swap()
    other = [
        case.value("jsd", **mix),
        case.value("jsd", jsd_beta=1.0 - share, **mix),
        case.value("reverse_kl", **mix),
        case.value("skew_reverse_kl", **mix),
    ]
    assert all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-10) for a, b in zip(one, other, strict=True)), (one, other)


@given(SEEDS, SIZES, st.floats(0.01, 2.0), TEMPERATURES)
@EXAMPLES
def test_mixtures_become_the_plain_divergences_at_their_ends(
    seed: int, sizes: tuple[int, int, int], spread: float, temperature: float
) -> None:
    case = Case(seed, sizes, spread, torch.float64)
    forward, reverse = (case.value(part, temperature=temperature) for part in ("forward_kl", "reverse_kl"))
    end = 1e-6
    near = {
        "jsd, β to 0, over β": (case.value("jsd", jsd_beta=end, temperature=temperature) / end, forward),
        "jsd, β to 1": (case.value("jsd", jsd_beta=1 - end, temperature=temperature) / end, reverse),
        "skew forward": (case.value("skew_forward_kl", skew_alpha=end, temperature=temperature), forward),
        "skew reverse": (case.value("skew_reverse_kl", skew_alpha=end, temperature=temperature), reverse),
    }
    # the first correction is of the order end · E[p / q], at most end times the largest ratio
    ratio = math.exp(min(2 * (case.largest_logit() + 3.0) / temperature, 30.0))
    for name, (value, limit) in near.items():
        assert abs(value - limit) <= sizes[0] * min(1e-8 + 2 * end * ratio, abs(limit) + 1e-8), name


@given(SEEDS, SIZES, SPREADS, MIXES)
@EXAMPLES
def test_the_order_of_the_vocabulary_does_not_matter(
    seed: int, sizes: tuple[int, int, int], spread: float, parts: dict[str, float]
) -> None:
    case, mix = Case(seed, sizes, spread, torch.float64), LossMix(**parts)
    before, buffer = case.run(mix), case.buffer.clone()
    place_of = torch.argsort(case.order)
    case.weight, case.teacher_weight = case.weight[case.order], case.teacher_weight[case.order]
    case.targets = place_of[case.targets]
    after = case.run(mix)
    torch.testing.assert_close(after.loss, before.loss, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(after.grad_hidden_RH, before.grad_hidden_RH, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(case.buffer, buffer[case.order], rtol=1e-8, atol=1e-9)


@given(SEEDS, SIZES, st.floats(0.01, 3.0), MIXES)
@EXAMPLES
def test_the_gradient_is_the_slope_of_the_loss(
    seed: int, sizes: tuple[int, int, int], spread: float, parts: dict[str, float]
) -> None:
    case, mix = Case(seed, sizes, spread, torch.float64), LossMix(**parts)
    result = case.run(mix)
    grad_hidden, grad_weight = result.grad_hidden_RH.clone(), case.buffer.clone()
    generator = torch.Generator().manual_seed(seed)
    step_hidden = torch.randn(case.hidden.shape, generator=generator, dtype=torch.float64)
    step_weight = torch.randn(case.weight.shape, generator=generator, dtype=torch.float64)
    slope = float((grad_hidden * step_hidden).sum() + (grad_weight * step_weight).sum())
    start_hidden, start_weight, size = case.hidden.clone(), case.weight.clone(), 1e-5

    def loss_at(distance: float) -> Tensor:
        case.hidden, case.weight = start_hidden + distance * step_hidden, start_weight + distance * step_weight
        return case.run(mix).loss

    measured = float(loss_at(size) - loss_at(-size)) / (2 * size)
    scale = float(grad_hidden.norm() * step_hidden.norm() + grad_weight.norm() * step_weight.norm())
    assert abs(measured - slope) <= 1e-5 * (1.0 + scale)
