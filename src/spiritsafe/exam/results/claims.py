"""Deciding a claim: what the registered test says, and at which look.

In: right answers by place, a paper's header, a registration, the reference's answers. Out: a
:class:`~spiritsafe.exam.records.result.Decision`. The sealed half decides, in the paper's own random order; the
statistics are :mod:`spiritsafe.stats.sequential.decision`'s and :mod:`spiritsafe.stats.sequential.betting`'s. The
sitting asks :func:`stops_at` at each look, and so does who verifies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, final

from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.paper.split import asking_order, halves
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Claim, Registration
from spiritsafe.exam.records.result import Decision, Ending, Finding, ReferenceScores
from spiritsafe.exam.results.reach import Reach
from spiritsafe.stats import (
    BettingRule,
    Estimate,
    IntervalRule,
    PairedClaim,
    StopRule,
    bet_on_difference,
    bet_on_score,
    decide_difference,
    decide_score,
    paired_difference,
    score_interval,
)


def check_reached(reference: Certificate) -> None:
    """A model that was not reached is no reference.

    Raises:
        ProcedureError: Too many of its tries failed.
    """
    reach = Reach.of(outcome.status for outcome in reference.result.outcomes)
    if not reach.is_enough:
        raise ProcedureError(
            f"The reference {quoted_name(reference.result.model_name)} was not reached: {reach}.",
            hint="Register against a sitting that was answered; `exam withdraw` takes a registration back.",
        )


def reference_scores(
    header: PaperHeader, registration: Registration, certificate: Certificate | None
) -> ReferenceScores | None:
    """What the registered claim's reference answered on the sealed half; None when the claim compares with nothing.

    Raises:
        ProcedureError: The reference is missing, another one, of another paper or number of tries, or not complete.
    """
    claim = registration.claim
    if claim is None or claim.reference is None:
        if certificate is not None:
            raise ProcedureError("The registered claim compares with no other model.", hint="Leave the reference out.")
        return None
    if certificate is None:
        raise ProcedureError(
            "The registered claim compares with another model.", hint="Give that model's certificate as reference."
        )
    names = (certificate.content_digest, certificate.registration.content_digest)
    checks = (
        (claim.reference in names, "is not the registered one"),
        (certificate.paper.paper_id == header.paper_id, "is of another paper"),
        (certificate.registration.num_tries == registration.num_tries, "has another number of tries"),
        (not certificate.result.not_asked, "did not ask the whole paper"),
    )
    for good, message in checks:
        if not good:
            raise ProcedureError(
                f"The reference {quoted_name(certificate.result.model_name)} {message}.",
                hint="Register against a complete sitting of the same paper with as many tries.",
            )
    reach = Reach.of(outcome.status for outcome in certificate.result.outcomes)
    right: dict[int, int] = {}
    for outcome in certificate.result.outcomes:
        if outcome.half == "sealed":
            right[outcome.index] = right.get(outcome.index, 0) + (outcome.status == "correct")
    return ReferenceScores(
        certificate=names[0],
        registration=names[1],
        model_name=certificate.result.model_name,
        right=tuple(right[place] for place in sorted(right)),
        num_failed=reach.failed,
        num_outcomes=reach.tries,
    )


@final
@dataclass(frozen=True, slots=True)
class _Stand:
    """Where a test stands at a look; ``p_value`` is None where the rule says to go on and has none."""

    look: int
    is_over: bool
    is_shown: bool
    p_value: float | None
    estimate: Estimate
    statement: str


class _How(TypedDict):
    """How answers are counted by all statistics of a case."""

    trials: int
    intervals: IntervalRule


@final
@dataclass(frozen=True, slots=True)
class _Case:
    """A claim, its rule, and the right answers of the sealed problems asked so far, in asking order.

    Attributes:
        theirs: The reference's right answers to the same problems.
    """

    claim: Claim
    rule: StopRule | BettingRule
    right: list[int]
    theirs: list[int] | None
    num_tries: int
    intervals: IntervalRule

    def stand(self, count: int) -> _Stand | None:
        """Where the test stands after so many of them; None before the first look."""
        if count < self.rule.looks[0]:
            return None
        right, theirs = self.right[:count], self.theirs and self.theirs[:count]
        if isinstance(self.rule, BettingRule):
            return self._bets(self.rule, right, theirs)
        return self._looks(self.rule, right, theirs)

    def _looks(self, rule: StopRule, right: list[int], theirs: list[int] | None) -> _Stand | None:
        claim, how = self.claim, self._how()
        if claim.score is not None or theirs is None:
            found = decide_score(rule, claim.score or 0.0, right, **how)
        elif claim.kind == "better than":
            better = PairedClaim(margin=claim.margin)
            found = decide_difference(rule, better, right, theirs, **how)
        else:
            no_worse = PairedClaim(margin=None, tolerance=claim.margin)
            found = decide_difference(rule, no_worse, right, theirs, **how)
        if found.estimate is None:
            return None
        is_shown = found.decision not in ("go on", "not shown")
        return _Stand(
            found.look, found.stopped_by is not None, is_shown, found.p_value, found.estimate, found.statement
        )

    def _bets(self, rule: BettingRule, right: list[int], theirs: list[int] | None) -> _Stand:
        claim, num_tries = self.claim, self.num_tries
        if claim.score is not None or theirs is None:
            found = bet_on_score(right, claim.score or 0.0, trials=num_tries, alpha=rule.alpha)
        else:
            margin = claim.margin if claim.kind == "better than" else -claim.margin
            found = bet_on_difference(right, theirs, margin=margin, trials=num_tries, alpha=rule.alpha)
        look = sum(size <= len(right) for size in rule.looks)
        return _Stand(
            look=look,
            is_over=found.shown or len(right) == rule.num_problems,
            is_shown=found.shown,
            p_value=found.p_value,
            estimate=found.estimate,
            statement=f"Bets against the contrary multiplied their stake by {found.e_value:.3g} within "
            f"{found.num_used} problems; {1 / rule.alpha:g} shows the claim.",
        )

    def _how(self) -> _How:
        return {"trials": self.num_tries, "intervals": self.intervals}

    def plain_estimate(self) -> Estimate:
        """Of what was asked, without regard to why it ended."""
        if not self.right:
            low = 0.0 if self.theirs is None else -1.0
            return Estimate(value=0.0, low=low, high=1.0, confidence=0.95, n=0, method="nothing asked")
        if self.theirs is None:
            return score_interval(self.right, **self._how())
        return paired_difference(self.right, self.theirs, **self._how()).difference


def _case(
    right: Mapping[int, int], header: PaperHeader, registration: Registration, reference: ReferenceScores | None
) -> _Case | None:
    claim = registration.claim
    if claim is None:
        return None
    kinds = halves(header)
    sealed = [place for place in range(header.num_problems) if kinds[place] == "sealed"]
    asked = [p for p in asking_order(header, registration.stop) if kinds[p] == "sealed" and p in right]
    theirs: list[int] | None = None
    if (reference is None) != (claim.reference is None):
        raise IntegrityError("The claim's reference is missing, or not wanted.", hint="Ask the examiner about it.")
    if reference is not None:
        if len(reference.right) != len(sealed):
            raise IntegrityError("The reference's answers are not those of this paper.", hint="Ask for a good copy.")
        by_place = dict(zip(sealed, reference.right, strict=True))
        theirs = [by_place[place] for place in asked]
    rule = registration.stop or StopRule(num_problems=header.num_sealed, num_looks=1, alpha=claim.level)
    mine = [right[place] for place in asked]
    return _Case(claim, rule, mine, theirs, registration.num_tries, registration.intervals)


def stops_at(
    look: int,
    right: Mapping[int, int],
    header: PaperHeader,
    registration: Registration,
    reference: ReferenceScores | None,
) -> bool:
    """Whether the registered rule ends the sitting at a look (from 1), given the answers up to there.

    Args:
        look: Which.
        right: Right answers by place; those behind the look are not looked at.
        header: The paper's.
        registration: With its claim and rule.
        reference: The claim's.

    Raises:
        IntegrityError: The reference does not fit the paper.
    """
    case = _case(right, header, registration, reference)
    if case is None or registration.stop is None:
        return False
    stand = case.stand(case.rule.looks[look - 1])
    return stand is not None and stand.look == look and stand.is_over


def decide(
    right: Mapping[int, int],
    header: PaperHeader,
    registration: Registration,
    *,
    ending: Ending,
    reference: ReferenceScores | None,
    is_amended: bool = False,
) -> Decision | None:
    """What the sitting says of its claim; None without one.

    Args:
        right: Right answers of all problems that were asked, by place.
        header: The paper's.
        registration: With its claim and rule.
        ending: Why it ended; an exhausted budget decides nothing.
        reference: The claim's.
        is_amended: Grades were edited after the sitting: it ended by the grades before, and the rule may say
            otherwise now.

    Raises:
        IntegrityError: The reference does not fit the paper, or the rule says to go on.
    """
    case = _case(right, header, registration, reference)
    if case is None:
        return None
    stand = case.stand(len(case.right))
    words = f"Registered claim: {case.claim.words}."
    if ending == "budget exhausted":
        return Decision(
            finding="undecided",
            p_value=1.0,
            estimate=case.plain_estimate(),
            look=stand.look if stand else 1,
            num_looks=case.rule.num_looks,
            method="the budget ended the sitting",
            statement=f"{words} Undecided: the budget ended the sitting before the test could.",
        )
    if is_amended and (stand is None or stand.p_value is None or not stand.is_over):
        return Decision(
            finding="undecided",
            p_value=1.0,
            estimate=stand.estimate if stand else case.plain_estimate(),
            look=stand.look if stand else 1,
            num_looks=case.rule.num_looks,
            method="the rule would have gone on",
            statement=f"{words} Undecided: with the edited grades the rule would not have ended the sitting here.",
        )
    if stand is None or stand.p_value is None or not stand.is_over:
        raise IntegrityError(
            "The sitting ended where its rule says to go on.", hint="Ask the examiner why the sitting ended."
        )
    finding: Finding = "supported" if stand.is_shown else "not supported"
    return Decision(
        finding=finding,
        p_value=stand.p_value,
        estimate=stand.estimate,
        look=stand.look,
        num_looks=case.rule.num_looks,
        method=_method(registration.stop),
        statement=f"{words} By this sitting alone: {finding}. {stand.statement}",
    )


def _method(stop: StopRule | BettingRule | None) -> str:
    if stop is None:
        return "one look at the whole paper"
    if isinstance(stop, BettingRule):
        return f"betting, looked at {stop.num_looks} times"
    return f"{stop.num_looks} looks, {stop.spending} spending" + (", with futility" if stop.beta is not None else "")
