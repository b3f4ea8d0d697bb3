"""The steps of a verification about grades that were disputed and edited after the sitting.

In: the material of one verification. Out: a line of detail, or an :class:`IntegrityError` that says what is wrong. The
order of all steps stands in :mod:`spiritsafe.exam.verification.steps`.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.exam.entries.disputes import DisputeState, EditEntry, disputes_of, foreign_answers
from spiritsafe.exam.entries.edits import amendment_entries, applied_edits
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import ReissueEntry, ResultEntry
from spiritsafe.exam.records.review import Amendment
from spiritsafe.exam.results.amendment import original_result, score_result
from spiritsafe.exam.verification.case import Case, Facts, Found, NotGivenError, only, require, same

_MOST_TOLD = 10  # anybody can file disputes: a terminal is not filled with them
_MOST_WORDS = 200


def grade_edits(case: Case) -> str:
    """Edited grades answer disputes on record, by the examiner, and nothing but them was changed."""
    certificate = case.certificate
    header, digest, amendment = certificate.paper, certificate.result.registration, certificate.amendment
    if amendment is None:
        return "no grade was edited"
    _check_reissue(case, amendment)
    for applied in amendment.edits:
        edit = applied.edit
        shown = [EditEntry(entry) for entry in case.log.entries if entry.kind == EditEntry.kind]
        holding = [entry for entry in shown if entry.says(edit=edit.to_json())]
        require(bool(holding), f"The edit of problem {edit.index} has no ledger entry.")
        require(
            any(entry.key == header.examiner.signing for entry in holding),
            f"The edit of problem {edit.index} is not signed by the examiner.",
        )
    require(
        applied_edits(case.log, digest) == amendment.edits,
        "The listed edits are not those of the ledger entries, or say otherwise who made them, when or why.",
    )
    original = original_result(certificate)
    numbers = score_result(original, header, certificate.registration, is_amended=False)
    if original.studied is None:  # results of older versions do not have it
        numbers = numbers.model_copy(update={"studied": None, "studied_statement": ""})
    require(
        same(numbers.to_json(), amendment.original.to_json()),
        "The numbers before the edits do not follow from the grades before them.",
    )
    many = "1 grade" if len(amendment.edits) == 1 else f"{len(amendment.edits)} grades"
    return (
        f"{many} edited: {case.design.accuracy_name} {original.sealed.accuracy.value:.3f} before, "
        f"{certificate.result.sealed.accuracy.value:.3f} after"
    )


def _check_reissue(case: Case, amendment: Amendment) -> None:
    """The ledger committed to the amended result, after all of its edits."""
    result = case.certificate.result
    found = case.log.of(ReissueEntry, sitting=result.registration)
    require(len(found) == 1, f"The evidence has {len(found)} of the examiner's entries of kind reissue, not one.")
    p_value = result.decision.p_value if result.decision else None
    require(
        found[0].says(result=result.content_digest, supersedes=amendment.supersedes),
        "The ledger committed to another re-issued result.",
    )
    require(
        found[0].says(**case.design.ledger_scores(result), p_value=p_value, num_edits=len(amendment.edits)),
        "The ledger holds other scores of the re-issued result.",
    )
    first, edits = only(case.log, ResultEntry).index, case.log.of(EditEntry, sitting=result.registration)
    require(
        all(first < edit.index < found[0].index for edit in edits),
        "The steps are out of order: result, edits, re-issue.",
    )


def disputes(case: Case) -> Found:
    """No dispute and no edit was left out; what came later is told (needs the ledger)."""
    log = case.whole_log
    if log is None:
        raise NotGivenError("no ledger given; disputes, and newer certificates, are on record there")
    certificate = case.certificate
    digest, then = certificate.result.registration, log.before(certificate.head.size)
    reissued = then.of(ReissueEntry, sitting=digest)
    if certificate.amendment is not None:
        _check_complete(case, certificate.amendment, then)
    else:
        require(not reissued, "The certificate leaves out the grades that were edited before it was issued.")
    own = reissued[-1].index if reissued else -1
    newer = [entry for entry in log.of(ReissueEntry, sitting=digest) if entry.index > own]
    found = []
    if newer:
        found.append(_superseded(newer[-1]))
    states = disputes_of(log, digest)
    found.append(f"{len(states)} disputes on record" + (", " + _sorted_out(states) if states else ""))
    unanswered = [state for state in states if state.answer is None]
    found += [f"unanswered: {_words(state)}" for state in unanswered[:_MOST_TOLD]]
    if len(unanswered) > _MOST_TOLD:
        found.append(f"and {len(unanswered) - _MOST_TOLD} more unanswered")
    waiting = [e for e in log.of(EditEntry, sitting=digest) if e.index > (newer[-1].index if newer else own)]
    if waiting:
        places = ", ".join(str(entry.edit.index) for entry in waiting)
        found.append(f"grades edited since and not yet in a certificate: problem {places}")
    foreign = foreign_answers(log, digest)
    found += [
        f"ledger entry {other.entry.index} ({other.entry.kind}) is not the examiner's and counts for nothing"
        for other in foreign[:_MOST_TOLD]
    ]
    if len(foreign) > _MOST_TOLD:
        found.append(f"and {len(foreign) - _MOST_TOLD} more that are not the examiner's")
    return Found("; ".join(found), Facts(unsettled=bool(newer or unanswered or waiting)))


def _check_complete(case: Case, amendment: Amendment, then: PaperLog) -> None:
    digest = case.certificate.result.registration
    own = case.log.of(ReissueEntry, sitting=digest)[-1]
    listed = [applied.edit for applied in amendment.edits]
    for entry in then.of(EditEntry, sitting=digest):
        require(
            entry.index > own.index or entry.edit in listed,
            f"The re-issue leaves out the edit of problem {entry.edit.index} (ledger entry {entry.index}).",
        )
    shown = {entry.index for entry in case.log.entries}
    for other in amendment_entries(then, digest):
        require(other.index in shown, f"The re-issue leaves out ledger entry {other.index} ({other.kind}).")


def _superseded(entry: ReissueEntry) -> str:
    accuracy, predicted = entry.share("sealed_accuracy"), entry.share("predicted_score")
    score = f", sealed accuracy {accuracy:.3f}" if accuracy is not None else ""
    if predicted is not None:
        score = f", predicted score {predicted:.3f}"
    return f"SUPERSEDED by a re-issue of {entry.time} (ledger entry {entry.index}, grades edited{score})"


def _sorted_out(states: Sequence[DisputeState]) -> str:
    rejected = sum(state.is_rejected for state in states)
    waiting = sum(state.answer is None for state in states)
    return f"{len(states) - rejected - waiting} accepted, {rejected} rejected, {waiting} unanswered"


def _words(state: DisputeState) -> str:
    dispute = state.dispute
    return (
        f"problem {dispute.index}, try {dispute.sample_index}, {dispute.graded} → {dispute.proposed}, by "
        f"{dispute.author.label} on {state.entry.time} ({state.digest}): {dispute.reason[:_MOST_WORDS]}"
    )
