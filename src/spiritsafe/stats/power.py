"""What a paper can show, said before it is sat: the smallest difference that it will probably find.

In: the size of the paper and how often two models are expected to differ. Out: :class:`Detectable`, with a plain
sentence for the registration. For what it takes to find a studied public half see
:func:`spiritsafe.stats.contamination.gap.smallest_leak`. Powers are those of the tests in
:mod:`spiritsafe.stats.paired` and :mod:`spiritsafe.stats.intervals`, summed over all outcomes; for several tries a
problem on the equivalent number of single answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.records import Record
from spiritsafe.stats.intervals import Floats, edge_of, effective_sizes
from spiritsafe.stats.sequential.design import StopRule, detectable_drift

_HALVINGS = 40  # 2**-40 is finer than any print


class Detectable(Record):
    """The smallest true difference that a paper finds with the stated power.

    Attributes:
        difference: In shares of the problems.
        power: Chance to find it.
        alpha: Two-sided level of the test.
        statement: The same in plain words.
    """

    difference: float
    power: float
    alpha: float
    statement: str


def variance_factor(trials: int, noise: float) -> float:
    """Variance of a problem's mean over several tries relative to one try.

    Args:
        noise: Share of a single try's variance that is luck and differs from try to try; the rest is the problem's.

    Raises:
        NumericalError: No tries, or a share outside [0, 1].
    """
    if trials < 1 or not 0 <= noise <= 1:
        raise NumericalError(
            f"No plan for {trials} tries, noise {noise}.", hint="Give at least one try, a share of noise."
        )
    return 1 - noise + noise / trials


def _worth(num_problems: int, trials: int, noise: float, share: float) -> int:
    """Single answers that several tries at each problem are probably worth where the share right is this.

    :func:`spiritsafe.stats.intervals.effective_sizes` of what is expected, with the unseen problems counted in.
    """
    factor = variance_factor(trials, noise)
    if trials == 1 or not 0 < share < 1:
        return num_problems
    right = np.full(num_problems, share * trials)
    asked = np.full(num_problems, float(trials))
    spread = trials * math.sqrt(factor * share * (1 - share) * (num_problems - 1) / num_problems)
    right[::2] += spread
    right[1::2] -= spread
    if num_problems % 2:
        right[-1] = share * trials
    return max(num_problems, round(effective_sizes(right, asked)[0]))


def _at_least(num: npt.ArrayLike, trials: npt.ArrayLike, chance: float) -> Floats:
    """P(a binomial is at least ``num``)."""
    k, n = np.asarray(num, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    inside = np.asarray(special.betainc(np.maximum(k, 1e-300), np.maximum(n - k + 1, 1e-300), chance), dtype=np.float64)
    return np.asarray(np.where(k <= 0, 1.0, np.where(k > n, 0.0, inside)), dtype=np.float64)


def _binomial(trials: int, chance: float) -> Floats:
    """Chances of 0..trials."""
    k = np.arange(trials + 1)
    logs = special.gammaln(trials + 1) - special.gammaln(k + 1) - special.gammaln(trials - k + 1)
    return np.asarray(np.exp(logs + special.xlogy(k, chance) + special.xlog1py(trials - k, -chance)))


@lru_cache(maxsize=16)
def _critical_wins(num_problems: int, alpha: float) -> Floats:
    """Fewest wins that the paired score test calls better, for each number of differing problems 0..N.

    wins - losses - 1 ≥ z √differing: the statistic of :func:`spiritsafe.stats.sequential.score_statistics.difference_z`
    at margin 0.
    """
    differing = np.arange(num_problems + 1, dtype=np.float64)
    critical = float(special.ndtri(1 - alpha / 2))
    return np.asarray(np.ceil((differing + 1 + critical * np.sqrt(differing)) / 2 - 1e-12))


def paired_power(num_problems: int, difference: float, discordance: float, *, alpha: float = 0.05) -> float:
    """Chance that the paired score test, which decides claims, finds the first model better.

    Args:
        num_problems: Asked once each.
        difference: True difference of the shares.
        discordance: Share of the problems on which exactly one model is right; at least ``difference``.
        alpha: Two-sided level.

    Raises:
        NumericalError: Impossible shares.
    """
    if not 0 <= abs(difference) <= discordance <= 1 or num_problems < 1:
        raise NumericalError(
            f"Models cannot differ by {difference} and disagree on {discordance} of {num_problems} problems.",
            hint="The difference is at most the share of problems on which exactly one model is right.",
        )
    if discordance == 0:
        return 0.0
    win = (discordance + difference) / (2 * discordance)
    found = _at_least(_critical_wins(num_problems, alpha), np.arange(num_problems + 1), win)
    return float(_binomial(num_problems, discordance) @ found)


def score_power(num_problems: int, threshold: float, score: float, *, alpha: float = 0.05) -> float:
    """Chance that the exact interval of the score lies above the threshold.

    Args:
        num_problems: Asked once each.
        alpha: One minus the interval's confidence.

    Raises:
        NumericalError: Impossible shares.
    """
    if not (0 < threshold < 1 and 0 <= score <= 1 and num_problems >= 1):
        raise NumericalError(f"No score {score} above {threshold}.", hint="Give shares, the threshold strictly inside.")
    counts = np.arange(num_problems + 1)
    return float(_binomial(num_problems, score)[_at_least(counts, num_problems, threshold) <= alpha / 2].sum())


def _smallest(power_of: Callable[[float], float], largest: float, power: float) -> float | None:
    """Where a rising power reaches what is wanted."""
    if power_of(largest) < power:
        return None
    return edge_of(lambda difference: power_of(difference) >= power, largest, 0.0, num_halvings=_HALVINGS)


def _detectable(difference: float | None, paper: str, what: str, power: float, alpha: float) -> Detectable | None:
    if difference is None:
        return None
    return Detectable(
        difference=difference,
        power=power,
        alpha=alpha,
        statement=f"{paper}: {what} of {100 * difference:.1f} points or more is shown with {power:.0%} power "
        f"(two-sided level {alpha:.0%}); a smaller one may go unnoticed.",
    )


def smallest_paired_difference(
    num_problems: int,
    *,
    discordance: float,
    trials: int = 1,
    noise: float = 0.5,
    alpha: float = 0.05,
    power: float = 0.8,
    rule: StopRule | None = None,
) -> Detectable | None:
    """The smallest difference of two models on the same problems that is probably found.

    Args:
        discordance: Expected share of problems on which exactly one of the two is right in a single try.
        noise: See :func:`variance_factor`; unused for one try.
        alpha: Two-sided level.
        rule: The sitting may stop early by this rule (of level alpha / 2): a little harder to find.

    Returns:
        None when even the largest possible difference would be missed too often.

    Raises:
        NumericalError: Impossible shares or numbers.
    """
    factor = variance_factor(trials, noise)
    if not 0 < discordance <= 1:
        raise NumericalError(f"No plan for a discordance of {discordance}.", hint="Give a share above 0.")
    if rule is not None:
        difference: float | None = _drifting(num_problems, discordance, factor, detectable_drift(rule, power=power))
    else:
        worth = max(1, round(num_problems / factor))
        difference = _smallest(lambda d: paired_power(worth, d, max(d, discordance), alpha=alpha), 1.0, power)
    tries = "one try" if trials == 1 else f"{trials} tries"
    looks = "" if rule is None else f", stopping early at {rule.num_looks} looks"
    paper = f"{num_problems} problems, {tries} each{looks}, two models that disagree on {discordance:.0%} of them"
    return _detectable(difference, paper, "a true difference", power, alpha)


def _drifting(num_problems: int, discordance: float, factor: float, drift: float) -> float | None:
    """The difference whose corrected score statistic has this mean at the end of the paper."""

    def reached(difference: float) -> float:
        variance = factor * num_problems * (max(difference, discordance) - difference**2)
        excess = num_problems * difference - 1.0
        return float(excess > 0 and excess**2 >= drift**2 * variance)

    return _smallest(reached, 1.0, 1.0)


def smallest_score_gain(
    num_problems: int, *, threshold: float, trials: int = 1, noise: float = 0.5, alpha: float = 0.05, power: float = 0.8
) -> Detectable | None:
    """How far above a threshold a score must truly be to be probably found there.

    Args:
        alpha: One minus the interval's confidence.

    Returns:
        None when even a perfect model would be missed too often.

    Raises:
        NumericalError: Impossible shares or numbers.
    """
    worth = _worth(num_problems, trials, noise, threshold)
    gain = _smallest(lambda d: score_power(worth, threshold, threshold + d, alpha=alpha), 1 - threshold, power)
    tries = "one try" if trials == 1 else f"{trials} tries"
    return _detectable(
        gain, f"{num_problems} problems, {tries} each", f"a true score above {threshold:.0%} by a margin", power, alpha
    )
