"""``spiritsafe exam key|review|withdraw|lapse|registrations|exposure|reveal|checkpoint|witness``.

What concerns keys, ledgers and single problems; :mod:`spiritsafe.cli.exam.main` holds the exam itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from spiritsafe import exam
from spiritsafe.cli.exam.options import (
    key_option,
    ledger_option,
    problem_option,
    reason_option,
    registration_option,
    try_option,
)
from spiritsafe.cli.paths import EXISTING, LEDGER, NEW_KEY, GuardedCommand, Kind, OutputFile, record_kind
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import print_note, print_result
from spiritsafe.core.files.atomic import read_json, write_bytes, write_text
from spiritsafe.core.files.reading import parse_json, read_bytes
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import records
from spiritsafe.ledger import KeyPair, Ledger, Note, NoteKey, PublicKey, head_of, sign_head, witness


def _is_private(data: bytes) -> bool:
    return bool(exam.PrivateRow.from_json(parse_json(data.splitlines()[0], "it")))


_PUBLIC = OutputFile(record_kind("a public key", lambda: PublicKey))
_NOTE = OutputFile(Kind("a checkpoint", lambda data: bool(Note.parse(data.decode("utf-8")))))
_SIGNED_FILE = OutputFile(Kind("a private file of problems", _is_private))
_REVEALED = OutputFile(record_kind("an opened answer", lambda: records.Revealed))
_MOST_TOLD = 10  # anybody can append such entries


@click.command(cls=GuardedCommand, name="key")
@click.argument("file", type=NEW_KEY)
@click.option("--holder", default="self", show_default=True, help="Name for a new key.")
@click.option("--out", type=_PUBLIC, help="File for the public part, to give to others.")
def key_(file: Path, holder: str, out: Path | None) -> None:
    """Show the public part of the key in FILE; a new key is made there if there is none."""
    public = KeyPair.load_or_create(file, holder=holder).public
    if out is not None:
        write_bytes(out, public.canonical())
    print_result(public.label)
    print_result(f"witness key {NoteKey.of_witness(public.signing)}")


@click.command(cls=GuardedCommand, name="review")
@click.argument("file", type=EXISTING)
@click.option("--name", required=True, help="What the bank will be called: private:NAME.")
@key_option("The reviewer's key file.")
@click.option("--out", type=_SIGNED_FILE, required=True, help="The private file with your sign-offs; keep it private.")
def review_(file: Path, name: str, key: Path, out: Path) -> None:
    """Sign every problem of a private FILE: you have read it, and its answer is right."""
    count = exam.sign_off(file, name=name, reviewer=KeyPair.load(key), output=out)
    print_note(f"{count} problems carry your signature, in {out}")


def _registered(book: Ledger, path: Path) -> records.Registration:
    """What ``register`` wrote, as the ledger has it."""
    return exam.find_registration(book, records.Registration.from_json(read_json(path)).content_digest)


@click.command(cls=GuardedCommand, name="withdraw")
@click.argument("paper", type=EXISTING)
@registration_option
@ledger_option
@key_option("The maker's key file.")
@reason_option
def withdraw_(paper: Path, registration: Path, ledger: Path, key: Path, reason: str) -> None:
    """Record that a registered sitting of PAPER will not happen."""
    book = Ledger(ledger)
    registered = _registered(book, registration)
    entry = exam.withdraw(
        ledger=book, paper=exam.load_paper(paper), registration=registered, maker=KeyPair.load(key), reason=reason
    )
    print_note(f"withdrawn in ledger entry {entry.index}")


@click.command(cls=GuardedCommand, name="lapse")
@click.argument("paper", type=EXISTING)
@registration_option
@ledger_option
@key_option()
@click.option(
    "--after",
    "days",
    type=click.IntRange(1, 36_500),
    default=records.USUAL_DAYS,
    show_default=True,
    help="Days without a sign of the sitting.",
)
@reason_option
def lapse_(paper: Path, registration: Path, ledger: Path, key: Path, days: int, reason: str) -> None:
    """Give up, on record, a registered sitting of PAPER that nobody finishes: it stays listed, without a result."""
    book = Ledger(ledger)
    registered = _registered(book, registration)
    entry = exam.lapse(
        ledger=book,
        paper=exam.load_paper(paper),
        registration=registered,
        examiner=KeyPair.load(key),
        reason=reason,
        days=days,
    )
    print_note(f"lapsed in ledger entry {entry.index}: {quoted_name(registered.model_name)} has no result")


@click.command(cls=GuardedCommand, name="registrations")
@click.argument("paper", type=EXISTING)
@ledger_option
@json_option
def registrations_(paper: Path, ledger: Path, as_json: bool) -> None:
    """List all registrations for PAPER and how each ended; open ones are still owed a result."""
    header = exam.load_paper(paper).header
    log = exam.PaperLog(Ledger(ledger).entries(), header)
    makers = dict.fromkeys(entry.key for entry in exam.registrations_of(log))
    states = {maker: exam.registration_states(log, maker_key=maker) for maker in makers}
    if as_json:
        print_json({"maker": maker, **state.to_json()} for maker, found in states.items() for state in found)
        return
    for found in states.values():
        for state in found:
            score = f" sealed {state.sealed_accuracy:.1%}" if state.sealed_accuracy is not None else ""
            if state.predicted_score is not None:
                score = f" sealed {state.predicted_score:.1%} predicted from chosen problems"
            claim = f" p = {state.p_value:.2g}" if state.p_value is not None else ""
            name = quoted_name(state.model_name) + (": no result" if state.state == "lapsed" else "")
            print_result(f"{state.state:9s} {name}{score}{claim}  {state.registration}")
    for other in log.ignored(exam.RegistrationEntry):
        print_result(other.words)


@click.command(cls=GuardedCommand, name="exposure")
@click.argument("paper", type=EXISTING)
@ledger_option
@click.option("--problem", type=click.IntRange(min=0), help="Only this place of the bank, in full.")
@json_option
def exposure_(paper: Path, ledger: Path, problem: int | None, as_json: bool) -> None:
    """Say who saw which problems of PAPER when, and who has them now."""
    header = exam.load_paper(paper).header
    log = exam.PaperLog(Ledger(ledger).entries(), header)
    seen = exam.exposures(log)
    if as_json:
        print_json(exam.summarise(seen) if problem is None else [each for each in seen if each.index == problem])
        return
    if problem is None:
        for party in exam.summarise(seen):
            counts = ", ".join(f"{count} {half}" for half, count in sorted(party.counts.items()))
            print_result(f"{'has' if party.has else 'saw'}  {party.first}  {party.party}: {counts}")
        _print_unconfirmed(exam.unconfirmed(log))
        return
    for record in seen:
        if record.index == problem:
            verb = "has" if record.has else "saw"
            print_result(f"{verb}  {record.first}  {record.party} ({record.half}, {record.times} on record)")


def _print_unconfirmed(foreign: Sequence[exam.Ignored]) -> None:
    for entry in (other.entry for other in foreign[:_MOST_TOLD]):
        print_result(f"unconfirmed: ledger entry {entry.index} ({entry.kind}) is by a key that cannot open this paper")
    if len(foreign) > _MOST_TOLD:
        print_result(f"unconfirmed: {len(foreign) - _MOST_TOLD} more")


@click.command(cls=GuardedCommand, name="reveal")
@click.argument("paper", type=EXISTING)
@registration_option
@ledger_option
@key_option()
@click.option("--journal", type=EXISTING, required=True, help="The sitting's answers.jsonl.")
@problem_option
@try_option
@reason_option
@click.option("--out", type=_REVEALED, required=True, help="File for what is opened.")
def reveal_(
    paper: Path,
    registration: Path,
    ledger: Path,
    key: Path,
    journal: Path,
    problem: int,
    sample: int,
    reason: str,
    out: Path,
) -> None:
    """Open one problem of PAPER with one answer and its verdict: from then on it is everybody's."""
    book = Ledger(ledger)
    exam.reveal(
        paper=paper,
        registration=_registered(book, registration),
        journal=journal,
        examiner=KeyPair.load(key),
        ledger=book,
        index=problem,
        sample_index=sample,
        reason=reason,
        output=out,
    )
    print_note(f"problem {problem} is opened in {out}; `exam verify … --revealed {out}` checks it")


@click.command(cls=GuardedCommand, name="checkpoint")
@click.argument("ledger", type=EXISTING)
@key_option("Key file of who keeps the ledger.")
@click.option("--out", type=_NOTE, required=True, help="File for the signed checkpoint (C2SP tlog-checkpoint).")
def checkpoint_(ledger: Path, key: Path, out: Path) -> None:
    """Sign the head of LEDGER as a checkpoint that other transparency tools read."""
    keeper = KeyPair.load(key)
    head = head_of(Ledger(ledger))
    write_text(out, str(sign_head(head, keeper)))
    print_note(f"{head.size} entries; key {NoteKey.of_log(head.origin, keeper.public.signing)}")


@click.command(cls=GuardedCommand, name="witness")
@click.argument("other", type=EXISTING)
@click.option("--ledger", type=LEDGER, required=True, help="Your own ledger: remembers what you saw.")
@key_option("Your key file.")
@click.option("--name", required=True, help="What you call the other ledger; always the same.")
@click.option("--out", type=_NOTE, required=True, help="File for the cosigned checkpoint; others' signatures are kept.")
def witness_(other: Path, ledger: Path, key: Path, name: str, out: Path) -> None:
    """Check that the ledger OTHER extends what you saw of it before, and cosign its head."""
    keeper = KeyPair.load(key)
    note = witness(Ledger(other), own=Ledger(ledger), key=keeper, name=name)
    if out.exists() and out.stat().st_size:
        before = Note.parse(read_bytes(out).decode("utf-8"))
        note = before.joined(note) if before.text == note.text else note
    write_text(out, str(note))
    print_note(f"cosigned; your witness key is {NoteKey.of_witness(keeper.public.signing)}")
