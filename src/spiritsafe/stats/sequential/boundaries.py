"""Boundaries for looking at an exam's results before it is over: group-sequential designs.

In: the times of the looks (shares of the largest sample), a level and how it is spent. Out: boundaries for a normal
score statistic whose increments are independent, and the chance to cross them. Which statistic and what the crossing
means is :mod:`spiritsafe.stats.sequential.decision`'s affair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal, final

import numpy as np
import scipy
from scipy import special

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.intervals import Floats

Spending = Literal["obrien-fleming", "pocock", "quadratic", "cubic"]


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)
_REACH = 8.5  # standard deviations that the integration covers; 1e-17 lies beyond
_NOTHING = 1e-12  # spending below this is none
_ROOT_2PI = math.sqrt(2 * math.pi)


def spent(times: Sequence[float], level: float, spending: Spending) -> Floats:
    """Part of ``level`` that may be used up by each time.

    "obrien-fleming" and "pocock" are the functions of Lan & DeMets (1983) that imitate those designs; "quadratic" and
    "cubic" are level × t² and level × t³ (Kim & DeMets 1987), between the two, the cubic near O'Brien-Fleming but
    with something to spend early.

    Args:
        times: In (0, 1].
        level: One-sided.
    """
    at = np.asarray(times, dtype=np.float64)
    if spending == "obrien-fleming":
        return np.asarray(2 * special.ndtr(special.ndtri(level / 2) / np.sqrt(at)))
    if spending == "pocock":
        return np.asarray(level * np.log1p((math.e - 1) * at))
    return np.asarray(level * at ** (2 if spending == "quadratic" else 3))


UNREACHABLE = 10.0
"""A boundary where nothing is spent yet; a normal statistic exceeds it with chance 1e-23."""


@final
@dataclass(frozen=True)
class Crossings:
    """Chances to cross each boundary first at each look.

    Attributes:
        up_K: Upper boundary.
        down_K: Lower boundary.
    """

    up_K: Floats
    down_K: Floats


@final
class _Walk:
    """Sub-density of the statistic on the paths that no boundary has stopped (Armitage, McPherson & Rowe 1969).

    Z at time t is normal with mean ``drift`` × √t and variance 1; Z√t has independent increments. The integral over
    the last look's density is taken by Gauss-Legendre quadrature between the boundaries.
    """

    def __init__(self, drift: float) -> None:
        self.drift = drift
        self.time = 0.0
        self._points = np.zeros(1)  # Z√t at the nodes
        self._masses = np.ones(1)

    def tail(self, time: float, bound: float) -> float:
        """P(not stopped before, Z at ``time`` is at least ``bound``)."""
        sd = math.sqrt(time - self.time)
        means = self._points + self.drift * (time - self.time)
        return float(self._masses @ special.ndtr((means - bound * math.sqrt(time)) / sd))

    def below(self, time: float, bound: float) -> float:
        """P(not stopped before, Z at ``time`` is at most ``bound``)."""
        sd = math.sqrt(time - self.time)
        means = self._points + self.drift * (time - self.time)
        return float(self._masses @ special.ndtr((bound * math.sqrt(time) - means) / sd))

    def go_on(self, time: float, lower: float, upper: float) -> None:
        """Keep the paths strictly between the boundaries at ``time``."""
        root, sd = math.sqrt(time), math.sqrt(time - self.time)
        centre = self.drift * root
        low, high = max(lower, centre - _REACH), min(upper, centre + _REACH)
        means = self._points + self.drift * (time - self.time)
        half = max(0.0, (high - low) / 2)  # nothing is left when the boundaries leave no room within reach
        nodes = low + half * (_NODES + 1)
        steps = (nodes[:, None] * root - means) / sd
        density = (np.exp(-0.5 * steps * steps) @ self._masses) * (root / (sd * _ROOT_2PI))
        self._points, self._masses, self.time = nodes * root, density * _WEIGHTS * half, time


def check_times(times: Sequence[float]) -> None:
    """Refuse times that do not rise within (0, 1].

    Raises:
        NumericalError: They do not.
    """
    if not times or times[0] <= 0 or times[-1] > 1 or any(b <= a for a, b in pairwise(times)):
        raise NumericalError(
            f"No looks at {list(times)}.", hint="Give rising shares of the sample, above 0 and up to 1."
        )


def crossings(
    times: Sequence[float], upper: Sequence[float], lower: Sequence[float] | None = None, *, drift: float = 0.0
) -> Crossings:
    """Chances of a first crossing at each look.

    Args:
        times: Rising shares of the largest sample.
        upper: Upper boundary of Z at each look.
        lower: Lower boundary; None for none.
        drift: Mean of Z at time 1.

    Raises:
        NumericalError: The times do not rise within (0, 1].
    """
    check_times(times)
    floor = [-math.inf] * len(times) if lower is None else lower
    walk, up, down = _Walk(drift), [], []
    for time, high, low in zip(times, upper, floor, strict=True):
        up.append(walk.tail(time, high))
        down.append(walk.below(time, low) if low > -math.inf else 0.0)
        walk.go_on(time, low, high)
    return Crossings(np.array(up), np.array(down))


def efficacy_boundary(times: Sequence[float], *, alpha: float, spending: Spending) -> tuple[float, ...]:
    """Upper boundary that uses up exactly ``spent(times, alpha, spending)`` when the drift is 0 (Lan & DeMets 1983).

    Lower boundaries are ignored, so stopping for futility never raises the error rate (non-binding).

    Raises:
        NumericalError: The times do not rise within (0, 1], or alpha is not in (0, 0.5).
    """
    check_times(times)
    if not 0 < alpha < 0.5:
        raise NumericalError(f"No boundary at level {alpha}.", hint="Give a one-sided level between 0 and 0.5.")
    walk, used, bounds = _Walk(0.0), 0.0, []
    for time, allowed in zip(times, spent(times, alpha, spending).tolist(), strict=True):
        bounds.append(_solve(partial(walk.tail, time), allowed - used))
        used += walk.tail(time, bounds[-1])
        walk.go_on(time, -math.inf, bounds[-1])
    return tuple(bounds)


def _solve(chance_of: Callable[[float], float], chance: float) -> float:
    """The bound at which a falling function of it takes this value."""
    if chance < _NOTHING:
        return UNREACHABLE
    return float(
        scipy.optimize.brentq(
            lambda bound: chance_of(bound) - chance, -UNREACHABLE, UNREACHABLE, xtol=1e-12, rtol=1e-14
        )
    )


def futility_boundary(
    times: Sequence[float], upper: Sequence[float], *, beta: float, spending: Spending
) -> tuple[tuple[float, ...], float]:
    """Lower boundary that uses up ``spent(times, beta, spending)`` at the drift shown with chance 1 - beta.

    The two boundaries meet at the last look (Pampallona, Tsiatis & Kim 2001).

    Args:
        times: Rising shares of the largest sample.
        upper: The efficacy boundary.
        beta: Chance to miss that drift.

    Returns:
        (lower boundary, the drift).

    Raises:
        NumericalError: The times do not rise within (0, 1], or beta is not in (0, 0.5).
    """
    check_times(times)
    if not 0 < beta < 0.5:
        raise NumericalError(f"No futility boundary at {beta}.", hint="Give a chance between 0 and 0.5.")
    allowed = spent(times, beta, spending).tolist()

    def excess(drift: float) -> float:
        lower = _lower_boundary(times, upper, allowed, drift)
        if lower is None:  # the boundaries meet too early: this drift is found too easily
            return 1.0
        return float(crossings(times, upper, lower, drift=drift).up_K.sum()) - (1 - beta)

    least = float(special.ndtri(1 - beta))
    drift = float(scipy.optimize.brentq(excess, least, least + UNREACHABLE, xtol=1e-12, rtol=1e-14))
    lower = _lower_boundary(times, upper, allowed, drift)
    if lower is None:
        raise NumericalError(
            f"The boundaries of {len(times)} looks meet before the last one.", hint="Ask for fewer looks."
        )
    return lower, drift


def _lower_boundary(
    times: Sequence[float], upper: Sequence[float], allowed: Sequence[float], drift: float
) -> tuple[float, ...] | None:
    """Lower bounds that spend what is allowed; the last is the upper one. None if they meet before."""
    walk, used, lower = _Walk(drift), 0.0, []
    for time, high, limit in zip(times[:-1], upper[:-1], allowed[:-1], strict=True):
        if walk.below(time, high) <= limit - used:
            return None
        bound = -_solve(partial(_below_minus, walk, time), limit - used)
        lower.append(bound)
        used += walk.below(time, bound)
        walk.go_on(time, bound, high)
    return (*lower, upper[-1])


def _below_minus(walk: _Walk, time: float, bound: float) -> float:
    return walk.below(time, -bound)
