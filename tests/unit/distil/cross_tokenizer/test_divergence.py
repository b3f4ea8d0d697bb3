from __future__ import annotations

import math
from decimal import Decimal, getcontext

import pytest
import torch

from spiritsafe.distil.cross_tokenizer.divergence import ChunkDistance, chunk_divergence, log1mexp

getcontext().prec = 60
SMALL = Decimal("1e-5")


def reference(student: float | Decimal, teacher: float, temperature: float, divergence: ChunkDistance) -> Decimal:
    """The definition with 60 digits."""
    q = ((Decimal(student) - SMALL) / Decimal(temperature)).exp()
    p = ((Decimal(teacher) - SMALL) / Decimal(temperature)).exp()
    if divergence == "reverse_kl":
        p, q = q, p
    return Decimal(temperature) * (p * (p / q).ln() + (1 - p) * ((1 - p) / (1 - q)).ln())


CASES = [(-0.5, -1.5), (-30.0, -2.0), (-1e-4, -8.0), (-7.0, -1e-6), (-200.0, -190.0), (-3.0, -3.0), (0.0, -1.0)]


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("temperature", [1.0, 10.0, 100.0])
@pytest.mark.parametrize(("student", "teacher"), CASES)
def test_value_against_sixty_digits(
    student: float, teacher: float, temperature: float, divergence: ChunkDistance
) -> None:
    ours, theirs = torch.tensor([[student], [teacher]], dtype=torch.float64)
    value, slope = chunk_divergence(ours, theirs, temperature=temperature, divergence=divergence)
    wanted = reference(student, teacher, temperature, divergence)
    assert float(value) == pytest.approx(float(wanted), rel=1e-9, abs=1e-14)
    step = Decimal("1e-15")
    below, above = (reference(Decimal(student) + d, teacher, temperature, divergence) for d in (-step, step))
    assert float(slope) == pytest.approx(float((above - below) / (2 * step)), rel=1e-9, abs=1e-13)


def test_the_limit_of_large_temperatures() -> None:
    student, teacher = torch.tensor([-3.0, -0.2]).double(), torch.tensor([-1.0, -4.0]).double()
    value, slope = chunk_divergence(student, teacher, temperature=1e7, divergence="forward_kl")
    a, b = -teacher + 1e-5, -student + 1e-5
    torch.testing.assert_close(value, a * (a / b).log() - a + b, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope, a / b - 1, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
def test_zero_where_they_agree_and_the_sign_of_the_slope(divergence: ChunkDistance) -> None:
    same = torch.tensor([-1e-7, -0.3, -50.0]).double()
    value, slope = chunk_divergence(same, same, temperature=100.0, divergence=divergence)
    assert value.abs().max() < 1e-12
    assert slope.abs().max() < 1e-12
    value, slope = chunk_divergence(same - 1.0, same, temperature=100.0, divergence=divergence)
    assert bool((value > 0).all())
    assert bool((slope < 0).all())  # the student must rise


def test_impossible_and_certain_chunks_stay_finite() -> None:
    extreme = torch.tensor([0.0, 1e-7, -1e-30, -1e4, -1e30])
    for other in (0.0, -1.0, -1e4):
        for divergence in ("forward_kl", "reverse_kl"):
            value, slope = chunk_divergence(
                extreme, torch.full_like(extreme, other), temperature=100.0, divergence=divergence
            )
            assert bool(value[:-1].isfinite().all())
            assert bool(slope.isfinite().all())


def test_log1mexp_keeps_its_digits() -> None:
    x = torch.tensor([-1e-12, -1e-5, -0.69, -0.7, -5.0, -40.0]).double()
    for value, found in zip(x.tolist(), log1mexp(x).tolist(), strict=True):
        assert found == pytest.approx(float((1 - Decimal(value).exp()).ln()), rel=1e-12)
    assert math.isinf(float(log1mexp(torch.tensor(0.0))))
