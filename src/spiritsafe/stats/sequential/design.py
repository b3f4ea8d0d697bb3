"""When an exam may stop early: the rule that is agreed on before the sitting, and the boundaries that follow from it.

In: how often one looks and how the error rate is spent. Out: :class:`StopRule`, :class:`Boundaries`, and the smallest
true effect that the rule finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self, final

import scipy
from pydantic import Field, model_validator

from spiritsafe.core.records import Record
from spiritsafe.stats.sequential.boundaries import Spending, crossings, efficacy_boundary, futility_boundary


class StopRule(Record):
    """When the results are looked at, and how the error rate is spent over the looks.

    Attributes:
        num_problems: Of the whole paper: the sitting ends there at the latest.
        num_looks: Equally spaced looks, the last at the end.
        alpha: One-sided error rate of the claim, over all looks together.
        spending: Of alpha. "obrien-fleming": almost nothing early; "cubic": enough to notice gross differences.
        beta: Chance to give up on the smallest difference that the paper can show; None never gives up early. Giving up
            is optional (non-binding): going on nevertheless leaves the error rate as it is.
        futility_spending: Of beta.
    """

    num_problems: int = Field(ge=1)
    num_looks: int = Field(default=5, ge=1, le=100)
    alpha: float = Field(default=0.025, gt=0.0, lt=0.5)
    spending: Spending = "obrien-fleming"
    beta: float | None = Field(default=None, gt=0.0, lt=0.5)
    futility_spending: Spending = "quadratic"

    @model_validator(mode="after")
    def _one_problem_a_look(self) -> Self:
        if self.num_looks > self.num_problems:
            raise ValueError(f"{self.num_looks} looks at {self.num_problems} problems")
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """Problems answered at each look."""
        return tuple(round(self.num_problems * look / self.num_looks) for look in range(1, self.num_looks + 1))


def frequent_looks(num_problems: int, *, alpha: float = 0.025) -> StopRule:
    """A rule that stops sooner: a look after every 5 % of the paper, gross differences and hopeless cases end early.

    It finds a little less than the whole paper does (``bench/results`` has the figures), with half the answers.

    Args:
        num_problems: Of the whole paper.
        alpha: One-sided.
    """
    return StopRule(num_problems=num_problems, num_looks=min(20, num_problems), alpha=alpha, spending="cubic", beta=0.1)


@final
@dataclass(frozen=True)
class Boundaries:
    """A rule's boundaries for the normal score of the claim.

    Attributes:
        times_K: Looks as shares of the paper.
        upper_K: The claim is shown from here on.
        lower_K: It is given up from here on; None when the rule never gives up early.
    """

    times_K: tuple[float, ...]
    upper_K: tuple[float, ...]
    lower_K: tuple[float, ...] | None


@lru_cache(maxsize=256)
def boundaries(rule: StopRule) -> Boundaries:
    """The boundaries that follow from a rule."""
    times = tuple(look / rule.num_problems for look in rule.looks)
    upper = efficacy_boundary(times, alpha=rule.alpha, spending=rule.spending)
    if rule.beta is None:
        return Boundaries(times, upper, None)
    return Boundaries(times, upper, futility_boundary(times, upper, beta=rule.beta, spending=rule.futility_spending)[0])


def detectable_drift(rule: StopRule, *, power: float = 0.8) -> float:
    """The true distance from the margin, in standard errors of the whole paper, that is shown with this chance."""
    found = boundaries(rule)

    def excess(drift: float) -> float:
        return float(crossings(found.times_K, found.upper_K, found.lower_K, drift=drift).up_K.sum()) - power

    return float(scipy.optimize.brentq(excess, 0.0, 20.0, xtol=1e-10))


class BettingRule(Record):
    """Stop when the bets against the claim's contrary have won enough; see :mod:`spiritsafe.stats.sequential.betting`.

    The wealth is valid at every moment; it is looked at between equal parts of the paper, because answers come back in
    any order within one.

    Attributes:
        rule: Tells this rule from others.
        num_problems: Sealed problems of the paper: the sitting ends there at the latest.
        num_looks: Equal parts.
        alpha: One-sided level, over all moments together.
    """

    rule: Literal["betting"] = "betting"
    num_problems: int = Field(ge=1)
    num_looks: int = Field(default=20, ge=1, le=100)
    alpha: float = Field(default=0.025, gt=0.0, lt=0.5)

    @model_validator(mode="after")
    def _one_problem_a_look(self) -> Self:
        if self.num_looks > self.num_problems:
            raise ValueError(f"{self.num_looks} looks at {self.num_problems} problems")
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """Problems answered at each look."""
        return tuple(round(self.num_problems * look / self.num_looks) for look in range(1, self.num_looks + 1))
