"""From outcomes to numbers. The sitting and everyone who verifies it run the same function.

In: the outcomes of all tries. Out: each half's accuracy with its interval, and the public-sealed gap with its test and
its meaning in plain words. Exercised by ``pytest tests/unit/exam/test_scoring.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final, get_args

from spiritsafe.core.certificates import Half, HalfResult, Outcome, OutcomeStatus, PaperHeader, Registration
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.core.stats import GapTest, korn_graubard_interval, public_sealed_gap, score_interval
from spiritsafe.exam.paper import public_indices

__all__ = ["LARGEST_UNSEEN_LEAK", "Scores", "check_complete", "gap_statement", "right_answers", "score_outcomes"]

LARGEST_UNSEEN_LEAK = 0.2
"""A paper that would miss a leak of this share of its public problems cannot rule studying out."""

_LEVEL = 0.05
_NOT_ANSWERED: tuple[OutcomeStatus, ...] = ("error", "unscored")


@final
@dataclass(frozen=True, slots=True)
class Scores:
    """The numbers of a result."""

    sealed: HalfResult
    public: HalfResult
    gap: GapTest
    gap_statement: str


def check_complete(outcomes: Sequence[Outcome], header: PaperHeader, num_tries: int) -> None:
    """Check that every try at every committed problem is there once, in order, and in its half.

    Raises:
        IntegrityError: One is missing, doubled or misplaced; the message names it.
    """
    public = set(public_indices(header.bank_root, header.num_problems, header.num_public))
    expected = [(index, sample) for index in range(header.num_problems) for sample in range(num_tries)]
    hint = "A result must account for every committed problem: ask the examiner for the complete one."
    if len(outcomes) != len(expected):
        raise IntegrityError(f"{len(outcomes)} outcomes for {len(expected)} committed tries.", hint=hint)
    for outcome, place in zip(outcomes, expected, strict=True):
        if (outcome.index, outcome.sample_index) != place:
            raise IntegrityError(f"Try {place[1]} at problem {place[0]} is missing or out of order.", hint=hint)
        if (outcome.half == "public") != (outcome.index in public):
            raise IntegrityError(f"Problem {outcome.index} is counted in the wrong half.", hint=hint)


def right_answers(outcomes: Sequence[Outcome], half: Half) -> list[int]:
    """Right answers for each problem of a half, in bank order."""
    right: dict[int, int] = {}
    for outcome in outcomes:
        if outcome.half == half:
            right[outcome.index] = right.get(outcome.index, 0) + (outcome.status == "correct")
    return [right[index] for index in sorted(right)]


def _half_result(outcomes: Sequence[Outcome], half: Half, num_tries: int) -> HalfResult:
    mine = [outcome for outcome in outcomes if outcome.half == half]
    counts: dict[OutcomeStatus, int] = dict.fromkeys(get_args(OutcomeStatus), 0)
    answered: dict[int, int] = {}
    right: dict[int, int] = {}
    for outcome in mine:
        counts[outcome.status] += 1
        if outcome.status not in _NOT_ANSWERED:
            answered[outcome.index] = answered.get(outcome.index, 0) + 1
            right[outcome.index] = right.get(outcome.index, 0) + (outcome.status == "correct")
    places = sorted(answered)
    return HalfResult(
        accuracy=score_interval(right_answers(outcomes, half), trials=num_tries),
        answered_accuracy=korn_graubard_interval([right[i] for i in places], [answered[i] for i in places])
        if places
        else None,
        mean_score=sum(outcome.score for outcome in mine) / len(mine),
        counts=counts,
    )


def gap_statement(gap: GapTest) -> str:
    """What the public-sealed test says, for people."""
    found = gap.smallest_leak
    if gap.p_value < _LEVEL:
        return (
            "A sign of studying: the public half went better than a random cut of one bank explains "
            f"(p = {gap.p_value:.2g}; 1 in 20 models that studied nothing is flagged too)."
        )
    if found is None:
        return "Cannot rule out studying: a paper of this size could miss even a full leak of the public half."
    if found > LARGEST_UNSEEN_LEAK:
        return (
            "Cannot rule out studying: a paper of this size finds only leaks of "
            f"{found:.0%} or more of the unsolved public problems (with 80 % power)."
        )
    return (
        f"No sign of studying (p = {gap.p_value:.2g}): a leak of {found:.0%} or more of the unsolved public problems "
        "would have been found with 80 % power."
    )


def score_outcomes(outcomes: Sequence[Outcome], header: PaperHeader, registration: Registration) -> Scores:
    """All numbers of a result, from its outcomes alone."""
    gap = public_sealed_gap(
        right_answers(outcomes, "public"),
        right_answers(outcomes, "sealed"),
        trials=registration.num_tries,
        seed=derive_seed("gap", header.bank_root),
    )
    return Scores(
        sealed=_half_result(outcomes, "sealed", registration.num_tries),
        public=_half_result(outcomes, "public", registration.num_tries),
        gap=gap,
        gap_statement=gap_statement(gap),
    )
