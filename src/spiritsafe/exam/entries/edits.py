"""What a re-issued certificate lists, proves and says of the edits in it. Verification runs the same functions.

In: ledger entries, the original and the amended result. Out: the edits with who, when and why; the entries that stand
behind them; sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.entries.disputes import can_be_judged, disputes_of, edit_entries, edit_of
from spiritsafe.exam.entries.retirement import retirement_of
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.result import ExamResult
from spiritsafe.exam.records.review import AppliedEdit
from spiritsafe.ledger import LedgerEntry


def reissue_entries(entries: Sequence[LedgerEntry], header: PaperHeader, registration: str) -> list[LedgerEntry]:
    """The entries that committed to re-issued results of a sitting, in ledger order; the last one counts."""
    about = (header.paper_id, registration)
    return [
        entry
        for entry in entries
        if entry.kind == "reissue"
        and entry.signature.key == header.examiner.signing
        and (entry.body.get("paper_id"), entry.body.get("registration")) == about
    ]


def applied_edits(entries: Sequence[LedgerEntry], header: PaperHeader, registration: str) -> tuple[AppliedEdit, ...]:
    """All edits of a sitting's grades in these entries, with who, when and why.

    Raises:
        IntegrityError: One answers no dispute, or nobody could judge it.
    """
    hint = "Ask the examiner about it: an edit answers a dispute, and its problem and answer are published before."
    applied = []
    for entry in edit_entries(entries, header, registration):
        edit, earlier = edit_of(entry), [other for other in entries if other.index < entry.index]
        disputes = {state.digest: state for state in disputes_of(earlier, header, registration)}
        about, place = disputes.get(edit.dispute), (edit.index, edit.sample_index)
        if about is None or (about.dispute.index, about.dispute.sample_index) != place:
            raise IntegrityError(f"The edit of problem {edit.index} answers no dispute about it.", hint=hint)
        if about.answer is not None:
            raise IntegrityError(f"The edit of problem {edit.index} answers what was answered before.", hint=hint)
        if can_be_judged(earlier, header, registration, place) is None:
            raise IntegrityError(f"Nobody can judge the edit of problem {edit.index}.", hint=hint)
        applied.append(
            AppliedEdit(
                edit=edit,
                time=entry.time,
                editor=header.examiner.recorded_label,
                disputed_by=about.dispute.author.recorded_label,
                dispute_reason=about.dispute.reason,
            )
        )
    return tuple(applied)


def amendment_entries(entries: Sequence[LedgerEntry], header: PaperHeader, registration: str) -> list[LedgerEntry]:
    """What a re-issue must show beside the sitting's own entries: disputes, answers, what edits are judged by."""
    found: list[LedgerEntry] = []
    for state in disputes_of(entries, header, registration):
        found.append(state.entry)
        if state.answer is not None:
            found.append(state.answer)
    for entry in edit_entries(entries, header, registration):
        edit = edit_of(entry)
        judged = can_be_judged(entries, header, registration, (edit.index, edit.sample_index))
        found += [entry] if judged is None else [entry, judged]
    found += reissue_entries(entries, header, registration)[-1:]
    if retired := retirement_of(entries, header):
        found.append(retired)
    return sorted({entry.index: entry for entry in found}.values(), key=lambda entry: entry.index)


def edit_statements(
    edits: Sequence[AppliedEdit], original: ExamResult, amended: ExamResult, design: Design
) -> list[str]:
    """What was edited, and what the scores were before."""
    many = "1 grade was" if len(edits) == 1 else f"{len(edits)} grades were"
    return [
        f"{many} edited after the sitting: {design.changed_scores(original, amended)}.",
        *(
            f"Edited: problem {applied.edit.index}, try {applied.edit.sample_index}, {applied.edit.before} → "
            f"{applied.edit.after}, on {applied.time} by {applied.editor}: {applied.edit.reason} It was disputed by "
            f"{applied.disputed_by}: {applied.dispute_reason}"
            for applied in edits
        ),
    ]


def amendment_statements(
    entries: Sequence[LedgerEntry],
    edits: Sequence[AppliedEdit],
    original: ExamResult,
    amended: ExamResult,
    design: Design,
) -> tuple[str, ...]:
    """What a re-issued certificate says of its edits, and of what is still in dispute."""
    header, statements = design.header, edit_statements(edits, original, amended, design)
    states = disputes_of(entries, header, amended.registration)
    if rejected := sum(state.is_rejected for state in states):
        statements.append(f"Disputes that were rejected: {rejected}.")
    if waiting := sorted({state.dispute.index for state in states if state.answer is None}):
        statements.append(f"Unanswered disputes are on record about: problem {', '.join(map(str, waiting))}.")
    if retired := retirement_of(entries, header):
        statements.append(f"The paper was retired on {retired.time}: everybody has its problems.")
    return tuple(statements)
