"""Revealing: in a dispute one problem, its answer and its verdict are opened, and none of the others.

In: a finished sitting's journal, the sealed half, the examiner's key. Out: a
:class:`~spiritsafe.exam.records.review.Revealed` that hashes to the paper's and the certificate's commitments, and a
ledger entry, for the problem is everybody's from then on. Each commitment has a salt of its own, so one opening helps
to guess no other.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.files.record_files import read_record, write_record
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import sitting_end
from spiritsafe.exam.entries.retirement import RevealEntry
from spiritsafe.exam.paper.files import load_paper, open_sealed
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PublicPaper
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.review import Revealed
from spiritsafe.exam.results.amendment import original_result
from spiritsafe.exam.sitting.answers import (
    answer_commitment,
    answer_salt,
    committed_attempt,
    committed_verdict,
    follows,
)
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import KeyPair, Ledger


def reveal(
    *,
    paper: Path,
    registration: Registration,
    journal: Path,
    examiner: KeyPair,
    ledger: Ledger,
    index: int,
    sample_index: int = 0,
    reason: str,
    output: Path,
) -> Revealed:
    """Open one try at one problem; the ledger says so before the file is written.

    Args:
        paper: Directory of ``paper.json`` and ``sealed.age``.

    Raises:
        ProcedureError: The sitting has not ended, or this try was not asked.
        IntegrityError: Paper or journal are damaged, or another key's.
    """
    public = load_paper(paper)
    if sitting_end(PaperLog(ledger.entries(), public.header), registration) is None:
        raise ProcedureError("The sitting has not ended.", hint="Reveal problems when its result is in the ledger.")
    sealed = open_sealed(paper, public, examiner)
    problem = next((p for p in (*public.problems, *sealed.problems) if p.index == index), None)
    digest = registration.content_digest
    with Journal(journal, key=examiner, secret=sealed.secret, registration=digest) as book:
        answer = book.answers.get((index, sample_index))
    if problem is None or answer is None:
        raise ProcedureError(
            f"Try {sample_index} at problem {index} was not asked.", hint="The certificate lists what was."
        )
    revealed = Revealed(
        paper_id=public.header.paper_id,
        registration=digest,
        sample_index=sample_index,
        problem=problem,
        attempt=committed_attempt(answer),
        verdict=committed_verdict(answer),
        salt=answer_salt(sealed.secret, digest, (index, sample_index)),
    )
    told: dict[str, JSON] = {"revealed": revealed.content_digest, "places": [index], "sample_index": sample_index}
    RevealEntry.append(ledger, public.header, examiner, registration=digest, reason=reason, **told)
    write_record(output, revealed)
    return revealed


def load_revealed(path: Path, *, certificate: Certificate, paper: PublicPaper) -> Revealed:
    """Read an opening and check that it is what paper and certificate committed to.

    Raises:
        IntegrityError: It is not.
    """
    return check_revealed(read_record(path, Revealed), str(path), certificate=certificate, paper=paper)


def check_revealed(revealed: Revealed, what: str, *, certificate: Certificate, paper: PublicPaper) -> Revealed:
    """Check that an opening is what paper and certificate committed to; ``what`` is how errors call it.

    Raises:
        IntegrityError: It is not.
    """
    index = revealed.problem.index
    place = (index, revealed.sample_index)
    outcome = next((o for o in original_result(certificate).outcomes if (o.index, o.sample_index) == place), None)
    answered = answer_commitment(revealed.salt, revealed.attempt, revealed.verdict)
    checks = (
        (revealed.paper_id == paper.header.paper_id == certificate.paper.paper_id, "is of another paper"),
        (revealed.registration == certificate.result.registration, "is of another sitting"),
        (
            index < len(paper.commitments) and revealed.problem.commitment == paper.commitments[index],
            "does not hold the problem that the paper committed to",
        ),
        (outcome is not None, "is of a try that the certificate does not list"),
        (
            outcome is not None and answered == outcome.commitment,
            "does not hold the answer and verdict that the certificate committed to",
        ),
        (
            outcome is not None and follows(outcome, revealed.attempt, revealed.verdict),
            "holds a verdict that the certificate's grade does not follow from",
        ),
    )
    for good, message in checks:
        if not good:
            raise IntegrityError(f"The opening {what} {message}.", hint="Ask the examiner for the right one.")
    return revealed
