"""What the ledger says of one sitting's grades: disputes, the examiner's answers, and what can be judged.

In: a paper's log, the digest of a registration. Out: disputes with their answers, edits of grades. Anybody may write
anything into a ledger: a dispute counts when its author signed it, an answer when the paper's examiner did.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.paper_log import Ignored, PaperEntry, PaperLog
from spiritsafe.exam.entries.registrations import ReissueEntry
from spiritsafe.exam.entries.retirement import AnswersEntry, RevealEntry, retirement_of
from spiritsafe.exam.records.review import Dispute, GradeEdit


@final
class DisputeEntry(PaperEntry):
    """Somebody holds a grade for wrong."""

    kind = "dispute"
    signer = "anybody"

    @cached_property
    def dispute(self) -> Dispute:
        """The dispute; an IntegrityError where there is none."""
        return Dispute.from_json(self.entry.body.get("dispute"))

    def is_whole(self) -> bool:
        """Whether it is exactly a dispute about this sitting, signed by its author, whose name can be printed."""
        try:
            dispute = self.dispute
        except IntegrityError:
            return False
        about = {"paper_id": dispute.paper_id, "registration": dispute.registration}
        is_exact = self.says(dispute=dispute.to_json(), **about)
        return is_exact and self.key == dispute.author.signing and dispute.author.holder.isprintable()


class AnswerEntry(PaperEntry):
    """The examiner's answer to a dispute."""

    @property
    def dispute(self) -> str:
        """Digest of the dispute that it answers."""
        return self.text("dispute")


@final
class EditEntry(AnswerEntry):
    """The examiner edited a grade."""

    kind = "grade edit"

    @cached_property
    def edit(self) -> GradeEdit:
        """The edit; an IntegrityError where there is none."""
        return GradeEdit.from_json(self.entry.body.get("edit"))

    @property
    def dispute(self) -> str:
        """The same, though the rest of the edit may make no sense."""
        edit = self.entry.body.get("edit")
        digest = edit.get("dispute") if isinstance(edit, dict) else None
        return digest if isinstance(digest, str) else ""


@final
class RejectionEntry(AnswerEntry):
    """The examiner lets a disputed grade stand."""

    kind = "dispute answer"


@final
@dataclass(frozen=True, slots=True)
class DisputeState:
    """A dispute on record.

    Attributes:
        entry: That filed it.
        answer: The examiner's; None: it is unanswered.
    """

    entry: DisputeEntry
    answer: AnswerEntry | None

    @property
    def dispute(self) -> Dispute:
        """What is disputed."""
        return self.entry.dispute

    @property
    def digest(self) -> str:
        """What answers call it by."""
        return self.dispute.content_digest

    @property
    def is_rejected(self) -> bool:
        """Whether the grade stays."""
        return isinstance(self.answer, RejectionEntry)


def foreign_answers(log: PaperLog, sitting: str) -> list[Ignored]:
    """Entries that pass for the examiner's word on a sitting's grades, and are signed by somebody else."""
    return log.ignored(EditEntry, RejectionEntry, ReissueEntry, sitting=sitting)


def disputes_of(log: PaperLog, sitting: str) -> list[DisputeState]:
    """All disputes about one sitting, in ledger order, each with its answer."""
    answers = {answer.dispute: answer for answer in reversed(log.of(EditEntry, RejectionEntry, sitting=sitting))}
    disputes: dict[str, DisputeEntry] = {}
    for entry in log.of(DisputeEntry, sitting=sitting):
        disputes.setdefault(entry.dispute.content_digest, entry)
    return [DisputeState(entry, answers.get(digest)) for digest, entry in disputes.items()]


def can_be_judged(log: PaperLog, sitting: str, place: tuple[int, int]) -> PaperEntry | None:
    """The entry since which everybody can judge the grade of a try: it was revealed, or published with its sitting."""
    examiner, retired = log.header.examiner.signing, retirement_of(log)
    for entry in log.of(RevealEntry, AnswersEntry, sitting=sitting):
        if isinstance(entry, AnswersEntry):
            is_judge = retired is not None and retired.index < entry.index
        else:
            is_judge = entry.key == examiner and entry.says(places=[place[0]], sample_index=place[1])
        if is_judge:
            return entry
    return None
