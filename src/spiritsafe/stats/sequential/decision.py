"""Stopping an exam early without cheating: looks fixed beforehand, an error rate that holds however often one looks.

In: a :class:`StopRule` agreed on before the sitting, what is claimed, and the answers so far in the paper's committed
random order. Out: :class:`SequentialResult`: stop or go on, the verdict, and an estimate that is valid at that moment.
Two models are compared problem by problem (:func:`decide_difference`); one model is held against a threshold
(:func:`decide_score`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self, final

import scipy
from pydantic import Field, model_validator

from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.records import Record
from spiritsafe.stats.intervals import INTERVALS, Estimate, IntervalRule, refuse_counts
from spiritsafe.stats.sequential.boundaries import crossings
from spiritsafe.stats.sequential.design import StopRule, boundaries
from spiritsafe.stats.sequential.score_statistics import MarginEvidence, PairedEvidence, ScoreEvidence, Tail

LARGEST_MARGIN = 0.25
"""The error rates of paired claims were enumerated up to this margin."""

DecisionWord = Literal["better", "no worse", "reached", "not shown", "go on"]
StoppedBy = Literal["boundary", "futility", "end"]

_EDGE = 1e-9  # means are searched for strictly inside the possible range
_LEAST_SPREAD = 1e-6  # of one problem's value: keeps a division finite when nothing varied


class PairedClaim(Record):
    """What is claimed of two models.

    Attributes:
        margin: The first is better than the second by more than this; None does not claim it.
        tolerance: The first is not worse than the second by this much or more; None does not claim it. With both, the
            sitting stops for the first claim, and the second is what remains when that is not shown (each at the full
            level: the hypotheses are nested).
    """

    margin: float | None = Field(default=0.0, ge=0.0, le=LARGEST_MARGIN)
    tolerance: float | None = Field(default=None, gt=0.0, le=LARGEST_MARGIN)

    @model_validator(mode="after")
    def _claims_something(self) -> Self:
        if self.margin is None and self.tolerance is None:
            raise ValueError("neither a margin nor a tolerance: nothing is claimed")
        return self


class SequentialResult(Record):
    """Where a sitting stands.

    Attributes:
        decision: "go on" until the rule stops.
        look: Number of the look that it was taken at; 0 before the first.
        num_used: Problems that it stands on; answers after the stop are not used.
        stopped_by: What ended it: the claim's boundary, futility, or the end of the paper.
        p_value: One-sided, of "the claim is false", in the stage-wise order; None until the rule stops.
        estimate: After the stop, the median-unbiased estimate with the stage-wise interval; before, the repeated
            confidence interval around what was observed, valid at all looks together. None before the first look.
        statement: The finding in plain words.
    """

    decision: DecisionWord
    look: int
    num_used: int
    num_problems: int
    stopped_by: StoppedBy | None
    p_value: float | None
    estimate: Estimate | None
    statement: str


@final
@dataclass(frozen=True)
class _Stand:
    """One look's evidence with what it is judged by."""

    rule: StopRule
    look: int  # counted from 0
    margin: float
    evidence: MarginEvidence

    def upper_tail(self, mean: float, tail: Tail, *, with_futility: bool) -> float:
        """P(a result at least as far up in the stage-wise order), if the mean were this.

        Stage-wise order: stopping earlier for the claim is further up, at the same look the larger statistic (Jennison
        & Turnbull 2000, §8.4). Boundaries of the earlier looks are moved to where they lie seen from ``mean``.
        """
        bounds, evidence = boundaries(self.rule), self.evidence
        spread = max(_LEAST_SPREAD, evidence.spread(mean))
        scale = max(_LEAST_SPREAD, evidence.scale(self.margin, mean))

        def moved(bound_K: tuple[float, ...]) -> list[float]:
            shifts = [(mean - self.margin) * seen**0.5 for seen in self.rule.looks[: self.look]]
            return [(bound * scale - shift) / spread for bound, shift in zip(bound_K, shifts, strict=False)]

        upper = [*moved(bounds.upper_K), evidence.z(mean, tail)]
        lower = [*moved(bounds.lower_K), -40.0] if with_futility and bounds.lower_K is not None else None
        return float(crossings(bounds.times_K[: self.look + 1], upper, lower).up_K.sum())

    def _mean_where(self, excess: Callable[[float], float]) -> float:
        """Where a rising function of the mean passes 0, or the end of the range on which it does not."""
        low, high = self.evidence.lowest + _EDGE, 1.0 - _EDGE
        if excess(low) >= 0:
            return self.evidence.lowest
        if excess(high) <= 0:
            return 1.0
        return float(scipy.optimize.brentq(excess, low, high, xtol=1e-10))

    def stagewise(self) -> Estimate:
        """Median-unbiased estimate with its interval; the lower limit holds whether or not futility was obeyed."""
        alpha = self.rule.alpha
        low = self._mean_where(lambda mean: self.upper_tail(mean, "upper", with_futility=False) - alpha)
        value = self._mean_where(lambda mean: self.upper_tail(mean, "middle", with_futility=True) - 0.5)
        high = self._mean_where(lambda mean: self.upper_tail(mean, "lower", with_futility=True) - (1 - alpha))
        return self._estimate(min(low, value), value, max(high, value), "stage-wise order")

    def repeated(self) -> Estimate:
        """Repeated confidence interval (Jennison & Turnbull 1989): the means that the boundary does not exclude."""
        bound, evidence = boundaries(self.rule).upper_K[self.look], self.evidence
        low = self._mean_where(lambda mean: bound - evidence.z(mean, "upper"))
        high = self._mean_where(lambda mean: -evidence.z(mean, "lower") - bound)
        value = evidence.value
        return self._estimate(min(low, value), value, max(high, value), "repeated confidence interval")

    def _estimate(self, low: float, value: float, high: float, method: str) -> Estimate:
        confidence = 1 - 2 * self.rule.alpha
        n = self.evidence.num_problems
        return Estimate(value=value, low=low, high=high, confidence=confidence, n=n, method=method)


def _stop(
    rule: StopRule, margin: float, num_seen: int, evidence_at: Callable[[int], MarginEvidence]
) -> tuple[_Stand | None, StoppedBy | None]:
    """The look at which the rule stops and why; else the last look so far, None before the first."""
    bounds, stand = boundaries(rule), None
    for look, seen in enumerate(rule.looks):
        if seen > num_seen:
            break
        stand = _Stand(rule, look, margin, evidence_at(seen))
        if stand.evidence.z(margin, "upper") >= bounds.upper_K[look]:
            return stand, "boundary"
        if seen == rule.num_problems:
            return stand, "end"
        if bounds.lower_K is not None and stand.evidence.z(margin, "middle") <= bounds.lower_K[look]:
            return stand, "futility"
    return stand, None


def _check_number(rule: StopRule, num_seen: int) -> None:
    if num_seen > rule.num_problems:
        raise ProcedureError(
            f"{num_seen} problems were answered, the rule is made for {rule.num_problems}.",
            hint="Pass the answers to this paper only, in its committed order.",
        )


@final
@dataclass(frozen=True)
class _Words:
    """How a finding is told."""

    claim: str
    number: Callable[[float], str]


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _result(
    rule: StopRule, stand: _Stand | None, stopped_by: StoppedBy | None, decision: DecisionWord, words: _Words
) -> SequentialResult:
    if stand is None:
        return SequentialResult(
            decision="go on",
            look=0,
            num_used=0,
            num_problems=rule.num_problems,
            stopped_by=None,
            p_value=None,
            estimate=None,
            statement=f"No look yet: the first is after {rule.looks[0]} of {rule.num_problems} problems.",
        )
    estimate = stand.repeated() if stopped_by is None else stand.stagewise()
    used = rule.looks[stand.look]
    low, high = words.number(estimate.low), words.number(estimate.high)
    verdict = {"go on": "is neither shown nor given up", "not shown": "is not shown"}.get(decision, "is shown")
    early = {None: "", "boundary": ", its boundary crossed", "futility": ", given up early", "end": ", the paper done"}
    return SequentialResult(
        decision=decision,
        look=stand.look + 1,
        num_used=used,
        num_problems=rule.num_problems,
        stopped_by=stopped_by,
        p_value=None if stopped_by is None else stand.upper_tail(stand.margin, "upper", with_futility=False),
        estimate=estimate,
        statement=f"“{words.claim}” {verdict} at look {stand.look + 1} of {rule.num_looks}, after {used} of "
        f"{rule.num_problems} problems{early[stopped_by]}. Estimate {words.number(estimate.value)} [{low}, {high}], "
        f"one-sided level {rule.alpha:g} over all looks.",
    )


def _claim_words(claim: PairedClaim, decision: DecisionWord) -> _Words:
    better = f"better by more than {100 * claim.margin:g} points" if claim.margin else "better"
    no_worse = f"not worse by {100 * (claim.tolerance or 0.0):g} points"
    if claim.margin is None or decision == "no worse":
        return _Words(no_worse, _points)
    if claim.tolerance is None or decision == "better":
        return _Words(better, _points)
    return _Words(f"{better}, or else {no_worse}", _points)


def decide_difference(
    rule: StopRule,
    claim: PairedClaim,
    first: Sequence[int],
    second: Sequence[int],
    *,
    trials: int = 1,
    intervals: IntervalRule = INTERVALS,
) -> SequentialResult:
    """Is the first model better than the second, or no worse, on what has been answered so far?

    The statistic is Tango's (1998) score statistic, corrected for discreteness
    (:func:`spiritsafe.stats.sequential.score_statistics.difference_z`,
    :func:`spiritsafe.stats.sequential.score_statistics.held_back`), which keeps the level for small papers too.

    Args:
        rule: Fixed before the sitting.
        claim: Fixed before the sitting.
        first: Right answers of the first model, one count in 0..trials a problem, in the committed random order.
        second: The same problems, second model.
        intervals: Which rule of :data:`~spiritsafe.stats.intervals.IntervalRule` was registered.

    Raises:
        NumericalError: The counts are impossible or the lists differ in length.
        ProcedureError: More problems than the rule has.
    """
    if len(first) != len(second):
        raise refuse_counts(f"{len(first)} problems against {len(second)}")
    _check_number(rule, len(first))

    def evidence(seen: int, margin: float) -> MarginEvidence:
        return PairedEvidence.of(first[:seen], second[:seen], trials=trials, margin=margin, intervals=intervals)

    goal = claim.margin if claim.margin is not None else -(claim.tolerance or 0.0)
    stand, stopped_by = _stop(rule, goal, len(first), lambda seen: evidence(seen, goal))
    decision: DecisionWord = "go on" if stopped_by is None else "not shown"
    if stopped_by == "boundary":
        decision = "no worse" if claim.margin is None else "better"
    elif stand is not None and stopped_by is not None and claim.tolerance is not None:
        remaining = evidence(rule.looks[stand.look], -claim.tolerance).z(-claim.tolerance, "upper")
        decision = "no worse" if remaining >= boundaries(rule).upper_K[stand.look] else "not shown"
    return _result(rule, stand, stopped_by, decision, _claim_words(claim, decision))


def decide_score(
    rule: StopRule, threshold: float, right: Sequence[int], *, trials: int = 1, intervals: IntervalRule = INTERVALS
) -> SequentialResult:
    """Is the model's score above a threshold, on what has been answered so far?

    The statistic is the normal score of the exact binomial tail (Clopper & Pearson 1934), on the effective number of
    answers (:func:`spiritsafe.stats.intervals.effective_sizes`) when problems are asked more than once: with one look
    the claim is shown exactly when the lower end of :func:`spiritsafe.stats.intervals.score_interval` is above the
    threshold.

    Args:
        rule: Fixed before the sitting.
        threshold: In (0, 1), fixed before the sitting.
        right: Right answers, one count in 0..trials a problem, in the committed random order.
        intervals: Which rule of :data:`~spiritsafe.stats.intervals.IntervalRule` was registered.

    Raises:
        NumericalError: The counts are impossible, or the threshold is.
        ProcedureError: More problems than the rule has.
    """
    if not 0 < threshold < 1:
        raise refuse_counts(f"a score of more than {threshold}")
    _check_number(rule, len(right))

    def evidence_at(seen: int) -> MarginEvidence:
        return ScoreEvidence.of(right[:seen], trials=trials, intervals=intervals)

    stand, stopped_by = _stop(rule, threshold, len(right), evidence_at)
    decision: DecisionWord = "go on" if stopped_by is None else "reached" if stopped_by == "boundary" else "not shown"
    return _result(rule, stand, stopped_by, decision, _Words(f"a score above {100 * threshold:g} %", _percent))
