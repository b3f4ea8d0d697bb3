"""Sealing: draw a bank, commit to it, cut it, encrypt one part and publish the other.

In: a task or a private file, a number of problems, the examiner's key, a ledger. Out: ``paper.json``, ``sealed.age``,
and an entry in the ledger. What they are is told in :mod:`spiritsafe.exam.paper.files`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import JSON, digest_bytes
from spiritsafe.core.errors import ProcedureError, TaskError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory, sweep, write_bytes
from spiritsafe.core.files.lock import locked
from spiritsafe.core.files.record_files import record_bytes, write_record
from spiritsafe.core.process.gc_pause import rare_collections
from spiritsafe.exam.paper.bank import Bank, draw_bank, draw_twins
from spiritsafe.exam.paper.files import (
    PAPER_FILE,
    PAPER_RULES,
    SEALED_FILE,
    keyed_salt,
    load_paper,
    unsigned,
    verifier_label,
)
from spiritsafe.exam.paper.private import PrivateTask
from spiritsafe.exam.paper.split import public_places, public_sizes
from spiritsafe.exam.records.paper import PaperHeader, PaperProblem, PaperProtocol, PublicPaper, SealedHalf, Stratum
from spiritsafe.exam.records.terms import MOST_PROBLEMS
from spiritsafe.ledger import KeyPair, Ledger, PublicKey, encrypt, one_a_holder, root_of_leaves, same_holder
from spiritsafe.tasks import Task

_SECRET_BYTES = 32


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTerms:
    """What an examiner may set beside task and size.

    Attributes:
        protocol: How everybody sits the paper.
        twins: Add a sealed twin for each problem, where the task makes them.
        recipients: Who else can open the sealed half, each alone.
        reviewers: Whose sign-offs count; none of them may be the examiner.
        num_signoffs: How many each problem of a private file needs.
    """

    protocol: PaperProtocol | None = None
    twins: bool = False
    recipients: Sequence[PublicKey] = ()
    reviewers: Sequence[PublicKey] = ()
    num_signoffs: int = 0


@rare_collections()
def seal(
    task: Task,
    *,
    count: int,
    ledger: Ledger,
    directory: Path,
    examiner: KeyPair,
    terms: PaperTerms | None = None,
    secret: bytes | None = None,
    events: EventSink | None = None,
) -> PublicPaper:
    """Draw, commit, split, encrypt, publish and enter a paper. Repeated after a kill, it finishes the same paper.

    Args:
        task: Where the problems come from, and their only grader.
        count: Problems in the bank; half of them (rounded down) become public.
        ledger: Where the paper is entered.
        directory: Where ``paper.json`` and ``sealed.age`` go.
        examiner: Signs, and will be able to open the sealed half.
        terms: Protocol, twins, recipients, sign-offs.
        secret: 32 secret bytes; random if None. The same bytes draw the same bank and the same split.

    Raises:
        ProcedureError: The directory holds another paper.
        TaskError: The task has no verifier or too few exam problems, makes no twins, or a sign-off is missing.
        StorageError: A file cannot be written.
    """
    if count < 2:
        raise TaskError("A paper needs at least 2 problems.", hint="Ask for more; 400 find a large leak.")
    if count > MOST_PROBLEMS:
        raise TaskError(
            f"A paper has at most {MOST_PROBLEMS:,} problems.", hint="Ask for fewer; 400 find a large leak."
        )
    if not task.verifies:
        raise TaskError(
            f"{task.name} has no verifier: nobody can grade answers to it.",
            hint="Seal a task that grades; measure conversations by their loss instead.",
        )
    if secret is not None and len(secret) != _SECRET_BYTES:
        raise TaskError(f"A paper's secret has {_SECRET_BYTES} bytes.", hint="Leave it out to draw one at random.")
    terms = terms or PaperTerms()
    _check_terms(task, terms, examiner)
    ensure_directory(directory)
    with locked(directory / "seal.lock"):
        path = directory / PAPER_FILE
        sweep(path, directory / SEALED_FILE)
        if path.exists():
            paper = load_paper(path)
            _check_same_paper(paper, task, count, examiner, terms, path)
        else:
            key = (secret or secrets.token_bytes(_SECRET_BYTES)).hex()
            paper = _write_paper(task, count, key, directory, examiner, terms, events or NullSink())
        if not ledger.find("paper", paper_id=paper.header.paper_id):
            body: dict[str, JSON] = {"paper_id": paper.header.paper_id, "header": paper.header.to_json()}
            ledger.append("paper", body, examiner)
    return paper


def _check_terms(task: Task, terms: PaperTerms, examiner: KeyPair) -> None:
    num_reviewers = len(one_a_holder(terms.reviewers))
    if terms.num_signoffs > num_reviewers:
        raise TaskError(
            f"{terms.num_signoffs} sign-offs a problem need as many reviewers; {num_reviewers} were named.",
            hint="Name more reviewers, or ask for fewer sign-offs.",
        )
    if (terms.reviewers or terms.num_signoffs) and not (isinstance(task, PrivateTask) and terms.num_signoffs):
        raise TaskError(
            "Sign-offs are for the problems of a private file, at least one a problem.",
            hint="Leave the reviewers out: a generated problem has nobody who wrote it.",
        )
    if any(same_holder(key, examiner.public) for key in terms.reviewers):
        raise TaskError("The examiner cannot be a reviewer of their own paper.", hint="Name somebody else.")


def _check_same_paper(
    paper: PublicPaper, task: Task, count: int, examiner: KeyPair, terms: PaperTerms, path: Path
) -> None:
    header = paper.header
    wanted = (task.name, task.version, verifier_label(task), count, examiner.public, terms.protocol, terms.twins)
    found = (header.task, header.task_version, header.verifier, header.num_problems, header.examiner, header.protocol)
    keys = (header.recipients, header.reviewers, header.num_signoffs)
    if (*found, header.num_twins > 0) != wanted or keys != (
        tuple(terms.recipients),
        tuple(terms.reviewers),
        terms.num_signoffs,
    ):
        raise ProcedureError(
            f"{path} is another paper ({header.num_problems} problems of {header.task}).",
            hint="Seal into an empty directory; a paper is never overwritten.",
        )


def _write_paper(
    task: Task, count: int, secret: str, directory: Path, examiner: KeyPair, terms: PaperTerms, events: EventSink
) -> PublicPaper:
    bank = draw_bank(task, secret=secret, count=count, events=events)
    places = _places(bank, secret)
    if missing := unsigned(places, terms.reviewers, terms.num_signoffs):
        raise TaskError(
            f"{len(missing)} of the {count} drawn problems carry fewer than {terms.num_signoffs} of their reviewers' "
            "sign-offs.",
            hint="Let the reviewers sign the file (`spiritsafe exam review`), then seal it.",
        )
    if terms.twins:
        places += [
            PaperProblem(
                index=count + original.index,
                salt=keyed_salt(secret, "problem", count + original.index),
                problem=twin,
                stratum=original.stratum,
            )
            for original, twin in zip(places, draw_twins(bank, secret=secret, events=events), strict=True)
        ]
    commitments = tuple(problem.commitment for problem in places)
    draft = PaperHeader(
        task=task.name,
        task_version=task.version,
        verifier=verifier_label(task),
        num_problems=count,
        num_public=count // 2,
        num_sealed=count - count // 2,
        bank_root=root_of_leaves([bytes.fromhex(value) for value in commitments]).hex(),
        sealed_digest=digest_bytes(b""),  # known once the cut is
        examiner=examiner.public,
        rules=PAPER_RULES,
        num_twins=count if terms.twins else 0,
        strata=_strata(bank),
        protocol=terms.protocol,
        recipients=tuple(terms.recipients),
        reviewers=tuple(terms.reviewers),
        num_signoffs=terms.num_signoffs,
    )
    chosen = set(public_places(draft))
    sealed = SealedHalf(
        bank_root=draft.bank_root, secret=secret, problems=tuple(p for p in places if p.index not in chosen)
    )
    box = encrypt(record_bytes(sealed), [examiner.public, *terms.recipients])
    paper = PublicPaper(
        header=draft.model_copy(update={"sealed_digest": digest_bytes(box)}),
        commitments=commitments,
        problems=tuple(problem for problem in places if problem.index in chosen),
    )
    write_bytes(directory / SEALED_FILE, box)
    write_record(directory / PAPER_FILE, paper)  # last: a paper without its sealed half must not exist
    return paper


def _places(bank: Bank, secret: str) -> list[PaperProblem]:
    """The bank's problems in order, salted."""
    placed: list[PaperProblem] = []
    for stratum in bank.strata:
        signoffs = stratum.signoffs or ((),) * len(stratum.problems)
        for problem, signed in zip(stratum.problems, signoffs, strict=True):
            salt = keyed_salt(secret, "problem", len(placed))
            placed.append(
                PaperProblem(index=len(placed), salt=salt, problem=problem, stratum=stratum.name, signoffs=signed)
            )
    return placed


def _strata(bank: Bank) -> tuple[Stratum, ...]:
    if [stratum.name for stratum in bank.strata] == [""]:
        return ()
    public = public_sizes([len(stratum.problems) for stratum in bank.strata])
    return tuple(
        Stratum(name=stratum.name, task=stratum.problems[0].task, num_problems=len(stratum.problems), num_public=size)
        for stratum, size in zip(bank.strata, public, strict=True)
    )
