"""The gap between the public and the sealed half, which one bank was cut into at random."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from spiritsafe.core.records import Record
from spiritsafe.stats.intervals import (
    INTERVALS,
    Estimate,
    IntervalRule,
    check_counts,
    gather,
    mover_bounds,
    share_bounds,
)
from spiritsafe.stats.paired import _LEVEL, _difference_bounds, paired_difference
from spiritsafe.stats.permutation import Labels, randomisation_test


def smallest_leak(
    num_public: int,
    num_sealed: int,
    *,
    score: float,
    trials: int = 1,
    variance_factor: float = 1.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """Smallest share of unsolved public problems which, once memorised, the gap test finds. Print it beforehand.

    A leak λ makes a random share λ of the public problems always right, which lifts the public score from s to
    s + λ(1 - s). Normal approximation with continuity correction (Fleiss, Levin & Paik 2003, §4.2), null variance
    from the pooled bank, as the randomisation test has it.

    Args:
        num_public: Problems in the public half.
        num_sealed: Problems in the sealed half.
        score: Share of right answers without a leak (a guess before the sitting, the sealed score after).
        variance_factor: Variance of a problem's score relative to one coin toss (below 1 with several tries).
        alpha: One-sided level of the test.
        power: Wanted chance to find the leak.

    Returns:
        The share, or None when even a full leak is found less often than ``power``.
    """
    z_alpha, z_power = float(special.ndtri(1 - alpha)), float(special.ndtri(power))
    weight = num_public / (num_public + num_sealed)
    sizes = 1 / num_public + 1 / num_sealed
    variance_sealed = variance_factor * score * (1 - score)

    def found(leak: float) -> bool:
        gap = leak * (1 - score)
        variance_public = (1 - leak) * variance_sealed + leak * (1 - leak) * (1 - score) ** 2
        pooled = weight * variance_public + (1 - weight) * variance_sealed + weight * (1 - weight) * gap * gap
        real = variance_public / num_public + variance_sealed / num_sealed
        return gap - sizes / (2 * trials) > z_alpha * math.sqrt(pooled * sizes) + z_power * math.sqrt(real)

    if not found(1.0):
        return None
    low, high = 0.0, 1.0
    for _ in range(40):  # 2**-40 is finer than any print
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


class GapTest(Record):
    """Public half minus sealed half of one randomised bank.

    Attributes:
        p_value: One-sided: how often chance alone gives a public half at least this much better.
        smallest_leak: Smallest share of the unsolved public problems which, once memorised, the test finds with 80 %
            power at the 5 % level; None when even memorising all of them could go unnoticed.
        num_draws: Random splits drawn; 0 when the distribution is exact.
    """

    gap: Estimate
    p_value: float
    smallest_leak: float | None
    num_draws: int
    test: str


def _variance_factor(values: npt.NDArray[np.float64], score: float) -> float:
    coin = score * (1 - score)
    return float(values.var()) / coin if coin > 0 and values.var() > 0 else 1.0


def public_sealed_gap(
    public: Sequence[int],
    sealed: Sequence[int],
    *,
    trials: int = 1,
    seed: int = 0,
    num_draws: int = 9_999,
    confidence: float = 0.95,
    strata: tuple[Labels, Labels] | None = None,
    num_looks: int = 1,
    intervals: IntervalRule = INTERVALS,
) -> GapTest:
    """Is one model's public score higher than a random split of one bank explains?

    Args:
        public: Right answers, one count in 0..trials for each public problem.
        sealed: The same for each sealed problem.
        seed: Seed of the Monte Carlo splits; unused when the test is exact.
        confidence: Level of the gap's interval (Newcombe's, from the two halves' Wilson bounds).
        strata: Stratum of each public and each sealed problem, when each stratum was split by itself.
        num_looks: At how many looks the sitting could have ended; the p-value is multiplied by it (Bonferroni), which
            holds whatever the rule looked at.
        intervals: For what several tries at a problem are worth in the interval.
    """
    a, b = check_counts(public, trials), check_counts(sealed, trials)
    p_value, used = randomisation_test(a, b, seed=seed, num_draws=num_draws, strata=strata)
    bounds_a = share_bounds(*gather(a, None, trials), confidence, intervals)
    bounds_b = share_bounds(*gather(b, None, trials), confidence, intervals)
    low, high = mover_bounds(bounds_a, bounds_b, 0.0)
    return GapTest(
        gap=Estimate(
            value=bounds_a[0] - bounds_b[0],
            low=low,
            high=high,
            confidence=confidence,
            n=(a.size + b.size) * trials,
            method="Newcombe",
        ),
        p_value=min(1.0, p_value * num_looks),
        smallest_leak=smallest_leak(
            a.size,
            b.size,
            score=bounds_b[0],
            trials=trials,
            variance_factor=_variance_factor(b / trials, bounds_b[0]),
            alpha=_LEVEL / num_looks,
        ),
        num_draws=used,
        test=_test_name("randomisation test", used, strata, num_looks),
    )


def _test_name(name: str, num_draws: int, strata: tuple[Labels, Labels] | None, num_looks: int) -> str:
    within = ", within strata" if strata else ""
    looks = f", times {num_looks} looks" if num_looks > 1 else ""
    return f"{name}{within}, {'exact' if num_draws == 0 else 'Monte Carlo'}{looks}"


def gain_gap(
    public: tuple[Sequence[int], Sequence[int]],
    sealed: tuple[Sequence[int], Sequence[int]],
    *,
    trials: int = 1,
    seed: int = 0,
    num_draws: int = 9_999,
    confidence: float = 0.95,
    strata: tuple[Labels, Labels] | None = None,
    num_looks: int = 1,
    intervals: IntervalRule = INTERVALS,
) -> GapTest:
    """Is the gain over a base model larger on the public half? Pairing removes the problems' own difficulty.

    Args:
        public: (model, base) right answers, one count in 0..trials for each public problem.
        sealed: The same for the sealed problems.
        seed: Seed of the Monte Carlo splits.
        confidence: Level of the interval (from the two halves' paired bounds, Zou & Donner 2008).
    """
    halves = [
        paired_difference(*half, trials=trials, confidence=confidence, intervals=intervals).difference
        for half in (public, sealed)
    ]
    gains = [np.asarray(model, dtype=np.int64) - np.asarray(base, dtype=np.int64) for model, base in (public, sealed)]
    p_value, used = randomisation_test(gains[0], gains[1], seed=seed, num_draws=num_draws, strata=strata)
    first, second = ((half.value, half.low, half.high) for half in halves)
    low, high = _difference_bounds(first, second)
    score = float(np.mean(sealed[0])) / trials
    return GapTest(
        gap=Estimate(
            value=first[0] - second[0],
            low=low,
            high=high,
            confidence=confidence,
            n=sum(half.n for half in halves),
            method=f"difference of {'Newcombe paired' if intervals == 1 else 'paired score'} intervals",
        ),
        p_value=min(1.0, p_value * num_looks),
        smallest_leak=smallest_leak(
            gains[0].size,
            gains[1].size,
            score=score,
            trials=trials,
            variance_factor=_variance_factor(gains[1] / trials, score),
            alpha=_LEVEL / num_looks,
        ),
        num_draws=used,
        test=_test_name("randomisation test on paired gains", used, strata, num_looks),
    )
