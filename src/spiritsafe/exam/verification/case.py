"""The material of one verification, and how its steps say what they found.

In: paths. Out: a :class:`Case`, whose files are read before the first step.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.record_files import parse_record, read_file
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.paper.files import PAPER_FILE
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.contamination import SignedOverlap
from spiritsafe.exam.records.paper import PublicPaper
from spiritsafe.exam.records.rerun import CounterSignedRerun
from spiritsafe.exam.results.certificate import HINT
from spiritsafe.exam.review.published_answers import ANSWERS_SUFFIX, OPENED_FILE
from spiritsafe.ledger import Ledger, LedgerEntry
from spiritsafe.tasks import Task

_TOLERANCE = 1e-9  # libraries and machines may differ in the last bits of an interval


def _opened_file(path: Path) -> Path:
    return path / OPENED_FILE if path.is_dir() else path


class NotGivenError(Exception):
    """The file that a step needs was not given."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a step found, for judges: its sentence is for people only.

    Attributes:
        num_witnessed: Entries of the ledger that the witnesses who count saw.
        graded_again: Published answers were graded again here.
        unsettled: A dispute or an edit waits, or a newer certificate supersedes this one.
    """

    num_witnessed: int = 0
    graded_again: bool = False
    unsettled: bool = False


NO_FACTS = Facts()


class Found(NamedTuple):
    """What a step says whose facts are judged."""

    text: str
    facts: Facts


@final
class Case:
    """The material of one verification; each file is read once, before the first step.

    Steps leave behind what they checked, for whoever prints it: no file is looked at again.

    Attributes:
        checked_reruns: Reports of re-runs that passed their step.
        checked_overlaps: Reports on training files that passed theirs.
        computed: Statements that follow from the evidence and that the certificate does not make.
    """

    def __init__(
        self,
        certificate: Path,
        paper: Path | None,
        *,
        ledger: Path | None = None,
        result: Path | None = None,
        sealed: Path | None = None,
        reference: Path | None = None,
        revealed: Sequence[Path] = (),
        overlaps: Sequence[Path] = (),
        memories: Sequence[Path] = (),
        reruns: Sequence[Path] = (),
        witnesses: Sequence[Path] = (),
        witness_keys: Sequence[str] = (),
        trusted_keys: Collection[str] = (),
        opened: Path | None = None,
        items: Path | None = None,
        task: Task | None = None,
    ) -> None:
        self.certificate_bytes = read_file(certificate)
        self.paper_bytes = None if paper is None else read_file(paper / PAPER_FILE if paper.is_dir() else paper)
        self.result_bytes = read_file(result) if result else None
        self.sealed_bytes = read_file(sealed) if sealed else None
        self.reference_bytes = read_file(reference) if reference else None
        self.revealed = [(path, read_file(path)) for path in revealed]
        self.overlaps = [(path, read_file(path)) for path in overlaps]
        self.memories = [(path, read_file(path)) for path in memories]
        self.reruns = [(path, read_file(path)) for path in reruns]
        self.items_bytes = read_file(items) if items else None
        self.ledger = Ledger(ledger, data=read_file(ledger)) if ledger else None
        self.witnesses = [(path, read_file(path)) for path in witnesses]
        self.witness_keys = witness_keys
        self.trusted_keys = trusted_keys
        self.opened = None if opened is None else (opened, read_file(_opened_file(opened)))
        folder = None if opened is None else _opened_file(opened).parent
        self.answers = [(path, read_file(path)) for path in sorted(folder.glob(f"*{ANSWERS_SUFFIX}"))] if folder else []
        self.task = task
        self.checked_reruns: list[CounterSignedRerun] = []
        self.checked_overlaps: list[SignedOverlap] = []
        self.computed: list[str] = []
        self._certificate: Certificate | None = None
        self._paper: PublicPaper | None = None

    @property
    def certificate(self) -> Certificate:
        """The certificate; an IntegrityError if the file is none."""
        if self._certificate is None:
            self._certificate = parse_record(self.certificate_bytes, Certificate, "The certificate file")
        return self._certificate

    @property
    def design(self) -> Design:
        """How the sitting was held."""
        return design_of(self.certificate.registration, self.certificate.paper)

    @property
    def paper(self) -> PublicPaper:
        """The public paper; an IntegrityError if the file is none, a NotGivenError without a file."""
        if self.paper_bytes is None:
            raise NotGivenError("no paper file given")
        if self._paper is None:
            self._paper = parse_record(self.paper_bytes, PublicPaper, "The paper file")
        return self._paper

    @property
    def entries(self) -> list[LedgerEntry]:
        """The certificate's ledger entries."""
        return [evidence.entry for evidence in self.certificate.evidence]


def require(condition: bool, message: str) -> None:
    """Fail the step unless the condition holds.

    Raises:
        IntegrityError: It does not.
    """
    if not condition:
        raise IntegrityError(message, hint=HINT)


def same(ours: object, theirs: object) -> bool:
    """Whether two JSON values are equal but for the last bits of their numbers."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(value, theirs[key]) for key, value in ours.items())
    if isinstance(ours, float) and isinstance(theirs, float | int):
        return abs(ours - theirs) <= _TOLERANCE
    return ours == theirs
