"""What a certificate says in sentences, and which parts its keys played."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spiritsafe.core.text.lengths import is_overlong
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.records.certificate import AccessRecord, Certificate, Correction, RegistrationState, Separation
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import ExamResult
from spiritsafe.exam.results.reach import Reach
from spiritsafe.ledger import PublicKey, same_holder

SEPARATION_TEXT: dict[Separation, str] = {
    "self-examined": "Self-examined: maker and examiner are the same key holder, so nobody else vouches for this "
    "exam. It shows what the maker measured, not that the maker could not have looked.",
    "separate key": "Separate key: the examiner's key is not the maker's, but the maker hosted the sitting.",
    "third party": "Third party: the maker's key took no part in sealing, opening or hosting.",
}
_KEYS_ARE_NOT_PEOPLE = (
    "That different keys belong to different people is their holders' word; no mathematics proves it."
)


def separation_of(
    maker: PublicKey, examiner: PublicKey, host: PublicKey, *, by: Callable[[PublicKey, PublicKey], bool] = same_holder
) -> Separation:
    """Which parts different keys played; holders of the same name count as one."""
    if by(maker, examiner):
        return "self-examined"
    return "separate key" if by(maker, host) else "third party"


def separation_found(certificate: Certificate) -> Separation:
    """The same by its keys as they look today; an older certificate may name a class that says more."""
    return separation_of(certificate.registration.maker, certificate.paper.examiner, certificate.result.host)


def statements_of(
    *,
    header: PaperHeader,
    registration: Registration,
    result: ExamResult,
    access: Sequence[AccessRecord],
    registrations: Sequence[RegistrationState],
    correction: Correction | None = None,
    amended: Sequence[str] = (),
    separation: Separation | None = None,
) -> tuple[str, ...]:
    """What the certificate promises and what not, in plain words.

    ``amended`` is what a re-issue says of its edits, ``separation`` the class that a certificate names; None: as it is.
    """
    separation = separation or separation_of(registration.maker, header.examiner, result.host)
    statements = [SEPARATION_TEXT[separation]]
    if separation != "self-examined":
        statements.append(_KEYS_ARE_NOT_PEOPLE)
    if result.generator.kind == "local":
        statements.append("Class A: the Generator ran the weights on the host and reports that no problem left it.")
    else:
        statements.append(
            f"Class B: the problems went to {result.generator.name}; its operator has seen them, and which weights "
            "answered cannot be checked from outside."
        )
    exposed = sorted({record.who for record in access if record.exposed and record.num_sealed})
    if exposed:
        statements.append(f"Sealed problems are exposed to: {', '.join(exposed)}.")
    if result.openings > 1:
        statements.append(f"The sitting was interrupted: the paper was opened {result.openings} times for it.")
    states = [state.state for state in registrations]
    statements.append(
        f"This maker's registrations for this paper: {len(states)} ({states.count('result')} with a result, "
        f"{states.count('withdrawn')} withdrawn, {states.count('open')} open{_lapsed(states.count('lapsed'))})."
    )
    parts = [part for part in (result.sealed, result.public, result.twins) if part is not None]
    failed = [part.counts["error"] + part.counts["unscored"] for part in parts]
    statements.append(
        f"{sum(failed)} of {len(result.outcomes)} tries failed or could not be graded; they count as wrong."
    )
    statements.append(result.gap_statement)
    statements += _later_statements(header, registration, result, correction)
    return (*statements, *amended)


def _lapsed(count: int) -> str:
    return f", {count} lapsed: no result" if count else ""


def _later_statements(
    header: PaperHeader, registration: Registration, result: ExamResult, correction: Correction | None
) -> list[str]:
    """What papers, registrations and results say that carry more than the first ones did."""
    statements = []
    if result.studied_statement:
        statements.append(result.studied_statement)
    if result.memory_statement:
        statements.append(result.memory_statement)
    statements += design_of(registration, header).statements(result)
    if lost := sum(outcome.lost for outcome in result.outcomes):
        statements.append(f"{lost} answers were lost when the sitting was interrupted; they count as wrong.")
    if result.reference is not None and result.reference.num_failed:
        reach = Reach(result.reference.num_failed, result.reference.num_outcomes or 0)
        statements.append(
            f"Of the reference {quoted_name(result.reference.model_name)}, {reach}; they count as wrong there."
        )
    if overlong := sum(is_overlong(outcome.num_tokens, registration.sampling) for outcome in result.outcomes):
        statements.append(
            f"{overlong} of {len(result.outcomes)} answers are longer than {registration.sampling.max_tokens} tokens "
            "usually give: the endpoint does not keep to the registered limit. Their tokens are counted by their "
            "length; what cannot stand in so many tokens was cut off."
        )
    if result.cost is not None and registration.budget is not None:
        statements.append(f"At the registered prices it cost {result.cost:.4g} {registration.budget.currency}.".strip())
    if registration.deviations:
        statements.append(
            f"It deviates from the paper's protocol in: {', '.join(registration.deviations)}. Scores of sittings that "
            "follow the protocol are no equal baselines for it."
        )
    if result.decision is not None:
        statements.append(result.decision.statement)
    if correction is not None:
        statements.append(correction.statement)
    if result.identity is not None:
        statements.append(result.identity.statement)
    if header.recipients:
        labels = ", ".join(key.recorded_label for key in header.recipients)
        statements.append(f"The sealed half can also be opened, by each alone, by: {labels}.")
    if header.num_signoffs:
        statements.append(
            f"Each problem was signed off by at least {header.num_signoffs} of: "
            f"{', '.join(key.recorded_label for key in header.reviewers)}."
        )
    return statements
