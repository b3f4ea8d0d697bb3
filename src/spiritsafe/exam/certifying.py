"""What a certificate says beside the numbers: who saw what, who held which key, what that is worth.

In: ledger entries and the result. Out: access history, separation class, plain-word statements, the signed
:class:`~spiritsafe.core.certificates.Certificate`. Verification runs the same functions on the certificate's evidence.
Exercised by ``pytest tests/unit/exam/test_certifying.py``.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version

from spiritsafe.core.amendments import Amendment
from spiritsafe.core.certificates import (
    AccessRecord,
    Certificate,
    Evidence,
    ExamResult,
    LedgerEntry,
    PaperHeader,
    PublicKey,
    Registration,
    RegistrationState,
    Separation,
)
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.lengths import is_overlong
from spiritsafe.core.names import quoted_name, same_name
from spiritsafe.core.promises import Correction
from spiritsafe.core.shortened import PredictedScore
from spiritsafe.exam.applied import amendment_entries, amendment_statements, reissue_entries
from spiritsafe.exam.correcting import correction_of, known_before, sittings_before
from spiritsafe.exam.places import num_places
from spiritsafe.exam.reach import Reach
from spiritsafe.exam.registration import end_of, registration_states
from spiritsafe.ledger import KeyPair, Ledger

__all__ = [
    "SEPARATION_TEXT",
    "access_history",
    "accesses_of_paper",
    "count_openings",
    "host_software",
    "issue_certificate",
    "one_a_holder",
    "opening_entries",
    "reader_of",
    "same_holder",
    "same_spelling",
    "separation_found",
    "separation_of",
    "statements_of",
    "unknown_reader",
]

SEPARATION_TEXT: dict[Separation, str] = {
    "self-examined": "Self-examined: maker and examiner are the same key holder, so nobody else vouches for this "
    "exam. It shows what the maker measured, not that the maker could not have looked.",
    "separate key": "Separate key: the examiner's key is not the maker's, but the maker hosted the sitting.",
    "third party": "Third party: the maker's key took no part in sealing, opening or hosting.",
}
_KEYS_ARE_NOT_PEOPLE = (
    "That different keys belong to different people is their holders' word; no mathematics proves it."
)


@cache
def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("spiritsafe", "numpy", "scipy", "cryptography", "pyrage")}
    return {"python": platform.python_version(), "system": platform.system(), **packages}


def host_software() -> dict[str, str]:
    """Versions that could change a grade or a number."""
    return dict(_versions())


def same_holder(a: PublicKey, b: PublicKey) -> bool:
    """Whether two keys count as one party: the same key, or holders whose names look the same."""
    return a.signing == b.signing or same_name(a.holder, b.holder)


def one_a_holder(keys: Sequence[PublicKey]) -> list[PublicKey]:
    """The first key of each holder."""
    return [key for place, key in enumerate(keys) if not any(same_holder(key, other) for other in keys[:place])]


def same_spelling(a: PublicKey, b: PublicKey) -> bool:
    """The same as older versions saw it, whose certificates hold: what only looks the same differs."""
    return a.signing == b.signing or a.holder.strip().casefold() == b.holder.strip().casefold()


def separation_of(
    maker: PublicKey,
    examiner: PublicKey,
    host: PublicKey,
    *,
    by: Callable[[PublicKey, PublicKey], bool] = same_holder,
) -> Separation:
    """Which parts different keys played; holders of the same name count as one."""
    if by(maker, examiner):
        return "self-examined"
    return "separate key" if by(maker, host) else "third party"


def separation_found(certificate: Certificate) -> Separation:
    """The same by its keys as they look today; an older certificate may name a class that says more."""
    return separation_of(certificate.registration.maker, certificate.paper.examiner, certificate.result.host)


def opening_entries(entries: Sequence[LedgerEntry], header: PaperHeader, registration: str) -> list[LedgerEntry]:
    """The entries with which the examiner opened the paper for one registration, in order.

    A recipient can open it too, but holds no sitting: what another key says of one is an access and no more.
    """
    examiner = header.examiner.signing
    return [
        entry
        for entry in accesses_of_paper(entries, header)
        if entry.body.get("registration") == registration and entry.signature.key == examiner
    ]


def accesses_of_paper(entries: Sequence[LedgerEntry], header: PaperHeader) -> list[LedgerEntry]:
    """All openings of a paper by those who can open it, for whatever registration or rerun."""
    keys = {key.signing for key in (header.examiner, *header.recipients)}
    return [
        entry
        for entry in entries
        if entry.kind == "access" and entry.body.get("paper_id") == header.paper_id and entry.signature.key in keys
    ]


def count_openings(entries: Sequence[LedgerEntry]) -> int:
    """How often the sealed half was decrypted for these accesses: parts that one process asked in turn are one."""
    return sum(entry.body.get("continues") is not True for entry in entries)


def reader_of(entry: LedgerEntry) -> GeneratorInfo | None:
    """Who an access entry says was shown problems; None where it is malformed: then it may have been anybody."""
    lists = [entry.body.get(name, []) for name in ("public", "sealed", "twin")]
    if not all(isinstance(value, list) for value in lists):
        return None
    try:
        return GeneratorInfo.from_json(entry.body.get("reader"))
    except IntegrityError:
        return None


def unknown_reader(entry: LedgerEntry) -> str:
    """How the reader of a malformed access entry is called."""
    return f"an unknown reader (ledger entry {entry.index})"


def _num_named(entry: LedgerEntry, name: str) -> int:
    places = entry.body.get(name)
    return len(places) if isinstance(places, list) else 0


def _access_record(entry: LedgerEntry, header: PaperHeader) -> AccessRecord:
    body, reader = entry.body, reader_of(entry)
    if reader is None:
        return AccessRecord(
            time=entry.time,
            who=unknown_reader(entry),
            what="opened the paper in an entry that cannot be read: counted as if all of it had left",
            num_public=header.num_public,
            num_sealed=header.num_sealed,
            exposed=True,
            num_twins=header.num_twins,
        )
    return AccessRecord(
        time=entry.time,
        who=f"{reader.name} ({reader.kind})",
        what=str(body.get("what", f"was asked to answer ({body.get('purpose')})")),
        num_public=_num_named(entry, "public"),
        num_sealed=_num_named(entry, "sealed"),
        exposed=reader.kind != "local",
        num_twins=_num_named(entry, "twin"),
    )


def access_history(
    paper: LedgerEntry, accesses: Sequence[LedgerEntry], header: PaperHeader
) -> tuple[AccessRecord, ...]:
    """Who could see which problems from when on."""
    sealing = AccessRecord(
        time=paper.time,
        who=header.examiner.recorded_label,
        what="drew and sealed the bank, and published the public half to everybody",
        num_public=header.num_public,
        num_sealed=header.num_sealed,
        exposed=False,
        num_twins=header.num_twins,
    )
    return (sealing, *(_access_record(entry, header) for entry in accesses))


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


def _chosen_statements(header: PaperHeader, result: ExamResult, predicted: PredictedScore) -> list[str]:
    """What is to be said where only chosen problems were asked."""
    asked, accuracy = num_places(header) - len(result.not_asked), result.sealed.accuracy
    wanted = "it knew enough" if result.asked else "all chosen ones were asked"
    early = f" Its exhausted budget ended it before {wanted}." if _ran_out(result) else ""
    how = "each chosen by the answers before it and by" if result.asked else "that were chosen before by"
    return [
        f"A shorter sitting: {asked} of {num_places(header)} problems were asked, sealed ones {how} past sittings' "
        f"answers; {len(result.not_asked)} were not asked.{early}",
        f"Of the chosen problems {accuracy.value:.1%} were solved ({accuracy.low:.1%} to {accuracy.high:.1%}). They "
        "are no random part of the paper: this is not its score, and cannot be compared with one.",
        predicted.statement,
    ]


def _ran_out(result: ExamResult) -> bool:
    return result.ending == "budget exhausted"


def _later_statements(
    header: PaperHeader, registration: Registration, result: ExamResult, correction: Correction | None
) -> list[str]:
    """What papers, registrations and results say that carry more than the first ones did."""
    statements = []
    if result.studied_statement:
        statements.append(result.studied_statement)
    if result.memory_statement:
        statements.append(result.memory_statement)
    if result.predicted is not None:
        statements += _chosen_statements(header, result, result.predicted)
    elif result.ending != "complete":
        why = "its registered stop rule" if result.ending == "stopped by rule" else "its exhausted budget"
        asked = num_places(header) - len(result.not_asked)
        statements.append(
            f"The sitting was ended by {why}: {asked} of {num_places(header)} problems were asked, in the paper's own "
            f"random order; {len(result.not_asked)} were not asked."
        )
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


def _result_entry(
    entries: Sequence[LedgerEntry],
    header: PaperHeader,
    registration: Registration,
    committed: ExamResult,
    *,
    is_amended: bool,
) -> LedgerEntry:
    entry = end_of(entries, registration, header)
    if entry is None or entry.body.get("result") != committed.content_digest:
        raise IntegrityError(
            "The ledger holds another result for this registration.", hint="A registration has one result: use that."
        )
    if not is_amended and reissue_entries(entries, header, registration.content_digest):
        raise ProcedureError(
            "Grades of this sitting were edited and its certificate re-issued.", hint="Use the re-issued certificate."
        )
    return entry


def issue_certificate(
    *,
    ledger: Ledger,
    header: PaperHeader,
    registration: Registration,
    result: ExamResult,
    paper_entry: LedgerEntry,
    registration_entry: LedgerEntry,
    examiner: KeyPair,
    host: KeyPair,
    amendment: Amendment | None = None,
    original: ExamResult | None = None,
) -> Certificate:
    """Gather the evidence under a fresh signed head, and sign the whole.

    Args:
        ledger: Holds everything.
        header: The paper's.
        registration: What was sat.
        result: The sitting's; with an amendment, the amended one.
        paper_entry: The paper's.
        registration_entry: The registration's.
        examiner: Signs.
        host: Signs too, if another.
        amendment: Of a re-issue.
        original: The sitting's own result, of a re-issue.

    Raises:
        IntegrityError: The result is not in the ledger.
        ProcedureError: Its grades were edited since: only a re-issue counts them in.
    """
    head = ledger.head(examiner)
    entries = ledger.entries()[: head.size]
    committed = original or result
    result_entry = _result_entry(entries, header, registration, committed, is_amended=amendment is not None)
    later = amendment_entries(entries, header, registration.content_digest) if amendment else []
    accesses = accesses_of_paper(entries, header)
    proven = [paper_entry, registration_entry, *accesses, result_entry, *later]
    evidence: list[Evidence] = [ledger.evidence(index, head) for index in sorted({entry.index for entry in proven})]
    access = access_history(paper_entry, accesses, header)
    registrations = registration_states(entries, header=header, maker_key=registration.maker.signing)
    correction = correction_of(
        registration,
        result.decision,
        registrations,
        known_before=known_before(entries, header, registration),
        before=sittings_before(entries, header, registration, registrations, result.reference),
    )
    draft = Certificate(
        paper=header,
        registration=registration,
        result=result,
        head=head,
        evidence=tuple(evidence),
        access=access,
        registrations=registrations,
        separation=separation_of(registration.maker, header.examiner, result.host),
        statements=statements_of(
            header=header,
            registration=registration,
            result=result,
            access=access,
            registrations=registrations,
            correction=correction,
            amended=amendment_statements(later, amendment.edits, committed, result, header) if amendment else (),
        ),
        signatures=(),
        correction=correction,
        amendment=amendment,
    )
    keys = [examiner] if host.public == examiner.public else [examiner, host]
    message = draft.signed_bytes()
    return draft.model_copy(update={"signatures": tuple(key.sign("certificate", message) for key in keys)})
