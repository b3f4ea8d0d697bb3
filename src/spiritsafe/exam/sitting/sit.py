"""The sitting: a registered model answers a sealed paper, once.

In: a paper with its sealed half, a registration in the ledger, a Generator, the examiner's key. Out: ``result.json``
and ``certificate.json`` in the sitting's directory, and entries in the ledger. Run it in a process of its own: that
process is the only place where sealed problems exist in the clear. Killed at any moment and repeated with the same
directory, it goes on where it was and gives the same result; a remote model is not asked again what it was asked
before, even where the answer was lost.

1. Paper and registration are in the ledger, signed by examiner and maker; the Generator names the registered model.
2. The registration has neither result nor withdrawal (a repeat finishes its own).
3. The sealed half is decrypted in memory and checked against the paper.
4. The ledger records who is about to see which problems; only then is anything asked
   (:mod:`spiritsafe.exam.sitting.session`).
5. Each answer is graded and written, encrypted, before the next is looked at (:mod:`spiritsafe.exam.sitting.journal`).
6. The result accounts for every committed try; its digest goes into the ledger; the certificate is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory
from spiritsafe.core.files.lock import locked
from spiritsafe.core.files.record_files import read_record, write_record
from spiritsafe.core.generator import Generator, GeneratorInfo
from spiritsafe.core.process.gc_pause import rare_collections
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.entries.accesses import count_openings, opening_entries
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog
from spiritsafe.exam.entries.registrations import ResultEntry, registration_entry, sitting_end
from spiritsafe.exam.entries.retirement import check_in_force
from spiritsafe.exam.paper.files import check_task, load_paper, open_sealed, paper_entry
from spiritsafe.exam.paper.split import halves, num_places
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PublicPaper, SealedHalf
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import ExamResult, ReferenceScores
from spiritsafe.exam.results.certificate import host_software, issue_certificate, load_certificate
from spiritsafe.exam.results.claims import check_reached, reference_scores, stops_at
from spiritsafe.exam.results.scores import check_complete, score_outcomes
from spiritsafe.exam.sitting.answers import outcome_of
from spiritsafe.exam.sitting.identity_probes import check_identity
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.exam.sitting.session import SessionEnd, SessionPlan, hold_session
from spiritsafe.ledger import KeyPair, Ledger, utc_now
from spiritsafe.tasks import Task

ANSWERS_FILE = "answers.jsonl"
RESULT_FILE = "result.json"
CERTIFICATE_FILE = "certificate.json"


@final
@dataclass(frozen=True, slots=True)
class _Sitting:
    """What the steps of one sitting share."""

    paper: PublicPaper
    registration: Registration
    info: GeneratorInfo
    ledger: Ledger
    examiner: KeyPair
    host: KeyPair
    directory: Path

    @property
    def digest(self) -> str:
        return self.registration.content_digest

    def log(self) -> PaperLog:
        """As the ledger is now."""
        return PaperLog(self.ledger.entries(), self.paper.header)


@rare_collections()
def sit(
    *,
    paper: Path,
    registration: Registration,
    generator: Generator,
    task: Task,
    ledger: Ledger,
    examiner: KeyPair,
    directory: Path,
    host: KeyPair | None = None,
    reference: Certificate | None = None,
    events: EventSink | None = None,
) -> Certificate:
    """Hold a sitting and certify it; with the directory of an interrupted or finished one, finish or return that.

    Args:
        paper: Directory of ``paper.json`` and ``sealed.age``.
        generator: The model; its digest must be the registered one.
        ledger: Holds paper and registration; gets the access and result entries.
        directory: Where the sitting's files go; one directory a registration.
        host: Who runs the sitting, if not the examiner; signs the certificate too.
        reference: The verified certificate that the registration's claim compares with.

    Raises:
        ProcedureError: Not registered, another model, another task, another reference, or the registration has ended
            already.
        IntegrityError: Paper, ledger or journal are damaged or do not fit together.
        EndpointError: The Generator broke its protocol, or answers no more; answers so far are kept.
        StoppedError: The Generator was stopped; answers so far are kept.
        StorageError: A file cannot be written; repeat when it can.
    """
    public = load_paper(paper)
    ensure_directory(directory)
    with locked(directory / "sitting.lock"):
        sitting = _Sitting(
            paper=public,
            registration=registration,
            info=generator.describe(),
            ledger=ledger,
            examiner=examiner,
            host=host or examiner,
            directory=directory,
        )
        task = _check_procedure(sitting, task)  # 1, 2
        compared = reference_scores(sitting.paper.header, registration, reference)
        if (directory / CERTIFICATE_FILE).exists():
            return load_certificate(directory / CERTIFICATE_FILE)
        if (directory / RESULT_FILE).exists():
            result = read_record(directory / RESULT_FILE, ExamResult)
        else:
            if reference is not None:
                check_reached(reference)
            # 3: opened last, so that whatever is refused above costs no access
            result = _hold_in_order(
                sitting, open_sealed(paper, public, examiner), generator, task, events or NullSink(), compared
            )
        return _certify(sitting, result)  # 6: also where an earlier try got as far as the result


def _check_procedure(sitting: _Sitting, task: Task) -> Task:
    """Steps 1 and 2; the task, as the paper's own verifier grades."""
    registration, header = sitting.registration, sitting.paper.header
    # 1
    if registration.paper_id != header.paper_id:
        raise ProcedureError("The registration is for another paper.", hint="Register for this paper first.")
    paper_entry(sitting.ledger, sitting.paper)
    registration_entry(sitting.ledger, registration)
    task = check_task(sitting.paper, task)
    task.verifier.check_machine()
    if header.examiner != sitting.examiner.public:
        raise ProcedureError(
            f"This paper was sealed by {header.examiner.label}, not by {sitting.examiner.public.label}.",
            hint="Use the key that sealed it.",
        )
    if sitting.info.digest != registration.model_digest:
        raise ProcedureError(
            f"{sitting.info.name} has digest {sitting.info.digest}; registered is {registration.model_digest}.",
            hint="Sit with the registered model, or register this one.",
        )
    # 2: a repeat finds its own result in the ledger, and may finish
    log = sitting.log()
    end = sitting_end(log, registration)
    if end is None:
        check_in_force(log)
    if end is not None and not _is_own_end(sitting, end):
        raise ProcedureError(
            f"This registration has ended already (ledger entry {end.index}, {end.kind}).",
            hint="A registration has one result. Register again for another sitting; both will be on record.",
        )
    own = []
    if (sitting.directory / RESULT_FILE).exists():
        own.append(read_record(sitting.directory / RESULT_FILE, ExamResult))
    if (sitting.directory / CERTIFICATE_FILE).exists():
        own.append(load_certificate(sitting.directory / CERTIFICATE_FILE).result)
    if any(result.registration != sitting.digest for result in own):
        raise ProcedureError(
            f"{sitting.directory} holds another sitting.", hint="Give each registration its own directory."
        )
    return task


def _is_own_end(sitting: _Sitting, end: PaperEntry) -> bool:
    path = sitting.directory / RESULT_FILE
    is_result = isinstance(end, ResultEntry) and path.exists()
    return is_result and end.says(result=read_record(path, ExamResult).content_digest)


def _hold_in_order(
    sitting: _Sitting,
    sealed: SealedHalf,
    generator: Generator,
    task: Task,
    events: EventSink,
    reference: ReferenceScores | None,
) -> ExamResult:
    """Steps 4 and 5, and the result."""
    header, registration = sitting.paper.header, sitting.registration
    problems = {problem.index: problem for problem in (*sitting.paper.problems, *sealed.problems)}

    def is_over(look: int, right: Mapping[int, int]) -> bool:
        return stops_at(look, right, plan.design, reference)

    plan = SessionPlan(
        header=header,
        registration=registration,
        info=sitting.info,
        ledger=sitting.ledger,
        examiner=sitting.examiner,
        problems=problems,
        secret=sealed.secret,
        is_over=is_over,
    )
    path = sitting.directory / ANSWERS_FILE
    with Journal(
        path,
        key=sitting.examiner,
        secret=sealed.secret,
        registration=sitting.digest,
        max_tokens=registration.sampling.max_tokens,
    ) as journal:
        ended = hold_session(plan, journal, generator, task, events)  # 4, 5
        result = _result(sitting, sealed.secret, plan, journal, ended, reference)
    write_record(sitting.directory / RESULT_FILE, result)
    return result


def _result(
    sitting: _Sitting,
    secret: str,
    plan: SessionPlan,
    journal: Journal,
    ended: SessionEnd,
    reference: ReferenceScores | None,
) -> ExamResult:
    header, registration = sitting.paper.header, sitting.registration
    kinds = halves(header)
    outcomes = tuple(
        outcome_of(journal.answers[place], kinds[place[0]], secret=secret, registration=sitting.digest)
        for place in sorted(journal.answers)
    )
    not_asked = tuple(sorted(set(range(num_places(header))).difference(ended.asked)))
    check_complete(outcomes, header, registration.num_tries, not_asked)
    scores = score_outcomes(
        outcomes, header, registration, ending=ended.ending, not_asked=not_asked, reference=reference
    )
    openings = opening_entries(sitting.log(), sitting.digest)
    prompt_tokens = sum(outcome.num_prompt_tokens for outcome in outcomes)
    tokens = sum(outcome.num_tokens for outcome in outcomes)
    return ExamResult(
        paper_id=header.paper_id,
        registration=sitting.digest,
        model_name=registration.model_name,
        model_digest=registration.model_digest,
        sampling=registration.sampling,
        generator=sitting.info,
        host=sitting.host.public,
        outcomes=outcomes,
        num_prompt_tokens=prompt_tokens,
        num_tokens=tokens,
        openings=count_openings(openings),
        started=openings[0].time,
        finished=utc_now(),
        software=host_software(answer.verdict for answer in journal.answers.values()),
        ending=ended.ending,
        not_asked=not_asked,
        reference=reference,
        identity=check_identity(journal.rounds) if registration.num_probes else None,
        asked=() if plan.design.order() else ended.asked,
        cost=registration.budget.cost(prompt_tokens, tokens) if registration.budget else None,
        journal=journal.mark(),
        **dict(scores),
    )


def _certify(sitting: _Sitting, result: ExamResult) -> Certificate:
    """Step 6."""
    header, registration = sitting.paper.header, sitting.registration

    def first_result(log: PaperLog) -> None:
        if (end := sitting_end(log, registration)) is not None:
            raise ProcedureError(
                f"This registration ended first (ledger entry {end.index}, {end.kind}).",
                hint="A registration has one end, and this is its end.",
            )
        check_in_force(log)

    if sitting_end(sitting.log(), registration) is None:
        scores = design_of(registration, header).ledger_scores(result)
        told = scores | ({"p_value": result.decision.p_value} if result.decision else {})
        about = {"registration": sitting.digest, "result": result.content_digest}
        ResultEntry.append(sitting.ledger, header, sitting.examiner, first_result, **about, **told)
    certificate = issue_certificate(
        ledger=sitting.ledger,
        header=header,
        registration=registration,
        result=result,
        paper_entry=paper_entry(sitting.ledger, sitting.paper),
        registration_entry=registration_entry(sitting.ledger, registration),
        examiner=sitting.examiner,
        host=sitting.host,
    )
    write_record(sitting.directory / CERTIFICATE_FILE, certificate)
    return certificate
