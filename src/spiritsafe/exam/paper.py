"""Papers: one bank of problems, committed to as a whole, then cut at random into a public and a sealed half.

In: a task, a number of problems, the examiner's key, a ledger. Out: ``paper.json`` (header, all commitments, public
half) and ``sealed.age`` (the other half, encrypted to the examiner), and an entry in the ledger.

Everything secret derives from 32 random bytes that stand only inside the encrypted half. Each problem is drawn with a
seed of its own, so that whoever reconstructs the generator's state from the public half learns nothing of the sealed.
The split follows from the bank's root: nobody chooses it, everybody can recompute it. (An examiner could still draw
many banks and publish the one they like; each *published* one is in the ledger.)
Exercised by ``pytest tests/unit/exam/test_paper.py``.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from spiritsafe.core.canonical import JSON, digest_bytes
from spiritsafe.core.certificates import LedgerEntry, PaperHeader, PaperProblem, PublicPaper, SealedHalf
from spiritsafe.core.errors import IntegrityError, ProcedureError, TaskError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files import ensure_directory, locked, write_bytes
from spiritsafe.core.records import Problem
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam.recordfile import parse_record, read_file, read_record, record_bytes, write_record
from spiritsafe.ledger import KeyPair, Ledger, encrypt, root_of_leaves
from spiritsafe.tasks import Task
from spiritsafe.tasks.exam_bucket import exam_problems

__all__ = [
    "PAPER_FILE",
    "RULES",
    "SEALED_FILE",
    "check_bank",
    "check_split",
    "keyed_salt",
    "load_paper",
    "open_sealed",
    "paper_entry",
    "public_indices",
    "seal",
    "verifier_label",
]

PAPER_FILE = "paper.json"
SEALED_FILE = "sealed.age"

RULES = (
    "Every committed problem is in the denominator, whatever happened to it.",
    "Accuracy is the share of tries with a fully right answer. Refused, cut off, unparsed, failed and ungradable "
    "tries count as wrong, and are counted apart.",
    "Public and sealed half are a random cut of one bank, fixed by the bank's Merkle root.",
    "A sitting needs a signed registration first, and each registration has one result.",
)

_SECRET_BYTES = 32


def keyed_salt(secret: str, *parts: str | int) -> str:
    """Sixteen bytes (hex) that only the holder of the paper's secret can derive."""
    message = "/".join(str(part) for part in parts).encode()
    return hmac.digest(bytes.fromhex(secret), message, "sha256")[:16].hex()


def verifier_label(task: Task) -> str:
    """Name and version of a task's verifier, as headers write it."""
    return f"{task.verifier.name}/{task.verifier.version}"


def public_indices(bank_root: str, num_problems: int, num_public: int) -> tuple[int, ...]:
    """The public half's places in the bank: those whose hash with the root is smallest, in ascending order."""

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"split/{bank_root}/{index}".encode()).digest()

    return tuple(sorted(sorted(range(num_problems), key=rank)[:num_public]))


def _draw(task: Task, secret: str, count: int, events: EventSink) -> list[Problem]:
    """``count`` distinct exam problems, each from its own secret seed."""
    drawn: dict[str, Problem] = {}
    repeats, draw = 0, 0
    while len(drawn) < count:
        seed = derive_seed("exam problem", secret, draw)
        draw += 1
        problem = next(iter(exam_problems(task, seed=seed, count=1)))
        if problem.id in drawn:
            repeats += 1
            if repeats > 200 + 20 * count:  # a family of `count` problems is exhausted long before, but for e**-20
                raise TaskError(
                    f"{task.name} gave only {len(drawn)} different exam problems; {count} were asked for.",
                    hint="Ask for fewer, or widen the task's knobs.",
                )
            continue
        repeats = 0
        drawn[problem.id] = problem
        events.progress(len(drawn), count, "problems")
    return list(drawn.values())


def seal(
    task: Task,
    *,
    count: int,
    ledger: Ledger,
    directory: Path,
    examiner: KeyPair,
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
        secret: 32 secret bytes; random if None. The same bytes draw the same bank and the same split.
        events: Hears of progress.

    Raises:
        ProcedureError: The directory holds another paper.
        TaskError: The task has too few exam problems.
        StorageError: A file cannot be written.
    """
    if count < 2:
        raise TaskError("A paper needs at least 2 problems.", hint="Ask for more; 400 find a large leak.")
    if secret is not None and len(secret) != _SECRET_BYTES:
        raise TaskError(f"A paper's secret has {_SECRET_BYTES} bytes.", hint="Leave it out to draw one at random.")
    ensure_directory(directory)
    with locked(directory / "seal.lock"):
        path = directory / PAPER_FILE
        if path.exists():
            paper = load_paper(path)
            _check_same_paper(paper, task, count, examiner, path)
        else:
            key = (secret or secrets.token_bytes(_SECRET_BYTES)).hex()
            paper = _write_paper(task, count, key, directory, examiner, events or NullSink())
        if not ledger.find("paper", paper_id=paper.header.paper_id):
            body: dict[str, JSON] = {"paper_id": paper.header.paper_id, "header": paper.header.to_json()}
            ledger.append("paper", body, examiner)
    return paper


def _check_same_paper(paper: PublicPaper, task: Task, count: int, examiner: KeyPair, path: Path) -> None:
    header = paper.header
    wanted = (task.name, task.version, verifier_label(task), count, examiner.public)
    if (header.task, header.task_version, header.verifier, header.num_problems, header.examiner) != wanted:
        raise ProcedureError(
            f"{path} is another paper ({header.num_problems} problems of {header.task}).",
            hint="Seal into an empty directory; a paper is never overwritten.",
        )


def _write_paper(
    task: Task, count: int, secret: str, directory: Path, examiner: KeyPair, events: EventSink
) -> PublicPaper:
    problems = [
        PaperProblem(index=index, salt=keyed_salt(secret, "problem", index), problem=problem)
        for index, problem in enumerate(_draw(task, secret, count, events))
    ]
    commitments = tuple(problem.commitment for problem in problems)
    bank_root = root_of_leaves([bytes.fromhex(value) for value in commitments]).hex()
    chosen = set(public_indices(bank_root, count, count // 2))
    sealed = SealedHalf(
        bank_root=bank_root, secret=secret, problems=tuple(p for p in problems if p.index not in chosen)
    )
    box = encrypt(record_bytes(sealed), [examiner.public])
    header = PaperHeader(
        task=task.name,
        task_version=task.version,
        verifier=verifier_label(task),
        num_problems=count,
        num_public=len(chosen),
        num_sealed=count - len(chosen),
        bank_root=bank_root,
        sealed_digest=digest_bytes(box),
        examiner=examiner.public,
        rules=RULES,
    )
    public = tuple(problem for problem in problems if problem.index in chosen)
    paper = PublicPaper(header=header, commitments=commitments, problems=public)
    write_bytes(directory / SEALED_FILE, box)
    write_record(directory / PAPER_FILE, paper)  # last: a paper without its sealed half must not exist
    return paper


def load_paper(path: Path) -> PublicPaper:
    """Read and check a public paper.

    Args:
        path: ``paper.json`` or its directory.

    Raises:
        SourceError: It cannot be read.
        IntegrityError: It is not the paper that its header commits to.
    """
    paper = read_record(path / PAPER_FILE if path.is_dir() else path, PublicPaper)
    check_bank(paper)
    check_split(paper)
    return paper


def _bad_paper(message: str) -> IntegrityError:
    return IntegrityError(message, hint="The paper was altered or damaged: get a good copy from the examiner.")


def check_bank(paper: PublicPaper) -> None:
    """Check that the commitments hash to the bank's root and the public problems to their commitments.

    Raises:
        IntegrityError: They do not; the message names the problem.
    """
    header = paper.header
    if not len(paper.commitments) == header.num_problems == header.num_public + header.num_sealed:
        raise _bad_paper("The paper's counts do not add up.")
    if root_of_leaves([bytes.fromhex(value) for value in paper.commitments]).hex() != header.bank_root:
        raise _bad_paper("The commitments do not hash to the bank's root.")
    _check_problems(paper.problems, paper)


def _check_problems(problems: tuple[PaperProblem, ...], paper: PublicPaper) -> None:
    for problem in problems:
        if problem.index >= len(paper.commitments) or problem.commitment != paper.commitments[problem.index]:
            raise _bad_paper(f"Problem {problem.index} is not the one committed to.")
        if problem.problem.task != paper.header.task:
            raise _bad_paper(f"Problem {problem.index} is of another task.")


def check_split(paper: PublicPaper) -> None:
    """Check that the public half is the one that the bank's root picks.

    Raises:
        IntegrityError: It is not.
    """
    header = paper.header
    expected = public_indices(header.bank_root, header.num_problems, header.num_public)
    if tuple(problem.index for problem in paper.problems) != expected:
        raise _bad_paper("The public half is not the one that the bank's root picks.")


def open_sealed(directory: Path, paper: PublicPaper, key: KeyPair) -> SealedHalf:
    """Decrypt the sealed half, in memory only, and check it against the paper.

    Raises:
        SourceError: The file cannot be read.
        IntegrityError: It is not the sealed half of this paper, or not sealed to this key.
    """
    box = read_file(directory / SEALED_FILE)
    if digest_bytes(box) != paper.header.sealed_digest:
        raise _bad_paper(f"{directory / SEALED_FILE} is not the sealed half of this paper.")
    sealed = parse_record(key.decrypt(box), SealedHalf, "The decrypted sealed half")
    public = {problem.index for problem in paper.problems}
    rest = tuple(index for index in range(paper.header.num_problems) if index not in public)
    if sealed.bank_root != paper.header.bank_root or tuple(problem.index for problem in sealed.problems) != rest:
        raise _bad_paper("The sealed half does not hold the rest of the bank.")
    _check_problems(sealed.problems, paper)
    return sealed


def paper_entry(ledger: Ledger, paper: PublicPaper) -> LedgerEntry:
    """The ledger's entry of a paper, signed by its examiner.

    Raises:
        ProcedureError: There is none.
    """
    header = paper.header
    for entry in ledger.find("paper", paper_id=header.paper_id):
        if entry.signature.key == header.examiner.signing and entry.body.get("header") == header.to_json():
            return entry
    raise ProcedureError(
        "This paper is not in the ledger.", hint="Seal it with this ledger, or use the ledger that it was sealed with."
    )
