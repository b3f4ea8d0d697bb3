"""Verification: a stranger recomputes everything, offline, numbered step by numbered step.

In: a certificate file and the public paper file; the ledger, the result file and the encrypted half where the stranger
has them. Out: one :class:`StepResult` a step of :data:`VERIFY_STEPS`. A failed step is a finding, not an exception; the
steps behind it are not looked at, because they stand on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from spiritsafe.core.errors import IntegrityError, SpiritsafeError
from spiritsafe.core.process.gc_pause import rare_collections
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.contamination import SignedOverlap
from spiritsafe.exam.records.paper import PublicPaper
from spiritsafe.exam.records.rerun import CounterSignedRerun
from spiritsafe.exam.results.certificate import HINT
from spiritsafe.exam.verification.case import NO_FACTS, Case, Facts, Found, NotGivenError
from spiritsafe.exam.verification.materials import Materials
from spiritsafe.exam.verification.steps import STEPS
from spiritsafe.ledger import LedgerEntry

C = TypeVar("C")


@final
@dataclass(frozen=True, slots=True)
class VerifyStep:
    """One numbered step: what it is called, what it checks."""

    number: int
    name: str
    checks: str


@final
@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step found.

    Attributes:
        ok: False when it failed or could not be reached.
        checked: False when the file it needs was not given (``ok`` is True) or an earlier step failed.
        detail: What was found, in plain words.
        facts: The same for judges.
    """

    number: int
    name: str
    ok: bool
    detail: str
    checked: bool = True
    facts: Facts = NO_FACTS


VERIFY_STEPS: tuple[VerifyStep, ...] = tuple(
    VerifyStep(number=number, name=name, checks=checks) for number, (name, checks, _) in enumerate(STEPS, start=1)
)
"""The procedure, for print."""


def verify(certificate: Path, *, paper: Path | None, **given: Any) -> list[StepResult]:
    """Check a certificate, step by step; it holds when every step is ``ok``.

    Args:
        paper: ``paper.json`` or its directory; None: the steps that need it are not checked, and say so.
        given: What else there is, by the names of :class:`Materials`.

    Raises:
        SourceError: A file that was named cannot be read.
    """
    return verification_of(Materials(certificate=certificate, paper=paper, **given)).steps


@rare_collections()
def verification_of(materials: Materials) -> Verification:
    """The same, with the records that were checked. Each file is read exactly once.

    Raises:
        SourceError: A file that was named cannot be read.
    """
    case = Case(materials)
    steps = run_steps(case, STEPS)
    passed = {step.name for step in steps if step.ok and step.checked}
    return Verification(
        steps=steps,
        certificate=case.certificate if "certificate file" in passed else None,
        paper=case.paper if "paper file" in passed else None,
        entries=case.ledger.entries() if case.ledger and "ledger file" in passed else None,
        reruns=case.checked_reruns if "re-runs" in passed else (),
        overlaps=case.checked_overlaps if "training overlap" in passed else (),
        computed=tuple(case.computed),
    )


def run_steps(case: C, checks: Sequence[tuple[str, str, Callable[[C], str | Found]]]) -> list[StepResult]:
    """Look at each step of a procedure, until one fails.

    Args:
        case: What every check is given.
        checks: Name of each step, what it checks, and the check: it returns what it found, and raises where that is
            wrong.
    """
    results: list[StepResult] = []
    failed: int | None = None
    for number, (name, _, check) in enumerate(checks, start=1):
        if failed is not None:
            results.append(StepResult(number, name, False, f"not reached: step {failed} failed", checked=False))
            continue
        try:
            said = check(case)
            text, facts = said if isinstance(said, Found) else (said, NO_FACTS)
            results.append(StepResult(number, name, True, text, facts=facts))
        except NotGivenError as missing:
            results.append(StepResult(number, name, True, str(missing), checked=False))
        except SpiritsafeError as error:
            results.append(StepResult(number, name, False, error.message))
            failed = number
    return results


def require_verified(steps: list[StepResult]) -> None:
    """Raise unless every step is ok.

    Raises:
        IntegrityError: Naming the first step that failed.
    """
    for step in steps:
        if not step.ok:
            raise IntegrityError(f"Step {step.number} ({step.name}) failed: {step.detail}", hint=HINT)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the steps found, and the very records that they looked at: no file has to be read again to print them.

    Attributes:
        steps: All of them.
        certificate: None where the file is none.
        paper: None where none was given, or the file is none.
        entries: The ledger's; None where its step failed, or was not given one.
        reruns: Reports of re-runs; empty unless their step passed.
        overlaps: The same of reports on training files.
        computed: Statements that follow from the evidence, and that the certificate does not make.
    """

    steps: list[StepResult]
    certificate: Certificate | None
    paper: PublicPaper | None
    entries: Sequence[LedgerEntry] | None
    reruns: Sequence[CounterSignedRerun]
    overlaps: Sequence[SignedOverlap]
    computed: Sequence[str]

    def require(self) -> Certificate:
        """The certificate, where every step is ok.

        Raises:
            IntegrityError: Naming the first step that failed.
        """
        require_verified(self.steps)
        if self.certificate is None:
            raise IntegrityError("The certificate file is none.", hint=HINT)
        return self.certificate

    def require_paper(self) -> PublicPaper:
        """The paper that the certificate is of.

        Raises:
            IntegrityError: None was given, or it is another.
        """
        if self.paper is None:
            raise IntegrityError("The paper file is not the certificate's paper.", hint=HINT)
        return self.paper
