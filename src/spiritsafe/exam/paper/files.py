"""Papers: one bank of problems, committed to as a whole, then cut at random into a public and a sealed half.

In: ``paper.json`` (header, all commitments, public half) and ``sealed.age`` (the other half and the twins, encrypted to
the examiner and to whom they name), as :mod:`spiritsafe.exam.paper.seal` made them. Out: the paper, checked against
what it commits to.

Everything secret derives from 32 random bytes that stand only inside the encrypted half. The split follows from the
bank's root: nobody chooses it, everybody can recompute it. (An examiner could still draw many banks and publish the one
they like; each *published* one is in the ledger.)

Twins (the same problems with new numbers and names) are a third group, sealed whole and never cut: no near copy of a
sealed problem is ever public. A problem's answer minus its twin's does not depend on how hard either is made, so the
random cut tests that difference too, exactly, for having seen the very text.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.files.record_files import parse_record, read_file, read_record
from spiritsafe.exam.paper.private import PRIVATE, PrivateTask, count_signoffs
from spiritsafe.exam.paper.split import num_places, public_places, public_sizes, stratum_ranges
from spiritsafe.exam.records.paper import PaperHeader, PaperProblem, PublicPaper, SealedHalf
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry, PublicKey, root_of_leaves
from spiritsafe.tasks import Task, load_named

PAPER_FILE = "paper.json"
SEALED_FILE = "sealed.age"

PAPER_RULES = (
    "Every committed problem is in the denominator, whatever happened to it; only a registered stop rule or budget "
    "leaves problems unasked, in the paper's own random order, and they are counted apart.",
    "Accuracy is the share of tries with a fully right answer. Refused, cut off, unparsed, failed and ungradable "
    "tries count as wrong, and are counted apart.",
    "Public and sealed half are a random cut of one bank, fixed by the bank's Merkle root.",
    "A sitting needs a signed registration first, and each registration has one result.",
    "A remote model is asked each question once. An answer that an interruption lost counts as wrong.",
)


def keyed_salt(secret: str, *parts: str | int) -> str:
    """Sixteen bytes (hex) that only the holder of the paper's secret can derive."""
    message = "/".join(str(part) for part in parts).encode()
    return hmac.digest(bytes.fromhex(secret), message, "sha256")[:16].hex()


def verifier_label(task: Task) -> str:
    """Name and version of a task's verifier, as headers write it."""
    return f"{task.verifier.name}/{task.verifier.version}"


def task_of_paper(paper: PublicPaper) -> Task:
    """The task that grades a paper's problems; what the paper's words name is not opened, wherever they point.

    Raises:
        TaskError: Its spec is unknown here, or not a task's full name.
    """
    header = paper.header
    if header.task.partition(":")[0] == PRIVATE:
        return PrivateTask.for_grading(header.task, [stratum.task for stratum in header.strata])
    return load_named(header.task)


def check_task(paper: PublicPaper, task: Task) -> Task:
    """The task as the paper's own verifier grades, be it the version before this one; anything else is refused.

    Raises:
        ProcedureError: Task, its version or its verifier differ.
    """
    header = paper.header
    theirs = (header.task, header.task_version, header.verifier)
    for graded in (task, task.before_thoughts()):
        if theirs == (graded.name, graded.version, verifier_label(graded)):
            return graded
    raise ProcedureError(
        f"The paper was sealed with {' '.join(theirs)}, this is {task.name} {task.version} {verifier_label(task)}.",
        hint="Grade with the version of spiritsafe that sealed the paper.",
    )


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
    counts = header.num_problems == header.num_public + header.num_sealed and header.num_twins in (
        0,
        header.num_problems,
    )
    if not counts or len(paper.commitments) != num_places(header):
        raise _bad_paper("The paper's counts do not add up.")
    if root_of_leaves([bytes.fromhex(value) for value in paper.commitments]).hex() != header.bank_root:
        raise _bad_paper("The commitments do not hash to the bank's root.")
    check_problems(paper.problems, header, paper.commitments)


def check_problems(problems: Sequence[PaperProblem], header: PaperHeader, commitments: Sequence[str]) -> None:
    """Check that problems are those committed to, of the task and stratum of their places.

    Raises:
        IntegrityError: One is not; the message names it.
    """
    strata = [(s.name, s.task) for s, places in stratum_ranges(header) for _ in places]
    for problem in problems:
        if problem.index >= len(commitments) or problem.commitment != commitments[problem.index]:
            raise _bad_paper(f"Problem {problem.index} is not the one committed to.")
        place = problem.index % header.num_problems
        name, task = strata[place] if place < len(strata) else ("", header.task)
        if problem.problem.task != task or problem.stratum != name:
            raise _bad_paper(f"Problem {problem.index} is of another task or stratum.")


def unsigned(problems: Sequence[PaperProblem], reviewers: Sequence[PublicKey], wanted: int) -> list[int]:
    """Places of the problems that fewer than ``wanted`` of the reviewers signed."""
    if not wanted:
        return []
    return [p.index for p in problems if count_signoffs(p.problem, p.signoffs, reviewers) < wanted]


def check_split(paper: PublicPaper) -> None:
    """Check that the public half is the one that the bank's root picks, stratum by stratum.

    Raises:
        IntegrityError: It is not.
    """
    header = paper.header
    if header.strata:
        sizes = [stratum.num_problems for stratum in header.strata]
        public = [stratum.num_public for stratum in header.strata]
        if sum(sizes) != header.num_problems or public != public_sizes(sizes) or sum(public) != header.num_public:
            raise _bad_paper("The strata's counts do not add up.")
    if tuple(problem.index for problem in paper.problems) != public_places(header):
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
    rest = tuple(place for place in range(num_places(paper.header)) if place not in public)
    if sealed.bank_root != paper.header.bank_root or tuple(problem.index for problem in sealed.problems) != rest:
        raise _bad_paper("The sealed half does not hold the rest of the bank.")
    check_problems(sealed.problems, paper.header, paper.commitments)
    header = paper.header
    own = [problem for problem in sealed.problems if problem.index < header.num_problems]
    if unsigned(own, header.reviewers, header.num_signoffs):
        raise _bad_paper("A sealed problem lacks its reviewers' sign-offs.")
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
