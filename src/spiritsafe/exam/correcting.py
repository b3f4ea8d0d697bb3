"""Correcting a claim for all that its maker registered: the decision that counts.

In: a decision, the maker's registrations for the paper, the ledger. Out: a
:class:`~spiritsafe.core.promises.Correction`: Holm's adjusted p-value, and no decision at all where the answer was
known before it was predicted. Exercised by ``pytest tests/unit/exam/test_correcting.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.certificates import LedgerEntry, PaperHeader, Registration, RegistrationState
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.multiplicity import holm
from spiritsafe.core.promises import Correction, Decision, Finding
from spiritsafe.exam.registered import registrations_of

__all__ = ["correction_of", "known_before"]


def known_before(entries: Sequence[LedgerEntry], header: PaperHeader, registration: Registration) -> bool:
    """Whether a result of this model on this paper was in the ledger before the registration was.

    The seed follows from paper and model, so the same answers come out again: a claim made then is no prediction.
    """
    registrations = registrations_of(entries, header)
    own = registration.content_digest
    entered = next((entry.index for entry, other in registrations if other.content_digest == own), len(entries))
    same = {other.content_digest for _, other in registrations if other.model_digest == registration.model_digest}
    return any(
        entry.kind == "result"
        and entry.signature.key == header.examiner.signing
        and entry.body.get("registration") in same
        and entry.index < entered
        for entry in entries
    )


def correction_of(
    registration: Registration,
    decision: Decision | None,
    registrations: Sequence[RegistrationState],
    *,
    known_before: bool,
) -> Correction | None:
    """What is left of a claim after all claims that its maker registered for the paper.

    Claims without a result, withdrawn or open, count as if they had failed: registering many and finishing the lucky
    ones gains nothing.

    Args:
        registration: Which.
        decision: What its sitting says.
        registrations: All of the maker's for the paper.
        known_before: See :func:`known_before`.

    Raises:
        IntegrityError: The list does not hold the registration's own result.
    """
    if decision is None or registration.claim is None:
        return None
    claims = [state for state in registrations if state.has_claim]
    decided = [state for state in claims if state.p_value is not None]
    own = [k for k, state in enumerate(decided) if state.registration == registration.content_digest]
    if len(own) != 1:
        raise IntegrityError(
            "The list of registrations does not hold this claim's result.", hint="Ask the examiner for a good copy."
        )
    values = [1.0 if state.p_value is None else state.p_value for state in decided]
    adjusted = holm(values, num_tests=len(claims))[own[0]]
    level = registration.claim.level
    finding: Finding = decision.finding
    if known_before:
        finding = "undecided"
    elif finding == "supported" and adjusted > level:
        finding = "not supported"
    return Correction(
        num_registrations=len(registrations),
        num_claims=len(claims),
        known_before=known_before,
        adjusted_p=adjusted,
        level=level,
        finding=finding,
        statement=_correction_statement(finding, len(claims), adjusted, level, known_before),
    )


def _correction_statement(finding: Finding, num_claims: int, adjusted: float, level: float, known: bool) -> str:
    if known:
        return (
            "The decision that counts: undecided. This model's result on this paper was on record before the claim was "
            "registered, and the same answers come out again: it was no prediction."
        )
    many = f"{num_claims} claims" if num_claims > 1 else "1 claim"
    return (
        f"The decision that counts: {finding}. This maker registered {many} on this paper; corrected for all of them "
        f"(Holm), p = {adjusted:.2g} against a level of {level:g}."
    )
