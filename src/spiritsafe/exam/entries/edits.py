"""What a re-issued certificate lists, proves and says of the edits in it. Verification runs the same functions.

In: a paper's log, the original and the amended result. Out: the edits with who, when and why; the entries that stand
behind them; sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.entries.disputes import EditEntry, can_be_judged, disputes_of
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog
from spiritsafe.exam.entries.registrations import ReissueEntry
from spiritsafe.exam.entries.retirement import retirement_of
from spiritsafe.exam.records.result import ExamResult
from spiritsafe.exam.records.review import AppliedEdit
from spiritsafe.ledger import LedgerEntry


def applied_edits(log: PaperLog, sitting: str) -> tuple[AppliedEdit, ...]:
    """All edits of a sitting's grades on record, with who, when and why.

    Raises:
        IntegrityError: One answers no dispute, or nobody could judge it.
    """
    hint = "Ask the examiner about it: an edit answers a dispute, and its problem and answer are published before."
    applied = []
    for entry in log.of(EditEntry, sitting=sitting):
        edit, earlier = entry.edit, log.before(entry.index)
        disputes = {state.digest: state for state in disputes_of(earlier, sitting)}
        about, place = disputes.get(edit.dispute), (edit.index, edit.sample_index)
        if about is None or (about.dispute.index, about.dispute.sample_index) != place:
            raise IntegrityError(f"The edit of problem {edit.index} answers no dispute about it.", hint=hint)
        if about.answer is not None:
            raise IntegrityError(f"The edit of problem {edit.index} answers what was answered before.", hint=hint)
        if can_be_judged(earlier, sitting, place) is None:
            raise IntegrityError(f"Nobody can judge the edit of problem {edit.index}.", hint=hint)
        applied.append(
            AppliedEdit(
                edit=edit,
                time=entry.time,
                editor=log.header.examiner.recorded_label,
                disputed_by=about.dispute.author.recorded_label,
                dispute_reason=about.dispute.reason,
            )
        )
    return tuple(applied)


def amendment_entries(log: PaperLog, sitting: str) -> list[LedgerEntry]:
    """What a re-issue must show beside the sitting's own entries: disputes, answers, what edits are judged by."""
    found: list[PaperEntry | None] = [retirement_of(log), *log.of(ReissueEntry, sitting=sitting)[-1:]]
    for state in disputes_of(log, sitting):
        found += [state.entry, state.answer]
    for entry in log.of(EditEntry, sitting=sitting):
        found += [entry, can_be_judged(log, sitting, (entry.edit.index, entry.edit.sample_index))]
    by_index = {entry.index: entry.entry for entry in found if entry}
    return [by_index[index] for index in sorted(by_index)]


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
    log: PaperLog, edits: Sequence[AppliedEdit], original: ExamResult, amended: ExamResult, design: Design
) -> tuple[str, ...]:
    """What a re-issued certificate says of its edits, and of what is still in dispute."""
    statements = edit_statements(edits, original, amended, design)
    states = disputes_of(log, amended.registration)
    if rejected := sum(state.is_rejected for state in states):
        statements.append(f"Disputes that were rejected: {rejected}.")
    if waiting := sorted({state.dispute.index for state in states if state.answer is None}):
        statements.append(f"Unanswered disputes are on record about: problem {', '.join(map(str, waiting))}.")
    if retired := retirement_of(log):
        statements.append(f"The paper was retired on {retired.time}: everybody has its problems.")
    return tuple(statements)
