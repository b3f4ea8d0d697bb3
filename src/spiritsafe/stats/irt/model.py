"""How difficult the problems of a bank are, learned from past sittings: item response theory.

In: right answers of many students to the same problems. Out: :class:`ItemBank` (difficulty and discrimination of each
problem), abilities with standard errors, and how much a problem tells about a student (Fisher information).
:mod:`spiritsafe.stats.irt.selection` makes shorter papers of it.

Shapes: S students, I problems, Q quadrature points of the ability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from scipy import special

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.records import Record
from spiritsafe.stats.intervals import Floats

LEAST_SITTINGS_2PL = 100
"""Below this many sittings every problem gets the same discrimination: single ones would be noise."""

_POINTS_Q = np.linspace(-5.0, 5.0, 61)
_WEIGHTS_Q = np.exp(-0.5 * _POINTS_Q**2) / np.exp(-0.5 * _POINTS_Q**2).sum()
_SLOPE_SD = 0.5  # of the prior of log discrimination, around 0
_INTERCEPT_SD = 3.0  # of the prior of -discrimination × difficulty, around 0
ABILITY_SD = 2.0
"""Standard deviation of the prior of a new student: wider than that of past ones, so that it hardly shrinks."""

ABILITY_GRID = np.linspace(-8.0, 8.0, 641)
"""Where a new student's ability is looked for."""

_ROUNDS = 2000
_CONVERGED = 1e-5
_LONGEST_STEP = 1.0


class ItemBank(Record):
    """Problems as past sittings show them: a student of ability θ is right with chance 1 / (1 + exp(-a (θ - b))).

    Attributes:
        names: One a problem.
        difficulties: b: the ability at which half of the answers are right; 0 is the middle of past students, 1 their
            standard deviation.
        discriminations: a: how sharply the problem tells weaker from stronger students.
        model: "rasch": one discrimination for all problems; "2pl": each its own.
        num_sittings: Students it was learned from.
    """

    names: tuple[str, ...] = Field(min_length=1)
    difficulties: tuple[float, ...]
    discriminations: tuple[float, ...]
    model: Literal["rasch", "2pl"]
    num_sittings: int = Field(ge=1)

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if not len(self.names) == len(self.difficulties) == len(self.discriminations):
            raise ValueError("names, difficulties and discriminations differ in length")
        return self


class Ability(Record):
    """A student's ability on the scale of a bank, with its standard error (of the posterior)."""

    value: float
    standard_error: float


def chances(bank: ItemBank, abilities: npt.ArrayLike) -> Floats:
    """Chance of a right answer, one row an ability, one column a problem (Birnbaum 1968)."""
    at = np.asarray(abilities, dtype=np.float64)[..., None]
    return np.asarray(special.expit(np.array(bank.discriminations) * (at - np.array(bank.difficulties))))


def information(bank: ItemBank, abilities: npt.ArrayLike) -> Floats:
    """Fisher information of one answer about the ability: a² p (1 - p), shape as :func:`chances`."""
    right = chances(bank, abilities)
    return np.asarray(np.square(bank.discriminations) * right * (1 - right))


def _check(right: npt.ArrayLike, asked: npt.ArrayLike) -> tuple[Floats, Floats]:
    r, n = np.asarray(right, dtype=np.float64), np.asarray(asked, dtype=np.float64)
    n = np.broadcast_to(n, r.shape)
    if r.size == 0 or (r < 0).any() or (r > n).any():
        raise NumericalError(
            "No difficulties for these counts.", hint="Give right answers between 0 and the times asked, at least one."
        )
    return r, n


def ability_posterior(bank: ItemBank, right: npt.ArrayLike, asked: npt.ArrayLike = 1) -> Floats:
    """How likely each ability of :data:`ABILITY_GRID` is after these answers (normal prior, mean 0, deviation 2).

    Which problems were asked may depend on the answers to earlier ones (adaptive papers): the likelihood is the same.

    Args:
        right: Right answers, one count a problem.
        asked: Times each problem was asked; 0 for those that were not.

    Raises:
        NumericalError: The counts are impossible.
    """
    r_I, n_I = _check(right, asked)
    if r_I.shape != (len(bank.names),):
        raise NumericalError(f"{r_I.size} counts for {len(bank.names)} problems.", hint="Give one count a problem.")
    was_asked = n_I > 0
    slopes, centres = np.array(bank.discriminations)[was_asked], np.array(bank.difficulties)[was_asked]
    logits = slopes * (ABILITY_GRID[:, None] - centres)
    # log of the chance to be wrong is that of being right minus the logit
    logs = special.log_expit(logits) @ n_I[was_asked] - logits @ (n_I - r_I)[was_asked]
    logs -= 0.5 * (ABILITY_GRID / ABILITY_SD) ** 2
    posterior = np.exp(logs - logs.max())
    return np.asarray(posterior / posterior.sum())


def estimate_ability(bank: ItemBank, right: npt.ArrayLike, asked: npt.ArrayLike = 1) -> Ability:
    """Mean and standard deviation of :func:`ability_posterior`, whose arguments and errors it has."""
    posterior = ability_posterior(bank, right, asked)
    mean = float(posterior @ ABILITY_GRID)
    return Ability(value=mean, standard_error=float(np.sqrt(posterior @ (ABILITY_GRID - mean) ** 2)))


def fit_items(
    right_SI: npt.ArrayLike,
    asked_SI: npt.ArrayLike = 1,
    *,
    names: Sequence[str] | None = None,
    model: Literal["auto", "rasch", "2pl"] = "auto",
) -> ItemBank:
    """Learn difficulties (and discriminations, when there are enough sittings) from past sittings.

    Marginal maximum a posteriori: abilities are integrated out over a standard normal by the EM algorithm (Bock &
    Aitkin 1981), with priors log a ~ N(0, 0.5²) and -a b ~ N(0, 3²) (Mislevy 1986), so that problems that everybody
    or nobody solved stay finite.

    Args:
        right_SI: Right answers, one row a student, one column a problem.
        asked_SI: Times asked; 0 where a student did not get a problem.
        model: "auto": "2pl" from :data:`LEAST_SITTINGS_2PL` sittings on, else "rasch".

    Raises:
        NumericalError: The counts are impossible.
    """
    right, asked = _check(right_SI, asked_SI)
    if right.ndim != 2 or (names is not None and len(names) != right.shape[1]):
        raise NumericalError(
            "Counts and names do not fit.", hint="Give one row a student, one column and name a problem."
        )
    chosen = model if model != "auto" else "2pl" if right.shape[0] >= LEAST_SITTINGS_2PL else "rasch"
    share = (right.sum(axis=0) + 0.5) / (asked.sum(axis=0) + 1)
    slope_I, intercept_I = np.zeros(right.shape[1]), np.asarray(special.logit(share))
    for _ in range(_ROUNDS):
        expected = _expect(right, asked, slope_I, intercept_I)
        step_slope, step_intercept = _maximise(*expected, slope_I, intercept_I, shared=chosen == "rasch")
        slope_I, intercept_I = slope_I + step_slope, intercept_I + step_intercept
        if max(np.abs(step_slope).max(), np.abs(step_intercept).max()) < _CONVERGED:
            break
    slopes = np.exp(slope_I)
    return ItemBank(
        names=tuple(names) if names is not None else tuple(str(place) for place in range(right.shape[1])),
        difficulties=tuple((-intercept_I / slopes).tolist()),
        discriminations=tuple(slopes.tolist()),
        model=chosen,
        num_sittings=right.shape[0],
    )


def _expect(right: Floats, asked: Floats, slope_I: Floats, intercept_I: Floats) -> tuple[Floats, Floats]:
    """Expected right answers and answers at each ability, shapes (Q, I)."""
    logits_QI = np.exp(slope_I) * _POINTS_Q[:, None] + intercept_I
    logs_SQ = right @ special.log_expit(logits_QI).T + (asked - right) @ special.log_expit(-logits_QI).T
    logs_SQ += np.log(_WEIGHTS_Q)
    posterior_SQ = np.exp(logs_SQ - special.logsumexp(logs_SQ, axis=1, keepdims=True))
    return posterior_SQ.T @ right, posterior_SQ.T @ asked


def _maximise(
    right_QI: Floats, asked_QI: Floats, slope_I: Floats, intercept_I: Floats, *, shared: bool
) -> tuple[Floats, Floats]:
    """One Fisher scoring step in (log a, -a b), for each problem or with one slope for all."""
    a_I = np.exp(slope_I)
    p_QI = special.expit(a_I * _POINTS_Q[:, None] + intercept_I)
    residual, weight = right_QI - asked_QI * p_QI, asked_QI * p_QI * (1 - p_QI)
    prior = 1.0 if not shared else 1.0 / slope_I.size  # one prior for one slope
    by_slope = a_I * (_POINTS_Q @ residual) - prior * slope_I / _SLOPE_SD**2
    by_intercept = residual.sum(axis=0) - intercept_I / _INTERCEPT_SD**2
    slope_slope = a_I**2 * (_POINTS_Q**2 @ weight) + prior / _SLOPE_SD**2
    slope_intercept = a_I * (_POINTS_Q @ weight)
    intercept_intercept = weight.sum(axis=0) + 1 / _INTERCEPT_SD**2
    # Eliminate the intercepts; what is left is one equation a problem, or their sum for a shared slope.
    left = slope_slope - slope_intercept**2 / intercept_intercept
    gain = by_slope - slope_intercept * by_intercept / intercept_intercept
    step_slope = np.full(slope_I.size, gain.sum() / left.sum()) if shared else gain / left
    step_slope = np.clip(step_slope, -_LONGEST_STEP, _LONGEST_STEP)
    step_intercept = (by_intercept - slope_intercept * step_slope) / intercept_intercept
    return step_slope, np.clip(step_intercept, -_LONGEST_STEP, _LONGEST_STEP)
