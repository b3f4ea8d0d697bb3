"""Where the test of a claim stands: what was answered, and what a look at it says.

In: right answers of the sealed problems asked so far, in asking order. Out: :class:`Stand`. The statistics are
:mod:`spiritsafe.stats.sequential.decision`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, TypedDict, final

from spiritsafe.exam.records.registration import Claim
from spiritsafe.stats import (
    Estimate,
    IntervalRule,
    PairedClaim,
    StopRule,
    decide_difference,
    decide_score,
    paired_difference,
    score_interval,
)


@final
@dataclass(frozen=True, slots=True)
class Stand:
    """Where a test stands at a look; ``p_value`` is None where the rule says to go on and has none."""

    look: int
    is_over: bool
    is_shown: bool
    p_value: float | None
    estimate: Estimate
    statement: str


class _How(TypedDict):
    """How answers are counted by all statistics of a claim."""

    trials: int
    intervals: IntervalRule


@final
@dataclass(frozen=True, slots=True)
class ClaimAnswers:
    """A claim, and the right answers of the sealed problems asked so far, in asking order.

    Attributes:
        theirs: The reference's right answers to the same problems.
    """

    claim: Claim
    right: list[int]
    theirs: list[int] | None
    num_tries: int
    intervals: IntervalRule

    def first(self, count: int) -> Self:
        """The first so many of them."""
        return replace(self, right=self.right[:count], theirs=self.theirs and self.theirs[:count])

    @property
    def how(self) -> _How:
        """How they are counted."""
        return {"trials": self.num_tries, "intervals": self.intervals}

    def plain_estimate(self) -> Estimate:
        """Of what was asked, without regard to why it ended."""
        if not self.right:
            low = 0.0 if self.theirs is None else -1.0
            return Estimate(value=0.0, low=low, high=1.0, confidence=0.95, n=0, method="nothing asked")
        if self.theirs is None:
            return score_interval(self.right, **self.how)
        return paired_difference(self.right, self.theirs, **self.how).difference


def stand_at_look(rule: StopRule, answers: ClaimAnswers) -> Stand | None:
    """Where the test stands by a rule of looks."""
    claim, right, theirs = answers.claim, answers.right, answers.theirs
    if claim.score is not None or theirs is None:
        found = decide_score(rule, claim.score or 0.0, right, **answers.how)
    elif claim.kind == "better than":
        found = decide_difference(rule, PairedClaim(margin=claim.margin), right, theirs, **answers.how)
    else:
        no_worse = PairedClaim(margin=None, tolerance=claim.margin)
        found = decide_difference(rule, no_worse, right, theirs, **answers.how)
    if found.estimate is None:
        return None
    is_shown = found.decision not in ("go on", "not shown")
    return Stand(found.look, found.stopped_by is not None, is_shown, found.p_value, found.estimate, found.statement)
