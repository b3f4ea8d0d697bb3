"""Verify a release offline, numbered step by numbered step: ``spiritsafe release verify DIR``.

In: a directory, and the maker's public key where the verifier has it. Out: one :class:`~spiritsafe.exam.StepResult` a
step of :data:`RELEASE_STEPS`. What is wrong is a finding that names the file; the steps behind a failed one are not
looked at, because they stand on it. Needs the light install only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.exam import StepResult, VerifyStep, run_steps
from spiritsafe.release.verification.case import GOOD_RELEASE, ReleaseCase
from spiritsafe.release.verification.steps import CHECKS

RELEASE_STEPS: tuple[VerifyStep, ...] = tuple(
    VerifyStep(number=number, name=name, checks=checks) for number, (name, checks, _) in enumerate(CHECKS, start=1)
)
"""The procedure, for print."""


def verify_release(directory: Path, *, public_key: Path | None = None) -> list[StepResult]:
    """Check a release, step by step; it holds when every step is ``ok``.

    Args:
        public_key: The maker's, from elsewhere. None: the one that lies in the release, which proves that nothing
            was changed since that key signed, and not who signed.

    Raises:
        SourceError: There is no such directory, or no such key.
    """
    if not directory.is_dir():
        raise SourceError(f"{directory} is no directory.", hint="Give the directory of a release.")
    if public_key is not None and not public_key.exists():
        raise SourceError(f"There is no key {public_key}.", hint="Give the maker's public key, a PEM file.")
    return run_steps(ReleaseCase(directory, public_key), CHECKS)


def require_release(steps: Sequence[StepResult]) -> None:
    """Raise unless every step is ok.

    Raises:
        IntegrityError: Naming the first step that failed.
    """
    for step in steps:
        if not step.ok:
            raise IntegrityError(f"Step {step.number} ({step.name}) failed: {step.detail}", hint=GOOD_RELEASE)
