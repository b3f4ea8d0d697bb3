"""Opening: a paper is retired, and its whole bank published with the proof that it is the one committed to.

In: a paper with its sealed half, the examiner's key, the ledger. Out: ``paper.json`` of another kind, an
:class:`~spiritsafe.exam.records.review.OpenedPaper`: every problem with its salt and gold answer, twins included. The
ledger says so before the file is written; killed in between, the same command goes on. From then on no registration and
no sitting of the paper can be certified, so a sitting in progress must come to its end first. On request also the
answers of finished sittings, each opened against its certificate's commitment.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.canonical import short
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.files.atomic import ensure_directory
from spiritsafe.core.files.lock import locked
from spiritsafe.core.files.record_files import read_file, read_record, record_bytes, write_record
from spiritsafe.core.records import Record
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.entries.accesses import opening_entries
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import registrations_of, sitting_end
from spiritsafe.exam.entries.retirement import AnswersEntry, RetirementEntry, retirement_of
from spiritsafe.exam.paper.files import check_problems, load_paper, open_sealed, paper_entry, unsigned
from spiritsafe.exam.paper.split import num_places
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PaperHeader, PublicPaper
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.review import OpenedAnswer, OpenedPaper, OpenedSitting
from spiritsafe.exam.review.published_answers import ANSWERS_SUFFIX, OPENED_FILE, check_answers
from spiritsafe.exam.sitting.answers import answer_salt, committed_attempt, committed_verdict
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import KeyPair, Ledger, root_of_leaves


def open_paper(*, paper: Path, examiner: KeyPair, ledger: Ledger, reason: str, directory: Path) -> OpenedPaper:
    """Retire a paper. Repeated after a kill, it finishes the same retirement; the reason on record stays.

    Args:
        paper: Directory of ``paper.json`` and ``sealed.age``.
        directory: Where the opened paper goes; not the paper's own.

    Raises:
        ProcedureError: Not the examiner's key, a sitting is in progress, or the directory holds another paper.
        IntegrityError: The paper is damaged, or not the one that the ledger says was opened.
        StorageError: The file cannot be written; repeat when it can.
    """
    public = load_paper(paper)
    header = public.header
    _check_examiner(header, examiner)
    paper_entry(ledger, public)
    sealed = open_sealed(paper, public, examiner)
    problems = sorted((*public.problems, *sealed.problems), key=lambda problem: problem.index)
    opened = check_opened(OpenedPaper(header=header, problems=tuple(problems)), "The opened paper", public=public)
    ensure_directory(directory)
    with locked(directory / "open.lock"):
        path = directory / OPENED_FILE
        _check_free(path, opened)
        _retire(ledger, opened, examiner, reason)
        write_record(path, opened)
    return opened


def _check_examiner(header: PaperHeader, examiner: KeyPair) -> None:
    if examiner.public != header.examiner:
        raise ProcedureError(
            f"This paper was sealed by {header.examiner.label}, not by {examiner.public.label}.",
            hint="Only who sealed a paper can retire it.",
        )


def _check_free(path: Path, record: Record) -> None:
    if path.exists() and read_file(path) != record_bytes(record):
        raise ProcedureError(f"{path} is something else.", hint="Open into an empty directory; nothing is overwritten.")


def _retire(ledger: Ledger, opened: OpenedPaper, examiner: KeyPair, reason: str) -> None:
    header = opened.header
    if before := retirement_of(PaperLog(ledger.entries(), header)):
        if not before.says(opened=opened.content_digest):
            raise IntegrityError(
                f"Ledger entry {before.index} retired this paper with another bank.",
                hint="Restore paper.json and sealed.age from a good copy.",
            )
        return

    def nobody_sits(log: PaperLog) -> None:
        if retirement_of(log):
            raise ProcedureError("This paper was retired a moment ago.", hint="Run the same command again.")
        if begun := _in_progress(log):
            raise ProcedureError(
                f"{quoted_name(begun.model_name)} is sitting this paper (registration {begun.content_digest}).",
                hint="Let the sitting come to its end, or let its maker withdraw it; then retire the paper. What "
                "nobody finishes can lapse after some weeks (`spiritsafe exam lapse`).",
            )

    bank, size = opened.content_digest, len(opened.problems)
    RetirementEntry.append(ledger, header, examiner, nobody_sits, opened=bank, num_problems=size, reason=reason)


def _in_progress(log: PaperLog) -> Registration | None:
    """A registration that the paper was opened for and that has not ended."""
    for entered in registrations_of(log):
        if opening_entries(log, entered.sitting) and sitting_end(log, entered.registration) is None:
            return entered.registration
    return None


def _wrong(message: str) -> IntegrityError:
    return IntegrityError(message, hint="Ask the examiner for the right one.")


def check_opened(opened: OpenedPaper, what: str, *, public: PublicPaper) -> OpenedPaper:
    """Check that a bank is the whole of what a paper committed to; ``what`` is how errors call it.

    Raises:
        IntegrityError: It is not; the message names the problem.
    """
    header = public.header
    if opened.header != header:
        raise _wrong(f"{what} is of another paper.")
    places = [problem.index for problem in opened.problems]
    if places != list(range(num_places(header))):
        missing = sorted(set(range(num_places(header))) - set(places))
        raise _wrong(f"{what} leaves out problem {missing[0]}." if missing else f"{what} is not in the bank's order.")
    try:
        check_problems(opened.problems, header, public.commitments)
    except IntegrityError as error:
        raise _wrong(f"{what} is not the bank of this paper. {error.message}") from error
    if root_of_leaves([bytes.fromhex(p.commitment) for p in opened.problems]).hex() != header.bank_root:
        raise _wrong(f"{what} does not hash to the bank's root.")
    own = opened.problems[: header.num_problems]
    if missing := unsigned(own, header.reviewers, header.num_signoffs):
        raise _wrong(f"{what}: problem {missing[0]} lacks its reviewers' sign-offs.")
    return opened


def load_opened(path: Path, *, paper: PublicPaper) -> OpenedPaper:
    """Read an opened paper (``opened/paper.json``, or its directory) and check it against the paper.

    Raises:
        SourceError: It cannot be read.
        IntegrityError: It is not what the paper committed to.
    """
    file = path / OPENED_FILE if path.is_dir() else path
    return check_opened(read_record(file, OpenedPaper), str(file), public=paper)


def publish_answers(
    *, paper: Path, certificate: Certificate, journal: Path, examiner: KeyPair, ledger: Ledger, directory: Path
) -> tuple[OpenedSitting, Path]:
    """Publish all answers and verdicts of a sitting of a retired paper; the ledger says so before the file is written.

    Args:
        paper: Directory of ``paper.json`` and ``sealed.age``.
        certificate: Of the sitting; a re-issue will do.

    Raises:
        ProcedureError: The paper is not retired, or not this key's.
        IntegrityError: Paper or journal are damaged, or do not belong to the certificate.
        StorageError: The file cannot be written; repeat when it can.
    """
    public = load_paper(paper)
    header, digest = public.header, certificate.registration.content_digest
    _check_examiner(header, examiner)
    if retirement_of(PaperLog(ledger.entries(), header)) is None:
        raise ProcedureError("This paper is still sealed.", hint="Retire it first: answers tell its problems.")
    sealed = open_sealed(paper, public, examiner)
    with Journal(journal, key=examiner, secret=sealed.secret, registration=digest) as book:
        if (mark := certificate.result.journal) is not None:
            book.check_holds(mark, "the certificate")
        answers = tuple(
            OpenedAnswer(
                index=place[0],
                sample_index=place[1],
                attempt=committed_attempt(answer),
                verdict=committed_verdict(answer),
                salt=answer_salt(sealed.secret, digest, place),
            )
            for place, answer in sorted(book.answers.items())
        )
    opened = OpenedSitting(paper_id=header.paper_id, registration=digest, answers=answers)
    check_answers(opened, str(journal), certificate=certificate)
    ensure_directory(directory)
    path = directory / f"{short(digest)}{ANSWERS_SUFFIX}"
    with locked(directory / "open.lock"):
        _check_free(path, opened)
        known = PaperLog(ledger.entries(), header).of(AnswersEntry, sitting=digest)
        if not any(entry.says(answers=opened.content_digest) for entry in known):
            AnswersEntry.append(ledger, header, examiner, registration=digest, answers=opened.content_digest)
        write_record(path, opened)
    return opened, path
