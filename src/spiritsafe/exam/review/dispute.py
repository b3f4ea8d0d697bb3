"""Disputes and edits of grades: anybody may hold a grade for wrong, the examiner answers, and all of it stays.

In: a certificate, a key, a reason, the ledger. Out: ledger entries: a ``dispute``, signed by whoever files it; the
examiner's ``grade edit`` or ``dispute answer`` (a rejection). A grade is edited only where everybody can judge it: its
problem and answer were revealed, or the paper is open and the sitting's answers are published. Nothing is overwritten;
:mod:`spiritsafe.exam.certified.reissue` makes the certificate that counts the edits in. What is on record is read by
:mod:`spiritsafe.exam.entries.disputes`.
"""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam.entries.disputes import (
    DisputeEntry,
    DisputeState,
    EditEntry,
    RejectionEntry,
    can_be_judged,
    disputes_of,
)
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import sitting_end
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.result import Outcome
from spiritsafe.exam.records.review import Dispute, GradeEdit, Reason
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.exam.results.amendment import apply_edits, original_result
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry


def _current(certificate: Certificate, log: PaperLog, place: tuple[int, int]) -> Outcome:
    """The outcome of a try with all edits on record."""
    original = original_result(certificate)
    result = sitting_end(log, certificate.registration)
    if result is None or not result.says(result=original.content_digest):
        raise ProcedureError(
            "This ledger does not hold the certificate's result.", hint="Use the ledger that the certificate is under."
        )
    edits = [entry.edit for entry in log.of(EditEntry, sitting=certificate.result.registration)]
    for outcome in apply_edits(original.outcomes, edits):
        if (outcome.index, outcome.sample_index) == place:
            return outcome
    raise ProcedureError(
        f"Try {place[1]} at problem {place[0]} is not in the certificate.", hint="The certificate lists what was asked."
    )


def _one_line(reason: str) -> str:
    try:
        return TypeAdapter(Reason).validate_python(reason)
    except ValidationError as error:
        raise ProcedureError(
            "A reason is one line of 1 to 2000 characters, none of them a control character.", hint="Say it so."
        ) from error


def file_dispute(
    *,
    certificate: Certificate,
    ledger: Ledger,
    author: KeyPair,
    index: int,
    sample_index: int = 0,
    proposed: OutcomeStatus,
    reason: str,
) -> Dispute:
    """Hold one grade of a certificate for wrong, on record. The same call again appends nothing.

    Args:
        certificate: Verified; the ledger holds its result.
        author: Anybody.

    Raises:
        ProcedureError: The certificate has no such try, or that is its grade already.
        IntegrityError: The ledger is damaged.
    """
    log = PaperLog(ledger.entries(), certificate.paper)
    outcome = _current(certificate, log, (index, sample_index))
    if outcome.status == proposed:
        raise ProcedureError(f"That try is graded {proposed!r} already.", hint="Dispute a grade that differs.")
    dispute = Dispute(
        paper_id=certificate.paper.paper_id,
        registration=certificate.result.registration,
        index=index,
        sample_index=sample_index,
        graded=outcome.status,
        proposed=proposed,
        reason=_one_line(reason),
        author=author.public,
    )
    if dispute.content_digest not in {state.digest for state in disputes_of(log, dispute.registration)}:
        about = {"registration": dispute.registration, "digest": dispute.content_digest}
        DisputeEntry.append(ledger, certificate.paper, author, **about, dispute=dispute.to_json())
    return dispute


def _unanswered(log: PaperLog, certificate: Certificate, examiner: KeyPair, dispute: str) -> DisputeState:
    header = certificate.paper
    if examiner.public != header.examiner:
        raise ProcedureError(
            f"This paper was sealed by {header.examiner.label}, not by {examiner.public.label}.",
            hint="Only the paper's examiner answers disputes about its grades.",
        )
    for state in disputes_of(log, certificate.result.registration):
        if state.digest == dispute:
            if state.answer is not None:
                raise ProcedureError(
                    f"This dispute was answered already (ledger entry {state.answer.index}).",
                    hint="An answer stays; file another dispute if it is wrong.",
                )
            return state
    raise ProcedureError(
        f"The ledger has no dispute {dispute} about this sitting.", hint="`exam verify … --ledger` lists those it has."
    )


def accept_dispute(
    *, certificate: Certificate, ledger: Ledger, examiner: KeyPair, dispute: str, status: OutcomeStatus, reason: str
) -> LedgerEntry:
    """Edit the disputed grade.

    Args:
        certificate: Of the sitting; the first one or a re-issue.
        status: The new grade; "correct" scores 1, everything else 0.

    Raises:
        ProcedureError: Not the examiner, no such dispute, answered already, or nobody can judge the grade yet.
        IntegrityError: The ledger is damaged.
    """
    header, registration = certificate.paper, certificate.result.registration
    log = PaperLog(ledger.entries(), header)
    state = _unanswered(log, certificate, examiner, dispute)
    place = (state.dispute.index, state.dispute.sample_index)
    outcome = _current(certificate, log, place)
    if outcome.status == status:
        raise ProcedureError(f"That try is graded {status!r} already.", hint="Reject the dispute.")
    edit = GradeEdit(
        dispute=dispute,
        index=place[0],
        sample_index=place[1],
        before=outcome.status,
        after=status,
        score_before=outcome.score,
        score_after=1.0 if status == "correct" else 0.0,
        reason=_one_line(reason),
    )

    def in_order(log: PaperLog) -> None:
        _unanswered(log, certificate, examiner, dispute)
        if _current(certificate, log, place) != outcome:
            raise ProcedureError("This grade was edited a moment ago.", hint="Look at it again.")
        if can_be_judged(log, registration, place) is None:
            raise ProcedureError(
                "Nobody can judge this edit: problem and answer are not published.",
                hint="Reveal them first (`spiritsafe exam reveal`), or retire the paper and publish the answers.",
            )

    return EditEntry.append(ledger, header, examiner, in_order, registration=registration, edit=edit.to_json())


def reject_dispute(
    *, certificate: Certificate, ledger: Ledger, examiner: KeyPair, dispute: str, reason: str
) -> LedgerEntry:
    """Let the grade stand, and say why.

    Raises:
        ProcedureError: Not the examiner, no such dispute, or answered already.
        IntegrityError: The ledger is damaged.
    """

    def in_order(log: PaperLog) -> None:
        _unanswered(log, certificate, examiner, dispute)

    about = {"registration": certificate.result.registration, "dispute": dispute, "reason": _one_line(reason)}
    return RejectionEntry.append(ledger, certificate.paper, examiner, in_order, **about)
