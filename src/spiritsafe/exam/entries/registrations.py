"""What a ledger holds of registrations: anybody may append anything, and only what its maker signed counts.

In: ledger entries, a paper's header. Out: registrations with their entries; the entries that only look like some; and
whether an examiner's entry lets a registration lapse. An entry is a registration when its body is exactly one for this
paper, under its own digest, and the key that it names as its maker's signed it. Every other entry of that kind is
nobody's: it is told and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.records import instant
from spiritsafe.exam.records.certificate import RegistrationState
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration, RegistrationEnd
from spiritsafe.ledger import CLOCK_TOLERANCE, Ledger, LedgerEntry, key_id_of

LAPSE = "lapse"
"""Kind of the entry with which an examiner gives a sitting up that nobody finishes."""

LEAST_DAYS = 7
"""A registration that showed a sign of life in so many days cannot lapse, whatever its examiner wants."""


MOST_DAYS = 3650


def read_registration(entry: LedgerEntry) -> Registration | None:
    """The registration of an entry; None when it is malformed, or not signed by the maker that it names."""
    if entry.kind != "registration":
        return None
    body = entry.body
    try:
        registration = Registration.from_json(body.get("registration"))
        good = (
            registration.to_json() == body.get("registration")
            and registration.content_digest == body.get("digest")
            and registration.paper_id == body.get("paper_id")
        )
    except IntegrityError:
        return None
    return registration if good and entry.signature.key == registration.maker.signing else None


def registrations_of(entries: Sequence[LedgerEntry], header: PaperHeader) -> list[tuple[LedgerEntry, Registration]]:
    """All registrations for a paper, each where it was first entered, in ledger order."""
    found: dict[str, tuple[LedgerEntry, Registration]] = {}
    for entry in entries:
        if entry.kind == "registration" and entry.body.get("paper_id") == header.paper_id:
            registration = read_registration(entry)
            if registration is not None:
                found.setdefault(registration.content_digest, (entry, registration))
    return list(found.values())


def ignored_words(entry: LedgerEntry) -> str:
    """How an entry that counts for nothing is told: which, and whose key signed it."""
    return f"malformed entry {entry.index} by key {key_id_of(entry.signature.key)}, ignored"


def malformed_registrations(entries: Sequence[LedgerEntry], header: PaperHeader) -> list[LedgerEntry]:
    """Entries that pass for registrations for this paper and are nobody's."""
    return [
        entry
        for entry in entries
        if entry.kind == "registration"
        and entry.body.get("paper_id") == header.paper_id
        and read_registration(entry) is None
    ]


def last_sign_of_life(
    entries: Sequence[LedgerEntry], registration: Registration, header: PaperHeader
) -> LedgerEntry | None:
    """The last entry that shows a sitting under way: problems were about to be asked, or it was registered."""
    digest, last = registration.content_digest, None
    for entry in entries:
        asked = entry.kind == "access" and entry.signature.key == header.examiner.signing
        if (asked and entry.body.get("registration") == digest) or (
            entry.body.get("digest") == digest and read_registration(entry) is not None
        ):
            last = entry
    return last


def is_lapse(
    entries: Sequence[LedgerEntry], entry: LedgerEntry, registration: Registration, header: PaperHeader
) -> bool:
    """Whether an entry lets a registration lapse: the examiner's, and as late as it says, by the ledger's times.

    Args:
        entries: The ledger's, the entry among them.
        entry: Which.
        registration: Of the sitting.
        header: The paper's.
    """
    days = entry.body.get("days")
    if (
        entry.kind != LAPSE
        or entry.signature.key != header.examiner.signing
        or entry.body.get("registration") != registration.content_digest
        or not isinstance(days, int)
        or not LEAST_DAYS <= days <= MOST_DAYS
    ):
        return False
    earlier = [other for other in entries if other.index < entry.index]
    since = counted_from(earlier, registration, header, now=entry.time)
    return since is not None and are_apart(since.time, entry.time, days)


def counted_from(
    entries: Sequence[LedgerEntry], registration: Registration, header: PaperHeader, *, now: str
) -> LedgerEntry | None:
    """The entry from whose time on a sitting is silent: its last sign of life.

    Where the clock of that one was wrong (its time is more than a day to come, or is none), the next entry of the
    examiner, whose clock counts the days; None as long as there is none.

    Args:
        entries: The ledger's.
        registration: Of the sitting.
        header: The paper's.
        now: By the examiner's clock.
    """
    last = last_sign_of_life(entries, registration, header)
    if last is None:
        return None
    own = (e for e in entries if e.index > last.index and e.signature.key == header.examiner.signing)
    return next((entry for entry in (last, *own) if are_apart(entry.time, now, -CLOCK_TOLERANCE.days)), None)


def are_apart(first: str, then: str, days: int) -> bool:
    """Whether so many days lie between two times as ledgers write them; not where one of them is no time."""
    start, end = instant(first), instant(then)
    return start is not None and end is not None and end - start >= timedelta(days=days)


_ENDS: dict[str, RegistrationEnd] = {"result": "result", "withdrawal": "withdrawn", LAPSE: "lapsed"}


def registration_entry(ledger: Ledger, registration: Registration) -> LedgerEntry:
    """The ledger's entry of a registration, signed by its maker.

    Raises:
        ProcedureError: There is none: nothing unregistered can be sat.
    """
    for entry in ledger.find("registration", digest=registration.content_digest):
        if read_registration(entry) is not None:
            return entry
    raise ProcedureError(
        "This sitting is not registered in the ledger.",
        hint="Register the model first (`spiritsafe exam register`), then sit.",
    )


def find_registration(ledger: Ledger, digest: str) -> Registration:
    """A registration by its digest.

    Raises:
        ProcedureError: The ledger has none.
    """
    for entry in ledger.find("registration", digest=digest):
        registration = read_registration(entry)
        if registration is not None:
            return registration
    raise ProcedureError(
        f"The ledger has no registration {digest}.",
        hint="Register the model first (`spiritsafe exam register`), then sit.",
    )


def end_of(entries: Sequence[LedgerEntry], registration: Registration, header: PaperHeader) -> LedgerEntry | None:
    """The entry that ended a registration: the examiner's result, the maker's withdrawal, or a lapse."""
    signer = {"result": header.examiner.signing, "withdrawal": registration.maker.signing}
    digest = registration.content_digest
    for entry in entries:
        about = entry.kind in signer and entry.body.get("registration") == digest
        if about and entry.signature.key == signer[entry.kind]:
            return entry
        if is_lapse(entries, entry, registration, header):
            return entry
    return None


def registration_states(
    entries: Sequence[LedgerEntry], *, header: PaperHeader, maker_key: str
) -> tuple[RegistrationState, ...]:
    """All registrations that one key signed for a paper, and how each ended, in ledger order.

    Entries that are no registration, whoever signed them, are left out:
    :func:`~spiritsafe.exam.entries.registrations.malformed_registrations` names them.
    """
    states = []
    for entry, registration in registrations_of(entries, header):
        if entry.signature.key != maker_key:
            continue
        end = end_of(entries, registration, header)
        newest = _newest(entries, registration, header, end)
        names = ("sealed_accuracy", "p_value", "predicted_score")
        accuracy, p_value, predicted = (_number(newest, name) for name in names)
        states.append(
            RegistrationState(
                registration=registration.content_digest,
                model_name=registration.model_name,
                state=_ENDS[end.kind] if end else "open",
                sealed_accuracy=accuracy,
                p_value=p_value,
                has_claim=registration.claim is not None,
                predicted_score=predicted,
            )
        )
    return tuple(states)


def _newest(
    entries: Sequence[LedgerEntry], registration: Registration, header: PaperHeader, end: LedgerEntry | None
) -> LedgerEntry | None:
    """The entry that tells a registration's scores: its result, or the last re-issue with edited grades."""
    if end is None or end.kind != "result":
        return None
    reissued = [
        entry
        for entry in entries
        if entry.kind == "reissue"
        and entry.signature.key == header.examiner.signing
        and entry.body.get("registration") == registration.content_digest
    ]
    return reissued[-1] if reissued else end


def _number(entry: LedgerEntry | None, name: str) -> float | None:
    value = entry.body.get(name) if entry else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= 1 else None
