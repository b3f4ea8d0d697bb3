from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.contamination.share_studied import ratio_bounds, share_studied, studied_statement
from spiritsafe.stats.intervals import wilson_interval


def wilson(successes: int, trials: int) -> tuple[float, float, float]:
    found = wilson_interval(successes, trials)
    return found.value, found.low, found.high


@pytest.mark.parametrize(("x", "n", "y", "m"), [(24, 73, 53, 65), (29, 55, 11, 11), (7, 34, 1, 34), (2, 49, 1, 50)])
def test_the_ratio_by_the_published_formula(x: int, n: int, y: int, m: int) -> None:
    """Donner & Zou 2012, eq. 2, as Fagerland, Lydersen & Laake 2015 print it (their MOVER-R Wilson)."""
    (a, low_a, high_a), (b, low_b, high_b) = wilson(x, n), wilson(y, m)
    low, high = ratio_bounds((a, low_a, high_a), (b, low_b, high_b))
    inside = (a * b) ** 2 - low_a * high_b * (2 * a - low_a) * (2 * b - high_b)
    assert low == pytest.approx((a * b - math.sqrt(inside)) / (high_b * (2 * b - high_b)))
    inside = (a * b) ** 2 - high_a * low_b * (2 * a - high_a) * (2 * b - low_b)
    assert high == pytest.approx((a * b + math.sqrt(inside)) / (low_b * (2 * b - low_b)))
    assert low < a / b < high


def koopman(x: int, n: int, y: int, m: int) -> tuple[float, float]:
    """The score interval of the ratio (Koopman 1984), on a grid: another method for the same thing."""
    inside = []
    for ratio in np.linspace(0.0, 5.0, 5_001)[1:]:
        # maximum likelihood under p1 = ratio * p2 (Koopman 1984)
        t, c = n + m, x + y
        u = ratio * (n + y) + x + m
        p2 = (u - math.sqrt(u * u - 4 * ratio * t * c)) / (2 * ratio * t)
        p1 = ratio * p2
        score = (x - n * p1) ** 2 / (n * p1 * (1 - p1)) * (1 + n * (ratio - p1) / (m * (1 - p1)))
        if score <= chi2.ppf(0.95, 1):
            inside.append(ratio)
    return min(inside), max(inside)


@pytest.mark.parametrize(("x", "n", "y", "m"), [(120, 200, 160, 200), (45, 60, 50, 60), (10, 100, 90, 100)])
def test_close_to_koopmans_interval(x: int, n: int, y: int, m: int) -> None:
    assert ratio_bounds(wilson(x, n), wilson(y, m)) == pytest.approx(koopman(x, n, y, m), abs=0.02)


def test_values_at_the_edges() -> None:
    assert share_studied([1, 0], [1, 1]) is None
    everything = share_studied([1] * 50, [0] * 50)
    assert everything is not None
    assert (everything.value, everything.high) == (1.0, 1.0)
    assert 0.9 < everything.low < 1.0
    nothing = share_studied([0] * 50, [0] * 50)
    assert nothing is not None
    assert nothing.value == nothing.low == 0.0
    assert 0.0 < nothing.high < 0.15
    reversed_gap = share_studied([0] * 50, [1] * 25 + [0] * 25)
    assert reversed_gap is not None
    assert (reversed_gap.value, reversed_gap.low) == (0.0, 0.0)
    for few in ([1], [0]):
        found = share_studied(few, [0])
        assert found is not None
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    with pytest.raises(NumericalError):
        share_studied([2], [0])


def test_in_plain_words() -> None:
    found = share_studied([1] * 70 + [0] * 30, [1] * 40 + [0] * 60)
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert studied_statement(found).startswith("Share studied: 50% (30% to 65%) of the public problems")


@pytest.mark.parametrize("size", [50, 200])
@pytest.mark.parametrize(("score", "leak"), [(0.0, 0.3), (0.3, 0.0), (0.3, 0.2), (0.6, 0.4), (0.85, 0.5), (0.1, 0.9)])
def test_coverage(size: int, score: float, leak: float) -> None:
    """Simulated: a bank of problems of differing difficulty, cut at random, a share of the public half learned."""
    rng = np.random.default_rng([size, int(100 * score), int(100 * leak)])
    covered = repeats = 0
    for _ in range(400):
        chance = (
            np.clip(rng.normal(score, 0.15, size=2 * size), 0.0, 1.0) if 0 < score < 1 else np.full(2 * size, score)
        )
        right = (rng.random(2 * size) < chance).astype(int)
        public, sealed = right[:size], right[size:]
        learned = rng.random(size) < leak
        found = share_studied(np.maximum(public, learned).tolist(), sealed.tolist())
        if found is not None:
            repeats += 1
            covered += found.low <= leak <= found.high
    assert covered / repeats > 0.93


def test_several_tries_are_worth_less_than_as_many_problems() -> None:
    tries = share_studied([4] * 30 + [0] * 20, [4] * 10 + [0] * 40, trials=4)
    single = share_studied([1] * 30 + [0] * 20, [1] * 10 + [0] * 40)
    problems = share_studied([1] * 120 + [0] * 80, [1] * 40 + [0] * 160)
    assert tries is not None
    assert single is not None
    assert problems is not None
    assert tries.value == pytest.approx(single.value)
    assert tries.high - tries.low == pytest.approx(single.high - single.low)
    assert problems.high - problems.low < 0.7 * (tries.high - tries.low)
