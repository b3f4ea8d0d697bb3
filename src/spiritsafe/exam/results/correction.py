"""Correcting a claim for all that its maker registered: the decision that counts.

In: a decision, the maker's registrations for the paper, the paper's log. Out: a
:class:`~spiritsafe.exam.records.certificate.Correction`: Holm's adjusted p-value, and no decision at all where the
answer was known before it was predicted. Whether two models of one maker are one (another address, a changed bit) no
ledger shows: sittings of others before the claim are counted and told.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.accesses import opening_entries
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import ResultEntry, registrations_of
from spiritsafe.exam.records.certificate import Correction, RegistrationState
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import ClaimFinding, Decision, ReferenceScores
from spiritsafe.stats import holm


def known_before(log: PaperLog, registration: Registration) -> bool:
    """Whether a result of this model on this paper was in the ledger before the registration was.

    The seed follows from paper and model, so the same answers come out again: a claim made then is no prediction.
    """
    registrations = registrations_of(log)
    own = registration.content_digest
    entered = next((entry.index for entry in registrations if entry.sitting == own), len(log.entries))
    same = {entry.sitting for entry in registrations if entry.registration.model_digest == registration.model_digest}
    return any(result.sitting in same and result.index < entered for result in log.of(ResultEntry))


def sittings_before(
    log: PaperLog,
    registration: Registration,
    registrations: Sequence[RegistrationState],
    reference: ReferenceScores | None,
) -> list[RegistrationState]:
    """The maker's sittings of other models that had begun before this one was registered, but for its reference's.

    A sitting has begun where the examiner opened the paper for it: from then on its answers may be known, whether or
    not it came to a result.

    Args:
        log: The ledger's, or what a certificate shows of it: all accesses to the paper are among that.
        registrations: All of its maker's for the paper.
    """
    own = registration.content_digest
    entered = next((entry.index for entry in registrations_of(log) if entry.sitting == own), 0)
    left_out = (own, reference.registration if reference else None)
    return [
        state
        for state in registrations
        if state.registration not in left_out
        and any(opening.index < entered for opening in opening_entries(log, state.registration))
    ]


def before_words(sittings: Sequence[RegistrationState]) -> str:
    """What is to be said of them; nothing without any."""
    if not sittings:
        return ""
    claimless = sum(not state.has_claim for state in sittings)
    many = "1 other sitting" if len(sittings) == 1 else f"{len(sittings)} other sittings"
    return (
        f"Before this claim was registered, its maker had begun {many} on this paper ({claimless} without a claim, "
        "which Holm does not count): that it does not claim what was seen there, from the same model under another "
        "address or with a changed bit, is the maker's word."
    )


def correction_of(
    registration: Registration,
    decision: Decision | None,
    registrations: Sequence[RegistrationState],
    *,
    known_before: bool,
    before: Sequence[RegistrationState] = (),
) -> Correction | None:
    """What is left of a claim after all claims that its maker registered for the paper.

    Claims without a result, withdrawn or open, count as if they had failed: registering many and finishing the lucky
    ones gains nothing.

    Args:
        registrations: All of the maker's for the paper.

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
    finding: ClaimFinding = decision.finding
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
        statement=" ".join(
            filter(
                None,
                (
                    _correction_statement(finding, len(claims), adjusted, level, known_before),
                    "" if known_before else before_words(before),
                ),
            )
        ),
        num_before=len(before),
    )


def _correction_statement(finding: ClaimFinding, num_claims: int, adjusted: float, level: float, known: bool) -> str:
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
