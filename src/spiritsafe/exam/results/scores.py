"""From outcomes to numbers. The sitting and everyone who verifies it run the same function.

In: the outcomes of all tries, and what was not asked. Out: each half's accuracy with its interval, the public-sealed
gap with its test and its meaning in plain words, the twins' numbers, and what the sitting says of its claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.paper.split import halves, num_places, stratum_ranges
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import Ending, Half, HalfResult, Outcome, ReferenceScores
from spiritsafe.exam.records.review import ResultNumbers
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.exam.results.claims import decide
from spiritsafe.stats import (
    Estimate,
    GapTest,
    IntervalRule,
    gain_gap,
    korn_graubard_interval,
    public_sealed_gap,
    score_interval,
    share_studied,
    studied_statement,
)

LARGEST_UNSEEN_LEAK = 0.2
"""A paper that would miss a leak of this share of its public problems cannot rule studying out."""

_UNFOUNDED = "The numbers of the {} do not follow from the outcomes.".format
NUMBERS = {
    "sealed": _UNFOUNDED("sealed half"),
    "public": _UNFOUNDED("public half"),
    "gap": _UNFOUNDED("public-sealed gap"),
    "twins": _UNFOUNDED("twins"),
    "memory": _UNFOUNDED("comparison with the twins"),
    "decision": _UNFOUNDED("decision"),
    "predicted": _UNFOUNDED("predicted score"),
    "studied": _UNFOUNDED("share studied"),
    "gap_statement": "The gap's statement does not follow from its numbers.",
    "memory_statement": "The twins' statement does not follow from their numbers.",
    "studied_statement": "The statement of the share studied does not follow from its numbers.",
}
"""The fields of ResultNumbers in the order in which a verifier compares them, and what it says where one differs."""

_LEVEL = 0.05
_NOT_ANSWERED: tuple[OutcomeStatus, ...] = ("error", "unscored")


def check_complete(
    outcomes: Sequence[Outcome], header: PaperHeader, num_tries: int, not_asked: Sequence[int] = ()
) -> None:
    """Check that every try at every committed problem is there once, in order and in its half, or not asked.

    Raises:
        IntegrityError: One is missing, doubled or misplaced; the message names it.
    """
    kinds, left_out = halves(header), set(not_asked)
    hint = "A result must account for every committed problem: ask the examiner for the complete one."
    if list(not_asked) != sorted(left_out) or not all(0 <= place < num_places(header) for place in left_out):
        raise IntegrityError("The list of problems that were not asked is malformed.", hint=hint)
    expected = [(p, sample) for p in range(num_places(header)) if p not in left_out for sample in range(num_tries)]
    if len(outcomes) != len(expected):
        raise IntegrityError(f"{len(outcomes)} outcomes for {len(expected)} committed tries.", hint=hint)
    for outcome, place in zip(outcomes, expected, strict=True):
        if (outcome.index, outcome.sample_index) != place:
            raise IntegrityError(f"Try {place[1]} at problem {place[0]} is missing or out of order.", hint=hint)
        if outcome.half != kinds[outcome.index]:
            raise IntegrityError(f"Problem {outcome.index} is counted in the wrong half.", hint=hint)


def right_by_place(outcomes: Sequence[Outcome]) -> dict[int, int]:
    """Right answers of each problem that was asked, by place."""
    right: dict[int, int] = {}
    for outcome in outcomes:
        right[outcome.index] = right.get(outcome.index, 0) + (outcome.status == "correct")
    return right


def right_answers(outcomes: Sequence[Outcome], half: Half) -> list[int]:
    """Right answers for each problem of a half, in bank order."""
    right = right_by_place([outcome for outcome in outcomes if outcome.half == half])
    return [right[index] for index in sorted(right)]


def right_by_stratum(outcomes: Sequence[Outcome], header: PaperHeader, half: Half) -> dict[str, list[int]]:
    """Right answers for each problem of a half that was asked, by the name of its stratum, in bank order."""
    right = right_by_place([outcome for outcome in outcomes if outcome.half == half])
    return {
        stratum.name: [right[place] for place in places if place in right] for stratum, places in stratum_ranges(header)
    }


def _nothing(low: float, method: str) -> Estimate:
    """What is known of a share, or a difference of shares, of which nothing was asked."""
    return Estimate(value=0.0, low=low, high=1.0, confidence=0.95, n=0, method=method)


def _accuracy(right: Sequence[int], num_tries: int, num_looks: int, intervals: IntervalRule) -> Estimate:
    """With an interval that holds at every look at once (Bonferroni), whatever the rule stopped for."""
    if not right:
        return _nothing(0.0, "nothing asked")
    if num_looks == 1:
        return score_interval(right, trials=num_tries, intervals=intervals)
    estimate = score_interval(right, trials=num_tries, confidence=1 - _LEVEL / num_looks, intervals=intervals)
    return estimate.model_copy(
        update={"confidence": 1 - _LEVEL, "method": f"{estimate.method}, at all {num_looks} looks at once"}
    )


def _half_result(
    outcomes: Sequence[Outcome], half: Half, registration: Registration, *, num_looks: int, num_not_asked: int
) -> HalfResult:
    intervals = registration.intervals
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
        accuracy=_accuracy(right_answers(outcomes, half), registration.num_tries, num_looks, intervals),
        answered_accuracy=korn_graubard_interval(
            [right[i] for i in places], [answered[i] for i in places], intervals=intervals
        )
        if places
        else None,
        mean_score=sum(outcome.score for outcome in mine) / len(mine) if mine else 0.0,
        counts=counts,
        num_not_asked=num_not_asked,
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


def memory_statement(memory: GapTest) -> str:
    """What the comparison with the twins says, for people."""
    span = f"{100 * memory.gap.value:+.1f} points ({100 * memory.gap.low:+.1f} to {100 * memory.gap.high:+.1f})"
    if memory.p_value < _LEVEL:
        return (
            f"A sign of memory: against their own twins the public problems went {span} better than the sealed ones "
            f"(p = {memory.p_value:.2g}); the very texts were known, not only the kind of problem."
        )
    return f"No sign of memory of the very texts: against their own twins, public minus sealed is {span}."


def score_outcomes(
    outcomes: Sequence[Outcome],
    header: PaperHeader,
    registration: Registration,
    *,
    ending: Ending = "complete",
    not_asked: Sequence[int] = (),
    reference: ReferenceScores | None = None,
    is_amended: bool = False,
) -> ResultNumbers:
    """All numbers of a result, from its outcomes and what it was registered for.

    Args:
        outcomes: Of all tries that were asked.
        is_amended: The grades are not those by which the sitting ended.

    Raises:
        IntegrityError: The claim's reference is missing or does not fit the paper.
    """
    design = design_of(registration, header)
    num_looks, kinds, right = design.num_looks, halves(header), right_by_place(outcomes)
    left_out = [kinds[place] for place in not_asked]
    parts = {
        half: _half_result(outcomes, half, registration, num_looks=num_looks, num_not_asked=left_out.count(half))
        for half in ("public", "sealed", "twin")
        if half != "twin" or header.num_twins
    }
    decision = decide(right, design, ending=ending, reference=reference, is_amended=is_amended)
    gap = _gap(outcomes, header, registration, num_looks)
    memory = _memory(outcomes, header, registration, num_looks) if header.num_twins else None
    studied = _studied(outcomes, registration, num_looks)
    return ResultNumbers(
        sealed=design.sealed_result(parts["sealed"], decision),
        public=parts["public"],
        gap=gap,
        gap_statement=design.not_tested or gap_statement(gap),
        twins=parts.get("twin"),
        memory=memory,
        memory_statement=memory_statement(memory) if memory else "",
        decision=decision,
        studied=studied,
        studied_statement=studied_statement(studied) if studied else "",
        predicted=design.predict(right),
    )


def _studied(outcomes: Sequence[Outcome], registration: Registration, num_looks: int) -> Estimate | None:
    """With an interval that holds at every look at once."""
    public, sealed = right_answers(outcomes, "public"), right_answers(outcomes, "sealed")
    if not public or not sealed:
        return None
    studied = share_studied(
        public,
        sealed,
        trials=registration.num_tries,
        confidence=1 - _LEVEL / num_looks,
        intervals=registration.intervals,
    )
    if studied is None or num_looks == 1:
        return studied
    return studied.model_copy(
        update={"confidence": 1 - _LEVEL, "method": f"{studied.method}, at all {num_looks} looks at once"}
    )


def studied_of(outcomes: Sequence[Outcome], registration: Registration, header: PaperHeader) -> str:
    """The share studied in plain words, from the outcomes alone; empty where there is none."""
    studied = _studied(outcomes, registration, design_of(registration, header).num_looks)
    return studied_statement(studied) if studied else ""


def _strata(header: PaperHeader, public: Sequence[int], sealed: Sequence[int]) -> tuple[list[str], list[str]] | None:
    """Names of the strata of these places; None when the bank is one."""
    if not header.strata:
        return None
    names = [stratum.name for stratum, places in stratum_ranges(header) for _ in places]
    return [names[place] for place in public], [names[place] for place in sealed]


def strata_of_halves(header: PaperHeader) -> tuple[list[str], list[str]] | None:
    """Strata of the public and of the sealed problems, in bank order; None when the bank is one."""
    return _strata(header, *_sides(dict.fromkeys(range(header.num_problems), 0), header))


def _sides(right: dict[int, int], header: PaperHeader) -> tuple[list[int], list[int]]:
    """Places of the public and of the sealed problems that were asked."""
    kinds = halves(header)
    public, sealed = ([place for place in sorted(right) if kinds[place] == half] for half in ("public", "sealed"))
    return public, sealed


def _untestable() -> GapTest:
    return GapTest(gap=_nothing(-1.0, "nothing asked"), p_value=1.0, smallest_leak=None, num_draws=0, test="none")


def _gap(outcomes: Sequence[Outcome], header: PaperHeader, registration: Registration, num_looks: int) -> GapTest:
    right = right_by_place(outcomes)
    public, sealed = _sides(right, header)
    if not public or not sealed:
        return _untestable()
    return public_sealed_gap(
        [right[place] for place in public],
        [right[place] for place in sealed],
        trials=registration.num_tries,
        seed=derive_seed("gap", header.bank_root),
        strata=_strata(header, public, sealed),
        num_looks=num_looks,
        intervals=registration.intervals,
    )


def _memory(outcomes: Sequence[Outcome], header: PaperHeader, registration: Registration, num_looks: int) -> GapTest:
    """Original minus twin, public minus sealed: the twins' own difficulty drops out."""
    right = right_by_place(outcomes)
    public, sealed = _sides(right, header)
    if not public or not sealed:
        return _untestable()

    def pairs(places: Sequence[int]) -> tuple[list[int], list[int]]:
        return [right[place] for place in places], [right[place + header.num_problems] for place in places]

    return gain_gap(
        pairs(public),
        pairs(sealed),
        trials=registration.num_tries,
        seed=derive_seed("memory", header.bank_root),
        strata=_strata(header, public, sealed),
        num_looks=num_looks,
        intervals=registration.intervals,
    )
