"""The material of one verification, and how its steps say what they found.

In: :class:`Materials`. Out: a :class:`Case`, whose files are read before the first step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.record_files import parse_record, read_file
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.entries.paper_log import K, PaperLog
from spiritsafe.exam.paper.files import PAPER_FILE
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.contamination import SignedOverlap
from spiritsafe.exam.records.paper import PublicPaper
from spiritsafe.exam.records.rerun import CounterSignedRerun
from spiritsafe.exam.results.certificate import HINT
from spiritsafe.exam.review.published_answers import ANSWERS_SUFFIX, OPENED_FILE
from spiritsafe.exam.verification.materials import Materials
from spiritsafe.ledger import Ledger

_TOLERANCE = 1e-9  # libraries and machines may differ in the last bits of an interval


def _inside(path: Path, name: str) -> Path:
    return path / name if path.is_dir() else path


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

    def __init__(self, given: Materials) -> None:
        def read(path: Path | None) -> bytes | None:
            return None if path is None else read_file(path)

        def each(paths: Iterable[Path]) -> list[tuple[Path, bytes]]:
            return [(path, read_file(path)) for path in paths]

        self.given = given
        self.certificate_bytes = read_file(given.certificate)
        self.paper_bytes = read(given.paper and _inside(given.paper, PAPER_FILE))
        self.result_bytes = read(given.result)
        self.sealed_bytes = read(given.sealed)
        self.reference_bytes = read(given.reference)
        self.revealed = each(given.revealed)
        self.overlaps = each(given.overlaps)
        self.memories = each(given.memories)
        self.reruns = each(given.reruns)
        self.items_bytes = read(given.items)
        self.ledger = Ledger(given.ledger, data=read_file(given.ledger)) if given.ledger else None
        self.witnesses = each(given.witnesses)
        opened = given.opened and _inside(given.opened, OPENED_FILE)
        self.opened = None if opened is None else (given.opened, read_file(opened))
        self.answers = each(sorted(opened.parent.glob(f"*{ANSWERS_SUFFIX}"))) if opened else []
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

    @cached_property
    def log(self) -> PaperLog:
        """The paper's log, as far as the certificate shows it."""
        return PaperLog([evidence.entry for evidence in self.certificate.evidence], self.certificate.paper)

    @cached_property
    def whole_log(self) -> PaperLog | None:
        """The paper's log by the ledger as it is now; None: no ledger was given."""
        return PaperLog(self.ledger.entries(), self.certificate.paper) if self.ledger else None


def require(condition: bool, message: str) -> None:
    """Fail the step unless the condition holds.

    Raises:
        IntegrityError: It does not.
    """
    if not condition:
        raise IntegrityError(message, hint=HINT)


def only(log: PaperLog, kind: type[K]) -> K:
    """The one entry of a kind that a certificate shows, whoever signed it.

    Raises:
        IntegrityError: There is none, or there are several.
    """
    found = [entry for entry in log.entries if entry.kind == kind.kind]
    require(len(found) == 1, f"The evidence has {len(found)} entries of kind {kind.kind}, not one.")
    return kind(found[0])


def same(ours: object, theirs: object) -> bool:
    """Whether two JSON values are equal but for the last bits of their numbers."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(value, theirs[key]) for key, value in ours.items())
    if isinstance(ours, float) and isinstance(theirs, float | int):
        return abs(ours - theirs) <= _TOLERANCE
    return ours == theirs
