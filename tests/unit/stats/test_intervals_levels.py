"""Error rates of intervals and claims with several tries a problem, and of paired ones, held by enumeration and seed.

Nominal is .025 in each tail. Enumerations are exact. Simulations have fixed seeds; their allowance is three standard
errors of the number drawn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from spiritsafe.stats.intervals import IntervalRule, score_interval
from spiritsafe.stats.paired import paired_difference
from spiritsafe.stats.sequential.design import StopRule, boundaries
from spiritsafe.stats.sequential.score_statistics import PairedEvidence, ScoreEvidence, difference_bounds, difference_z

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

LEVEL = 0.025
CRITICAL = float(special.ndtri(1 - LEVEL))


def compositions(total: int, parts: int) -> npt.NDArray[np.int64]:
    """All ways to see ``total`` problems in ``parts`` kinds."""
    bars = itertools.combinations(range(total + parts - 1), parts - 1)
    return np.array([np.diff([-1, *cuts, total + parts - 1]) - 1 for cuts in bars])


def chances(seen_XJ: npt.NDArray[np.int64], chance_J: Floats) -> Floats:
    """Multinomial."""
    logs = special.gammaln(seen_XJ.sum(axis=1) + 1) - special.gammaln(seen_XJ + 1).sum(axis=1)
    return np.asarray(np.exp(logs + special.xlogy(seen_XJ, chance_J).sum(axis=1)))


@pytest.mark.parametrize(
    ("num_problems", "trials", "grid"), [(5, 2, 12), (12, 2, 12), (20, 2, 12), (7, 4, 5), (3, 4, 5)]
)
def test_no_distribution_of_difficulty_makes_a_score_interval_miss_more(
    num_problems: int, trials: int, grid: int
) -> None:
    """Every distribution of right answers on a grid, exactly."""
    seen = compositions(num_problems, trials + 1)
    low, high = [], []
    for counts in seen:
        estimate = score_interval(np.repeat(np.arange(trials + 1), counts).tolist(), trials=trials)
        low.append(estimate.low)
        high.append(estimate.high)
    worst = 0.0
    for weights in compositions(grid, trials + 1):
        chance_J = weights / grid
        mean = float(chance_J @ np.arange(trials + 1)) / trials
        chance = chances(seen, chance_J)
        missed = [float(chance[np.array(low) > mean + 1e-9].sum()), float(chance[np.array(high) < mean - 1e-9].sum())]
        worst = max(worst, *missed)
    assert worst <= LEVEL


def both(upper: float, lower: float, share: float) -> Draw:
    """Problems of two kinds: this share has the lower chance."""
    return lambda rng, size: np.where(rng.random(size) < share, lower, upper)


POPULATIONS: dict[str, tuple[Draw, float]] = {
    "90 % at .98, 10 % hopeless": (both(0.98, 0.0, 0.1), 0.882),
    "95 % at .98, 5 % hopeless": (both(0.98, 0.0, 0.05), 0.931),
    "80 % at .9, 20 % hopeless": (both(0.9, 0.0, 0.2), 0.72),
    "90 % at .7, 10 % hopeless": (both(0.7, 0.0, 0.1), 0.63),
    "5 % sure, 95 % at .1": (both(0.1, 1.0, 0.05), 0.145),
    "all or nothing, half": (both(1.0, 0.0, 0.5), 0.5),
    "all or nothing, most": (both(1.0, 0.0, 0.1), 0.9),
    "all alike": (lambda rng, size: np.full(size, 0.5), 0.5),
    "spread": (lambda rng, size: rng.beta(0.3, 0.3, size), 0.5),
    "mostly easy": (lambda rng, size: rng.beta(2.0, 0.2, size), 2 / 2.2),
}
DRAWS = 1500


def allowed(level: float, draws: int = DRAWS) -> float:
    return level + 3 * math.sqrt(level * (1 - level) / draws)


@pytest.mark.parametrize(("num_problems", "trials"), [(5, 16), (10, 16), (20, 16), (20, 4), (60, 16), (200, 8)])
@pytest.mark.parametrize("what", POPULATIONS)
def test_several_tries_at_few_problems_keep_their_level(what: str, num_problems: int, trials: int) -> None:
    draw, mean = POPULATIONS[what]
    rng = np.random.default_rng(20261128)
    draws = DRAWS if num_problems < 60 else 500
    right = rng.binomial(trials, draw(rng, draws * num_problems)).reshape(draws, num_problems)
    low = high = shown = 0
    for counts in right.tolist():
        estimate = score_interval(counts, trials=trials)
        low += estimate.low > mean
        high += estimate.high < mean
        shown += ScoreEvidence.of(counts, trials=trials).z(mean, "upper") >= CRITICAL
    assert max(low, high) / draws <= allowed(LEVEL, draws)
    assert (low + high) / draws <= allowed(2 * LEVEL, draws)
    assert abs(shown - low) <= 1  # a claim is shown where the lower end is above it


def test_looks_with_several_tries_keep_their_level() -> None:
    draw, mean = POPULATIONS["90 % at .98, 10 % hopeless"]
    rule = StopRule(num_problems=30, num_looks=5)
    upper = boundaries(rule).upper_K
    rng = np.random.default_rng(7)
    right = rng.binomial(16, draw(rng, DRAWS * 30)).reshape(DRAWS, 30).tolist()

    def stops(counts: list[int], intervals: IntervalRule) -> bool:
        return any(
            ScoreEvidence.of(counts[:seen], trials=16, intervals=intervals).z(mean, "upper") >= bound
            for seen, bound in zip(rule.looks, upper, strict=True)
        )

    assert sum(stops(counts, 2) for counts in right) / DRAWS <= allowed(LEVEL)
    assert sum(stops(counts, 1) for counts in right[:300]) / 300 > 0.05  # the first rule, for the record


def test_the_first_rule_stays_what_it_was() -> None:
    """Published certificates are recomputed by it: ten problems that agree pass for a hundred and sixty."""
    seen = [15] * 10
    old, new = (score_interval(seen, trials=16, intervals=rule) for rule in (1, 2))
    assert (old.method, new.method) == ("Korn-Graubard", "Korn-Graubard, unseen problems allowed for")
    assert old.low > 0.88
    assert new.low < 0.7
    assert [paired_difference([1, 0], [0, 0], intervals=1).difference.method] == ["Newcombe paired"]


@pytest.mark.parametrize("num_problems", [3, 4, 5, 8, 10, 15, 20, 30, 43, 80])
def test_paired_claims_with_one_try_keep_their_level(num_problems: int) -> None:
    """Every margin, every share of disagreement, exactly; also beyond the margins that can be claimed."""
    seen = compositions(num_problems, 3)
    worst = 0.0
    for mean in (-0.9, -0.5, -0.25, -0.2, -0.18, -0.1, -0.05, -0.01, 0.0, 0.01, 0.05, 0.1, 0.15, 0.25, 0.5, 0.9):
        shown = difference_z(seen, mean, "upper") >= CRITICAL
        for discordance in {abs(mean), *np.linspace(0.05, 1.0, 20).tolist()}:
            if discordance < abs(mean):
                continue
            chance_J = np.array([(discordance - mean) / 2, 1 - discordance, (discordance + mean) / 2]).clip(0.0)
            worst = max(worst, float(chances(seen, chance_J)[shown].sum()))
    assert worst <= 0.0253


PAIRS: dict[str, tuple[Callable[[np.random.Generator, int], tuple[Floats, Floats]], float]] = {
    "5 % of the problems opposite": (lambda rng, n: (both(0.9, 0.0, 0.05)(rng, n), np.full(n, 0.9)), -0.045),
    "20 % of them, and better else": (lambda rng, n: (both(0.9, 0.0, 0.2)(rng, n), np.full(n, 0.8)), -0.08),
    "one solves what the other does": (
        lambda rng, n: (lambda luck: ((luck < 0.6) * 1.0, (luck < 0.5) * 1.0))(rng.random(n)),
        0.1,
    ),
    "each its own, all or nothing": (lambda rng, n: (both(1.0, 0.0, 0.5)(rng, n), both(1.0, 0.0, 0.5)(rng, n)), 0.0),
    "all alike": (lambda rng, n: (np.full(n, 0.5), np.full(n, 0.5)), 0.0),
}


@pytest.mark.parametrize(("num_problems", "trials"), [(5, 8), (10, 8), (20, 1), (20, 16), (80, 4)])
@pytest.mark.parametrize("what", PAIRS)
def test_paired_intervals_and_claims_with_several_tries_keep_their_level(
    what: str, num_problems: int, trials: int
) -> None:
    draw, mean = PAIRS[what]
    rng = np.random.default_rng(28)
    draws, shape = 4000, (4000, num_problems)
    first, second = (rng.binomial(trials, side).reshape(shape) for side in draw(rng, draws * num_problems))
    counts = np.zeros((draws, 2 * trials + 1), dtype=np.int64)
    np.add.at(counts, (np.repeat(np.arange(draws), num_problems), (first - second + trials).ravel()), 1)
    low = float((difference_z(counts, mean, "upper") >= CRITICAL).mean())
    high = float((difference_z(counts, mean, "lower") <= -CRITICAL).mean())
    assert max(low, high) <= allowed(LEVEL, draws)
    for row in range(3):  # the interval holds the means that the test does not reject
        found = paired_difference(first[row].tolist(), second[row].tolist(), trials=trials).difference
        assert (found.low, found.high) == pytest.approx(
            (min(found.value, bounds[0]), max(found.value, bounds[1]))
            if (bounds := difference_bounds(counts[row], 0.95))
            else ()
        )
        evidence = PairedEvidence.of(first[row].tolist(), second[row].tolist(), trials=trials, margin=0.0)
        if found.low > -0.99:
            assert evidence.z(found.low + 1e-6, "upper") <= CRITICAL + 1e-3
