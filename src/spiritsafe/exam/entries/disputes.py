"""What the ledger says of one sitting's grades: disputes, the examiner's answers, and what can be judged.

In: ledger entries, a paper's header, a registration. Out: disputes with their answers, edits of grades. Anybody may
write anything into a ledger: a dispute counts when its author signed it, an answer when the paper's examiner did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.retirement import retirement_of
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.review import Dispute, GradeEdit
from spiritsafe.ledger import LedgerEntry

ANSWER_KINDS = ("grade edit", "dispute answer", "reissue")
"""Kinds of entries about a sitting's grades that only the paper's examiner can sign."""


@final
@dataclass(frozen=True, slots=True)
class DisputeState:
    """A dispute on record.

    Attributes:
        entry: That filed it.
        answer: The examiner's, an edit or a rejection; None: it is unanswered.
    """

    dispute: Dispute
    entry: LedgerEntry
    answer: LedgerEntry | None

    @property
    def digest(self) -> str:
        """What answers call it by."""
        return self.dispute.content_digest

    @property
    def is_rejected(self) -> bool:
        """Whether the grade stays."""
        return self.answer is not None and self.answer.kind == "dispute answer"


def _is_about(entry: LedgerEntry, header: PaperHeader, registration: str) -> bool:
    return entry.body.get("paper_id") == header.paper_id and entry.body.get("registration") == registration


def _read_dispute(entry: LedgerEntry) -> Dispute | None:
    """The dispute of an entry; None when it is malformed or not its author's: anybody may write anything."""
    try:
        dispute = Dispute.from_json(entry.body.get("dispute"))
        is_whole = dispute.to_json() == entry.body.get("dispute")
    except IntegrityError:
        return None
    about = (entry.body.get("paper_id"), entry.body.get("registration"))
    is_own = entry.signature.key == dispute.author.signing and about == (dispute.paper_id, dispute.registration)
    return dispute if is_whole and is_own and dispute.author.holder.isprintable() else None


def edit_of(entry: LedgerEntry) -> GradeEdit:
    """The edit of an entry of kind ``grade edit``.

    Raises:
        IntegrityError: It holds none.
    """
    return GradeEdit.from_json(entry.body.get("edit"))


def edit_entries(entries: Sequence[LedgerEntry], header: PaperHeader, registration: str) -> list[LedgerEntry]:
    """The examiner's edits of one sitting's grades, in ledger order."""
    examiner = header.examiner.signing
    return [
        entry
        for entry in entries
        if entry.kind == "grade edit" and entry.signature.key == examiner and _is_about(entry, header, registration)
    ]


def foreign_answers(entries: Sequence[LedgerEntry], header: PaperHeader, registration: str) -> list[LedgerEntry]:
    """Entries that pass for the examiner's word on a sitting's grades, and are signed by somebody else."""
    return [
        entry
        for entry in entries
        if entry.kind in ANSWER_KINDS
        and entry.signature.key != header.examiner.signing
        and _is_about(entry, header, registration)
    ]


def _answered(entry: LedgerEntry) -> str:
    """Digest of the dispute that an entry answers; empty: none."""
    edit = entry.body.get("edit")
    digest = entry.body.get("dispute") if entry.kind == "dispute answer" else None
    if entry.kind == "grade edit" and isinstance(edit, dict):
        digest = edit.get("dispute")
    return digest if isinstance(digest, str) else ""


def disputes_of(entries: Sequence[LedgerEntry], header: PaperHeader, registration: str) -> list[DisputeState]:
    """All disputes about one sitting, in ledger order, each with its answer."""
    answers: dict[str, LedgerEntry] = {}
    for entry in entries:
        if _is_about(entry, header, registration) and entry.signature.key == header.examiner.signing:
            answers.setdefault(_answered(entry), entry)
    states: dict[str, DisputeState] = {}
    for entry in entries:
        if entry.kind != "dispute" or not _is_about(entry, header, registration):
            continue
        dispute = _read_dispute(entry)
        if dispute is not None and dispute.content_digest not in states:
            digest = dispute.content_digest
            states[digest] = DisputeState(dispute, entry, answers.get(digest))
    return list(states.values())


def can_be_judged(
    entries: Sequence[LedgerEntry], header: PaperHeader, registration: str, place: tuple[int, int]
) -> LedgerEntry | None:
    """The entry since which everybody can judge the grade of a try: it was revealed, or published with its sitting."""
    retired = retirement_of(entries, header)
    for entry in entries:
        if entry.signature.key != header.examiner.signing or not _is_about(entry, header, registration):
            continue
        if entry.kind == "reveal" and (entry.body.get("places"), entry.body.get("sample_index")) == (
            [place[0]],
            place[1],
        ):
            return entry
        if entry.kind == "answers" and retired is not None and retired.index < entry.index:
            return entry
    return None
