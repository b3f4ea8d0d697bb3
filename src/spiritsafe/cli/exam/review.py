"""``spiritsafe exam open|dispute|edit|reissue|file``: retirement, and grades and re-runs after the certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from spiritsafe import exam
from spiritsafe.cli.exam.options import (
    host_key_option,
    key_option,
    ledger_option,
    paper_option,
    problem_option,
    reason_option,
    try_option,
)
from spiritsafe.cli.paths import EXISTING, GuardedCommand, OutputFile, OutputFolder, record_kind
from spiritsafe.cli.terminal import print_note, print_result
from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import records
from spiritsafe.ledger import KeyPair, Ledger

_CERTIFICATE = OutputFile(record_kind("a certificate", lambda: records.Certificate))
_OPENED = OutputFolder(lambda: {exam.OPENED_FILE: record_kind("an opened paper", lambda: records.OpenedPaper)})
_STATUS = click.Choice(get_args(records.OutcomeStatus))


@click.command(cls=GuardedCommand, name="open")
@click.argument("paper", type=EXISTING)
@ledger_option
@key_option()
@reason_option
@click.option(
    "--journal",
    nargs=2,
    multiple=True,
    type=EXISTING,
    metavar="CERTIFICATE ANSWERS",
    help="Publish a sitting's answers too: its certificate and its answers.jsonl.",
)
@click.option("--out", type=_OPENED, required=True, help="Folder for the opened paper and answers.")
def open_(paper: Path, ledger: Path, key: Path, reason: str, journal: tuple[tuple[Path, Path], ...], out: Path) -> None:
    """Retire PAPER: publish all its problems. Nobody can be certified on it afterwards."""
    book, examiner = Ledger(ledger), KeyPair.load(key)
    opened = exam.open_paper(paper=paper, examiner=examiner, ledger=book, reason=reason, directory=out)
    print_note(f"retired: all {len(opened.problems)} problems are in {out}")
    _print_never_sat(paper, book)
    for certificate, answers in journal:
        record, path = exam.publish_answers(
            paper=paper,
            certificate=exam.load_certificate(certificate),
            journal=answers,
            examiner=examiner,
            ledger=book,
            directory=out,
        )
        print_note(f"{len(record.answers)} answers published in {path}")


def _print_never_sat(paper: Path, book: Ledger) -> None:
    header = exam.load_paper(paper).header
    log = exam.PaperLog(book.entries(), header)
    for maker in dict.fromkeys(entry.key for entry in exam.registrations_of(log)):
        for state in exam.registration_states(log, maker_key=maker):
            if state.state == "open":
                print_note(
                    f"{quoted_name(state.model_name)} was registered and can no longer sit: {state.registration}"
                )


@click.command(cls=GuardedCommand, name="dispute")
@click.argument("certificate", type=EXISTING)
@ledger_option
@key_option("Your key file.")
@problem_option
@try_option
@click.option("--propose", type=_STATUS, required=True, help="What the grade should be.")
@reason_option
def dispute_(certificate: Path, ledger: Path, key: Path, problem: int, sample: int, propose: Any, reason: str) -> None:
    """Hold one grade of CERTIFICATE for wrong, on record."""
    filed = exam.file_dispute(
        certificate=exam.load_certificate(certificate),
        ledger=Ledger(ledger),
        author=KeyPair.load(key),
        index=problem,
        sample_index=sample,
        proposed=propose,
        reason=reason,
    )
    print_result(f"dispute {filed.content_digest}")


@click.command(cls=GuardedCommand, name="edit")
@click.argument("certificate", type=EXISTING)
@ledger_option
@key_option()
@click.option("--dispute", required=True, metavar="DIGEST", help="Digest of the dispute.")
@click.option("--status", type=_STATUS, help="Accept it: the new grade.")
@click.option("--reject", is_flag=True, help="Let the grade stand.")
@reason_option
def edit_(certificate: Path, ledger: Path, key: Path, dispute: str, status: Any, reject: bool, reason: str) -> None:
    """Answer a dispute about CERTIFICATE: edit the grade, or reject. Nothing is overwritten."""
    if reject == (status is not None):
        raise ProcedureError("A dispute is accepted or rejected.", hint="Give either --status or --reject.")
    record, book, examiner = exam.load_certificate(certificate), Ledger(ledger), KeyPair.load(key)
    if reject:
        entry = exam.reject_dispute(certificate=record, ledger=book, examiner=examiner, dispute=dispute, reason=reason)
    else:
        entry = exam.accept_dispute(
            certificate=record, ledger=book, examiner=examiner, dispute=dispute, status=status, reason=reason
        )
    words = "rejected" if reject else f"accepted: graded {status}; `exam reissue` makes the new certificate"
    print_note(f"{words} (ledger entry {entry.index})")


@click.command(cls=GuardedCommand, name="reissue")
@click.argument("certificate", type=EXISTING)
@paper_option
@ledger_option
@key_option()
@host_key_option
@click.option("--out", type=_CERTIFICATE, required=True, help="File for the new certificate.")
def reissue_(certificate: Path, paper: Path, ledger: Path, key: Path, host_key: Path | None, out: Path) -> None:
    """Make the certificate that counts in all edited grades and supersedes CERTIFICATE."""
    new = exam.reissue(
        certificate,
        paper=paper,
        ledger=Ledger(ledger),
        examiner=KeyPair.load(key),
        host=KeyPair.load(host_key) if host_key else None,
        output=out,
    )
    for statement in exam.edits_told(new):
        print_note(statement)


@click.command(cls=GuardedCommand, name="file")
@click.argument("certificate", type=EXISTING)
@paper_option
@click.option("--rerun", type=EXISTING, required=True, help="Your counter-signed report.")
@ledger_option
@key_option("The key file that signed the report.")
def file_(certificate: Path, paper: Path, rerun: Path, ledger: Path, key: Path) -> None:
    """File a re-run of CERTIFICATE that was made without the ledger, agreement or difference."""
    entry, signed = exam.file_rerun(
        rerun, certificate=certificate, paper=paper, ledger=Ledger(ledger), runner=KeyPair.load(key)
    )
    print_note(f"on record in ledger entry {entry.index}: {signed.report.statement}")
