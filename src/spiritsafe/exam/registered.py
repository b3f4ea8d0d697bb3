"""What a ledger holds of registrations: anybody may append anything, and only what its maker signed counts.

In: ledger entries, a paper's header. Out: registrations with their entries; the entries that only look like some; and
whether an examiner's entry lets a registration lapse. An entry is a registration when its body is exactly one for this
paper, under its own digest, and the key that it names as its maker's signed it. Every other entry of that kind is
nobody's: it is told and counts for nothing. Exercised by ``pytest tests/unit/exam/test_registered.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from spiritsafe.core.certificates import LedgerEntry, PaperHeader, Registration, key_id_of
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.outcomes import instant
from spiritsafe.ledger import CLOCK_TOLERANCE

__all__ = [
    "LAPSE",
    "LEAST_DAYS",
    "MOST_DAYS",
    "are_apart",
    "counted_from",
    "ignored_words",
    "is_lapse",
    "last_sign_of_life",
    "malformed_registrations",
    "read_registration",
    "registrations_of",
]

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
