"""Benchmarks of others: was a student that does well on one trained on it? Difference in differences.

In: a student's and some reference models' scores on a foreign benchmark and on clean fresh problems of the same kind.
Out: :class:`ForeignTest`. A foreign benchmark was not cut at random, so its problems may be harder or easier than fresh
ones: the gap alone says nothing. But that difference concerns all models. If the references studied neither set, their
gaps say what gap to expect of one model more, by a t prediction interval; what a student's gap has beyond that is its
own.

What it stands on: references that did not study the benchmark (one that did makes it find less), and that differ from
the student no more than from each other. The test is exact for normal gaps of equal spread; simulated sizes for binary
answers and difficulty shifts stand in ``docs/contamination.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import Field, model_validator
from scipy import special

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.records import Record
from spiritsafe.stats.intervals import Estimate, edge_of

_POWER = 0.8
_LARGEST_UNSEEN_LEAK = 0.2


class ForeignScores(Record):
    """One model's right answers on both sets.

    Attributes:
        foreign: Right answers on the foreign benchmark, of ``num_foreign``; with several tries, of all of them.
        fresh: The same on clean fresh problems.
    """

    foreign: int = Field(ge=0)
    num_foreign: int = Field(ge=1)
    fresh: int = Field(ge=0)
    num_fresh: int = Field(ge=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.foreign > self.num_foreign or self.fresh > self.num_fresh:
            raise ValueError("more right answers than answers")
        return self

    @property
    def gap(self) -> float:
        """Foreign score minus fresh score."""
        return self.foreign / self.num_foreign - self.fresh / self.num_fresh


class ForeignTest(Record):
    """A student's gap against those of references.

    Attributes:
        gap: The student's foreign score minus its fresh score.
        expected: Mean gap of the references.
        excess: ``gap`` minus ``expected``, with its t prediction interval.
        p_value: One-sided: how often a student like the references has such an excess, or a larger one.
        studied: Share of the foreign problems that it would not have solved by itself and studied; None where it would
            have solved all of them.
        smallest_leak: Smallest such share that the test finds with 80 % power; None when even a full one could go
            unnoticed.
    """

    gap: float
    expected: float
    excess: Estimate
    p_value: float
    studied: Estimate | None
    smallest_leak: float | None
    num_references: int = Field(ge=2)
    statement: str


def foreign_gap(
    student: ForeignScores, references: Sequence[ForeignScores], *, alpha: float = 0.05, confidence: float = 0.95
) -> ForeignTest:
    """Hold a student's gap against those of reference models that were asked the same problems.

    Args:
        references: At least two, better eight: models that did not study the benchmark.
        alpha: One-sided level.

    Raises:
        NumericalError: Fewer than two references, or they all have the very same gap, so that no spread can be told.
    """
    gaps = np.array([reference.gap for reference in references])
    if gaps.size < 2 or float(gaps.std()) < 1e-12:
        raise NumericalError(
            f"{gaps.size} reference models show no spread of gaps.", hint="Give at least two models that differ."
        )
    expected = float(gaps.mean())
    degrees = gaps.size - 1
    # Prediction of one more observation: its own noise, and that of the mean (Hahn & Meeker 1991, section 4.8).
    error = float(gaps.std(ddof=1)) * math.sqrt(1 + 1 / gaps.size)
    excess = student.gap - expected
    reach = float(special.stdtrit(degrees, 0.5 + confidence / 2)) * error
    p_value = float(special.stdtr(degrees, -excess / error))
    alone = student.foreign / student.num_foreign - excess  # what it would have scored without its excess
    estimate = Estimate(
        value=excess,
        low=excess - reach,
        high=excess + reach,
        confidence=confidence,
        n=student.num_foreign + student.num_fresh,
        method=f"t prediction interval from {gaps.size} references",
    )
    leak = _smallest_leak(alone, error, degrees, alpha)
    studied = _share(student.foreign / student.num_foreign, estimate)
    return ForeignTest(
        gap=student.gap,
        expected=expected,
        excess=estimate,
        p_value=p_value,
        studied=studied,
        smallest_leak=leak,
        num_references=gaps.size,
        statement=_statement(estimate, p_value, studied, leak, gaps.size, alpha),
    )


def _share(score: float, excess: Estimate) -> Estimate | None:
    """A share λ of what it would not have solved lifts its score from s to s + λ (1 - s): λ grows with the excess."""

    def share(lifted: float) -> float:
        unsolved = 1 - (score - lifted)
        return min(1.0, max(0.0, lifted / unsolved)) if unsolved > 0 else 0.0

    if 1 - (score - excess.value) <= 0:
        return None
    return excess.model_copy(
        update={"value": share(excess.value), "low": share(excess.low), "high": share(excess.high)}
    )


def _smallest_leak(alone: float, error: float, degrees: int, alpha: float) -> float | None:
    """By the non-central t distribution, the references' spread taken as it is."""
    unsolved = 1 - min(1.0, max(0.0, alone))
    critical = float(special.stdtrit(degrees, 1 - alpha))

    def found(leak: float) -> bool:
        return 1 - float(special.nctdtr(degrees, leak * unsolved / error, critical)) >= _POWER

    if not found(1.0):
        return None
    return edge_of(found, 1.0, 0.0)


def _statement(
    excess: Estimate, p_value: float, studied: Estimate | None, leak: float | None, num_references: int, alpha: float
) -> str:
    span = f"{100 * excess.value:+.1f} points ({100 * excess.low:+.1f} to {100 * excess.high:+.1f})"
    against = f"beyond the gap of {num_references} reference models"
    if p_value < alpha:
        share = f"; share studied: {studied.value:.0%} ({studied.low:.0%} to {studied.high:.0%})" if studied else ""
        return f"A sign of studying the foreign benchmark: {span} {against} (p = {p_value:.2g}){share}."
    if leak is None:
        return (
            f"Cannot rule out studying: {span} {against}, and even a full leak could go unnoticed with so few or so "
            "different references."
        )
    if leak > _LARGEST_UNSEEN_LEAK:
        return (
            f"Cannot rule out studying: {span} {against}; only leaks of {leak:.0%} or more of the unsolved problems "
            "would be found (with 80 % power)."
        )
    return (
        f"No sign of studying the foreign benchmark: {span} {against} (p = {p_value:.2g}); a leak of {leak:.0%} or "
        "more of the unsolved problems would have been found with 80 % power."
    )
