"""``spiritsafe exam open|dispute|edit|reissue|file``: retirement, and grades and re-runs after the certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from spiritsafe.cli.paths import EXISTING, KEY, GuardedCommand, OutputFile, OutputFolder, record_kind
from spiritsafe.cli.terminal import say, say_result
from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import (
    OPENED_FILE,
    PaperLog,
    accept_dispute,
    file_dispute,
    file_rerun,
    load_certificate,
    load_paper,
    open_paper,
    publish_answers,
    registration_states,
    registrations_of,
    reissue,
    reject_dispute,
)
from spiritsafe.exam.records import Certificate, OpenedPaper, OutcomeStatus
from spiritsafe.ledger import KeyPair, Ledger

_CERTIFICATE = OutputFile(record_kind("a certificate", Certificate))
_OPENED = OutputFolder({OPENED_FILE: record_kind("an opened paper", OpenedPaper)})
_STATUS = click.Choice(get_args(OutcomeStatus))
_ledger = click.option("--ledger", type=EXISTING, required=True, help="The ledger file (JSON lines).")
_reason = click.option("--reason", required=True, help="Why, for the record.")
_key = click.option("--key", type=KEY, required=True, help="The examiner's key file.")


@click.command(cls=GuardedCommand, name="open")
@click.argument("paper", type=EXISTING)
@_ledger
@_key
@_reason
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
    opened = open_paper(paper=paper, examiner=examiner, ledger=book, reason=reason, directory=out)
    say(f"retired: all {len(opened.problems)} problems are in {out}")
    _say_never_sat(paper, book)
    for certificate, answers in journal:
        record, path = publish_answers(
            paper=paper,
            certificate=load_certificate(certificate),
            journal=answers,
            examiner=examiner,
            ledger=book,
            directory=out,
        )
        say(f"{len(record.answers)} answers published in {path}")


def _say_never_sat(paper: Path, book: Ledger) -> None:
    header = load_paper(paper).header
    log = PaperLog(book.entries(), header)
    for maker in dict.fromkeys(entry.key for entry in registrations_of(log)):
        for state in registration_states(log, maker_key=maker):
            if state.state == "open":
                say(f"{quoted_name(state.model_name)} was registered and can no longer sit: {state.registration}")


@click.command(cls=GuardedCommand, name="dispute")
@click.argument("certificate", type=EXISTING)
@_ledger
@click.option("--key", type=KEY, required=True, help="Your key file.")
@click.option("--problem", type=click.IntRange(min=0), required=True, help="The problem's place in the bank.")
@click.option("--try", "sample", type=click.IntRange(min=0), default=0, show_default=True, help="Which answer to it.")
@click.option("--propose", type=_STATUS, required=True, help="What the grade should be.")
@_reason
def dispute_(certificate: Path, ledger: Path, key: Path, problem: int, sample: int, propose: Any, reason: str) -> None:
    """Hold one grade of CERTIFICATE for wrong, on record."""
    filed = file_dispute(
        certificate=load_certificate(certificate),
        ledger=Ledger(ledger),
        author=KeyPair.load(key),
        index=problem,
        sample_index=sample,
        proposed=propose,
        reason=reason,
    )
    say_result(f"dispute {filed.content_digest}")


@click.command(cls=GuardedCommand, name="edit")
@click.argument("certificate", type=EXISTING)
@_ledger
@_key
@click.option("--dispute", required=True, metavar="DIGEST", help="Digest of the dispute.")
@click.option("--status", type=_STATUS, help="Accept it: the new grade.")
@click.option("--reject", is_flag=True, help="Let the grade stand.")
@_reason
def edit_(certificate: Path, ledger: Path, key: Path, dispute: str, status: Any, reject: bool, reason: str) -> None:
    """Answer a dispute about CERTIFICATE: edit the grade, or reject. Nothing is overwritten."""
    if reject == (status is not None):
        raise ProcedureError("A dispute is accepted or rejected.", hint="Give either --status or --reject.")
    record, book, examiner = load_certificate(certificate), Ledger(ledger), KeyPair.load(key)
    if reject:
        entry = reject_dispute(certificate=record, ledger=book, examiner=examiner, dispute=dispute, reason=reason)
    else:
        entry = accept_dispute(
            certificate=record, ledger=book, examiner=examiner, dispute=dispute, status=status, reason=reason
        )
    words = "rejected" if reject else f"accepted: graded {status}; `exam reissue` makes the new certificate"
    say(f"{words} (ledger entry {entry.index})")


@click.command(cls=GuardedCommand, name="reissue")
@click.argument("certificate", type=EXISTING)
@click.option("--paper", type=EXISTING, required=True, help="paper.json, or its folder.")
@_ledger
@_key
@click.option("--host-key", type=KEY, help="The host's key file, when host and examiner differ.")
@click.option("--out", type=_CERTIFICATE, required=True, help="File for the new certificate.")
def reissue_(certificate: Path, paper: Path, ledger: Path, key: Path, host_key: Path | None, out: Path) -> None:
    """Make the certificate that counts in all edited grades and supersedes CERTIFICATE."""
    new = reissue(
        certificate,
        paper=paper,
        ledger=Ledger(ledger),
        examiner=KeyPair.load(key),
        host=KeyPair.load(host_key) if host_key else None,
        output=out,
    )
    for statement in new.statements:
        if "edited" in statement.lower():
            say(statement)


@click.command(cls=GuardedCommand, name="file")
@click.argument("certificate", type=EXISTING)
@click.option("--paper", type=EXISTING, required=True, help="paper.json, or its folder.")
@click.option("--rerun", type=EXISTING, required=True, help="Your counter-signed report.")
@_ledger
@click.option("--key", type=KEY, required=True, help="The key file that signed the report.")
def file_(certificate: Path, paper: Path, rerun: Path, ledger: Path, key: Path) -> None:
    """File a re-run of CERTIFICATE that was made without the ledger, agreement or difference."""
    entry, signed = file_rerun(
        rerun, certificate=certificate, paper=paper, ledger=Ledger(ledger), runner=KeyPair.load(key)
    )
    say(f"on record in ledger entry {entry.index}: {signed.report.statement}")


def add_commands(group: click.Group) -> None:
    """Put these commands into the group ``exam``."""
    for command in (open_, dispute_, edit_, reissue_, file_):
        group.add_command(command)
