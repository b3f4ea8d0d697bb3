"""The re-run: a second party asks again and signs whether it agrees.

In: a certificate, the public paper, a Generator, the re-runner's own key; with the examiner's key and the ledger, or
once the paper is retired, also the sealed half. Out: ``rerun.json``, a counter-signed report: agreement try by try, the
paired difference, a finding in plain words. Needs no torch: any Generator will do, an endpoint too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import EndpointError, ProcedureError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.record_files import read_record, write_record
from spiritsafe.core.generator import Generator
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.entries.accesses import enter_access
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.paper.files import check_task, open_sealed
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PaperHeader, PaperProblem, PublicPaper
from spiritsafe.exam.records.rerun import CounterSignedRerun, RerunItem, RerunReport
from spiritsafe.exam.records.result import Half, Outcome
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.exam.results.certificate import host_software
from spiritsafe.exam.results.reach import Reach
from spiritsafe.exam.review.retire import load_opened
from spiritsafe.exam.sitting.answers import Answer, Try, ask, preamble_of, status_of
from spiritsafe.exam.sitting.identity_probes import ask_probes
from spiritsafe.exam.verification.materials import Materials
from spiritsafe.exam.verification.reruns import RerunEntry, check_rerun, compare_items, rerun_statement
from spiritsafe.exam.verification.verify import verification_of
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry, utc_now
from spiritsafe.tasks import Task


def rerun(
    certificate: Path,
    *,
    paper: Path,
    generator: Generator,
    task: Task,
    runner: KeyPair,
    output: Path,
    examiner: KeyPair | None = None,
    ledger: Ledger | None = None,
    opened: Path | None = None,
    events: EventSink | None = None,
) -> CounterSignedRerun:
    """Ask the certificate's problems again, with its sampling and seed, and sign the comparison.

    Args:
        certificate: ``certificate.json``; verified first.
        paper: ``paper.json`` or its directory (the directory, for the sealed half).
        generator: The same model, as far as the re-runner can tell.
        examiner: A key to the sealed half, the examiner's or a recipient's; without it only the public half is asked.
        ledger: Gets an access entry before the sealed half is opened, and the finding; needed with ``examiner``.
        opened: The opened paper, once it is retired: then all of it can be asked without a key.

    Raises:
        IntegrityError: The certificate does not verify, or the opened paper is not the paper's.
        ProcedureError: The sealed half without a ledger, or another task.
        EndpointError: The Generator broke its protocol, does not answer, or too many tries failed for a comparison.
    """
    if examiner is not None and ledger is None:
        raise ProcedureError(
            "The sealed half cannot be asked without a ledger.",
            hint="Give the ledger, so that the opening is on record; or leave the key out and re-run the public half.",
        )
    verified = verification_of(Materials(certificate=certificate, paper=paper, ledger=ledger.path if ledger else None))
    original, public = verified.require(), verified.require_paper()
    task = check_task(public, task)
    task.verifier.check_machine()
    info = generator.describe()
    bank = load_opened(opened, paper=public).problems if opened else ()
    if not design_of(original.registration, original.paper).is_whole and examiner is None and opened is None:
        raise ProcedureError(
            "This sitting asked sealed problems only, and the public half has nothing to compare with.",
            hint="Re-run with a key that opens the sealed half, or once the paper is opened.",
        )
    problems = _problems(original, public, paper if paper.is_dir() else paper.parent, examiner, bank)
    tries = [(index, sample) for index in sorted(problems) for sample in range(original.registration.num_tries)]
    if info.kind != "local":
        ask_probes(generator, num_answers=0, count=1)  # that it answers at all, before it is shown a problem
    if ledger is not None and examiner is not None:
        purpose = f"rerun by {runner.public.label}"
        # Under the certificate's digest, not the registration's: a rerun is no opening of the sitting.
        digest = original.content_digest
        enter_access(ledger, public.header, sorted(problems), info, examiner, purpose=purpose, registration=digest)
    answers = _ask_again(original, problems, tries, generator, task, events or NullSink())
    items = _compared(original, answers)
    reach = Reach.of(item.status for item in items)
    if info.kind != "local" and not reach.is_enough:
        raise EndpointError(
            f"{info.name} was not reached: {reach}. There is no report.",
            hint="Mend it, then run the same command again: all is asked again.",
        )
    agreement, difference = compare_items(items, original.registration)
    agrees = difference.difference.low <= 0.0 <= difference.difference.high
    same_digest = info.digest == original.registration.model_digest
    report = RerunReport(
        certificate=original.content_digest,
        paper_id=public.header.paper_id,
        generator=info,
        same_digest=same_digest,
        halves=_halves(public.header, examiner is not None or opened is not None),
        items=items,
        agreement=agreement,
        difference=difference,
        agrees=agrees,
        statement=rerun_statement(difference, agrees, same_digest, info.kind),
        finished=utc_now(),
        runner=runner.public,
        software=host_software(answer.verdict for answer in answers),
    )
    signed = CounterSignedRerun(report=report, signature=runner.sign("rerun", report.canonical()))
    write_record(output, signed)
    if ledger is not None:
        _enter(ledger, public.header, report, runner)
    return signed


def file_rerun(
    report: Path, *, certificate: Path, paper: Path, ledger: Ledger, runner: KeyPair
) -> tuple[LedgerEntry, CounterSignedRerun]:
    """File a re-run that was made without the ledger. The same call again appends nothing.

    Args:
        certificate: What was asked again; verified first, against the ledger too.
        paper: ``paper.json`` or its directory.
        ledger: Gets the finding.
        runner: Who made the report; nobody else's word is taken for it.

    Raises:
        IntegrityError: Certificate or report do not verify.
        ProcedureError: Another key's report.
    """
    verified = verification_of(Materials(certificate=certificate, paper=paper, ledger=ledger.path))
    original = verified.require()
    signed = load_rerun(report, certificate=original)
    theirs = signed.report.runner
    if theirs.signing != runner.public.signing:
        raise ProcedureError(
            f"This report was made by {theirs.label}, not by {runner.public.label}.",
            hint="Only who asked again can file it; others hand it to `exam verify … --rerun`.",
        )

    def filed(log: PaperLog) -> LedgerEntry | None:
        return next((rerun.entry for rerun in log.of(RerunEntry) if rerun.is_of(signed.report)), None)

    def only_once(log: PaperLog) -> None:
        if filed(log):
            raise ProcedureError("This re-run was filed a moment ago.", hint="It is on record: nothing is left to do.")

    known = filed(PaperLog(ledger.entries(), original.paper))
    return known or _enter(ledger, original.paper, signed.report, runner, only_once), signed


def _enter(
    ledger: Ledger,
    header: PaperHeader,
    report: RerunReport,
    runner: KeyPair,
    guard: Callable[[PaperLog], None] | None = None,
) -> LedgerEntry:
    told: dict[str, JSON] = {"report": report.content_digest, "agrees": report.agrees, "statement": report.statement}
    about = {"certificate": report.certificate, "runner": report.runner.label}
    return RerunEntry.append(ledger, header, runner, guard, **about, **told)


def _problems(
    original: Certificate,
    public: PublicPaper,
    directory: Path,
    examiner: KeyPair | None,
    opened: Sequence[PaperProblem],
) -> dict[int, PaperProblem]:
    """What is asked again, by place: what the key opens or the retirement opened, and the original asked."""
    problems = {problem.index: problem for problem in (*public.problems, *opened)}
    if examiner is not None:
        sealed = open_sealed(directory, public, examiner)
        problems.update({problem.index: problem for problem in sealed.problems})
    for place in original.result.not_asked:  # there is nothing to compare with
        problems.pop(place, None)
    return problems


def _halves(header: PaperHeader, sealed: bool) -> tuple[Half, ...]:
    if not sealed:
        return ("public",)
    return ("public", "sealed", "twin") if header.num_twins else ("public", "sealed")


def _ask_again(
    original: Certificate,
    problems: Mapping[int, PaperProblem],
    tries: Sequence[Try],
    generator: Generator,
    task: Task,
    events: EventSink,
) -> list[Answer]:
    answers = []
    preamble = preamble_of(original.paper, original.registration)
    for answer in ask(problems, original.registration, tries, generator, task, preamble=preamble):
        answers.append(answer)
        events.progress(len(answers), len(tries), "answers")
    return answers


def _compared(original: Certificate, answers: Iterable[Answer]) -> tuple[RerunItem, ...]:
    first: dict[Try, Outcome] = {(o.index, o.sample_index): o for o in original.result.outcomes}
    status: dict[Try, OutcomeStatus] = {(answer.index, answer.sample_index): status_of(answer) for answer in answers}
    return tuple(
        RerunItem(index=place[0], sample_index=place[1], status=status[place], original=first[place].status)
        for place in sorted(status)
    )


def load_rerun(path: Path, *, certificate: Certificate) -> CounterSignedRerun:
    """Read a rerun report and check that it is signed, about this certificate, and right in its numbers.

    Raises:
        IntegrityError: It is not.
    """
    return check_rerun(read_record(path, CounterSignedRerun), str(path), certificate=certificate)
