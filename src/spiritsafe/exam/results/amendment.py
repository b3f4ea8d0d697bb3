"""Amending a result: the sitting's outcomes with the edited grades in their place, and every number computed again.

In: a result, edits in ledger order. Out: the amended result; and back again: from a re-issued certificate the result
that the ledger committed to, exactly. A stop rule ended the sitting by the grades as they were then: where the edited
ones would have it go on, the claim is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import ExamResult, Outcome
from spiritsafe.exam.records.review import GradeEdit, ResultNumbers
from spiritsafe.exam.results.scores import score_outcomes


def numbers_of(result: ExamResult) -> ResultNumbers:
    """The numbers of a result by themselves."""
    return ResultNumbers(**{name: getattr(result, name) for name in ResultNumbers.model_fields})


def _put(outcomes: Sequence[Outcome], edits: Sequence[GradeEdit], *, undo: bool) -> tuple[Outcome, ...]:
    found = {(outcome.index, outcome.sample_index): outcome for outcome in outcomes}
    for edit in reversed(edits) if undo else edits:
        place = (edit.index, edit.sample_index)
        old, new = (edit.before, edit.score_before), (edit.after, edit.score_after)
        if undo:
            old, new = new, old
        outcome = found.get(place)
        if outcome is None or (outcome.status, outcome.score) != old:
            raise IntegrityError(
                f"The edit of try {place[1]} at problem {place[0]} does not fit its grade.",
                hint="Ask the examiner for the complete list of edits.",
            )
        found[place] = outcome.model_copy(update={"status": new[0], "score": new[1]})
    return tuple(found.values())


def apply_edits(outcomes: Sequence[Outcome], edits: Sequence[GradeEdit]) -> tuple[Outcome, ...]:
    """The outcomes with edited grades, in the same order.

    Raises:
        IntegrityError: An edit is of another grade than the one it finds.
    """
    return _put(outcomes, edits, undo=False)


def original_result(certificate: Certificate) -> ExamResult:
    """The sitting's own result: what the ledger committed to.

    Raises:
        IntegrityError: The listed edits do not fit the result.
    """
    amendment = certificate.amendment
    if amendment is None:
        return certificate.result
    edits = [applied.edit for applied in amendment.edits]
    numbers = {name: getattr(amendment.original, name) for name in ResultNumbers.model_fields}
    outcomes = _put(certificate.result.outcomes, edits, undo=True)
    return certificate.result.model_copy(update={**numbers, "outcomes": outcomes})


def score_result(
    result: ExamResult, header: PaperHeader, registration: Registration, *, is_amended: bool
) -> ResultNumbers:
    """All numbers of a result, from its outcomes.

    Raises:
        IntegrityError: The claim's reference does not fit, or the sitting ended where its rule says to go on.
    """
    return score_outcomes(
        result.outcomes,
        header,
        registration,
        ending=result.ending,
        not_asked=result.not_asked,
        reference=result.reference,
        is_amended=is_amended,
    )


def amended_result(
    original: ExamResult, edits: Sequence[GradeEdit], header: PaperHeader, registration: Registration
) -> ExamResult:
    """The sitting's result with these edits, and every number that follows from them.

    Raises:
        IntegrityError: An edit does not fit the result.
    """
    edited = original.model_copy(update={"outcomes": apply_edits(original.outcomes, edits)})
    numbers = score_result(edited, header, registration, is_amended=True)
    return edited.model_copy(update={name: getattr(numbers, name) for name in ResultNumbers.model_fields})
