"""What a ledger holds of registrations: anybody may append anything, and only what its maker signed counts.

In: a paper's log, or the whole ledger. Out: registrations with their entries, and how each ended. An entry is a
registration when its body is exactly one for this paper, under its own digest, and the key that it names as its maker's
signed it. Every other entry of that kind is nobody's: it is told and counts for nothing.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import final

from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.records import instant
from spiritsafe.exam.entries.accesses import opening_entries
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog
from spiritsafe.exam.records.certificate import RegistrationState
from spiritsafe.exam.records.registration import Registration, RegistrationEnd
from spiritsafe.ledger import CLOCK_TOLERANCE, Ledger, LedgerEntry

LEAST_DAYS = 7
"""A registration that showed a sign of life in so many days cannot lapse, whatever its examiner wants."""

MOST_DAYS = 3650

_REGISTER = "Register the model first (`spiritsafe exam register`), then sit."


@final
class RegistrationEntry(PaperEntry):
    """A maker registered a sitting."""

    kind = "registration"
    signer = "anybody"

    @cached_property
    def registration(self) -> Registration:
        """What was registered; an IntegrityError where that cannot be read."""
        return Registration.from_json(self.entry.body.get("registration"))

    @property
    def sitting(self) -> str:
        """Its own digest."""
        return self.text("digest")

    def is_whole(self) -> bool:
        """Whether it is exactly a registration, under its own digest, signed by the maker that it names."""
        try:
            own = self.registration
            is_exact = self.says(registration=own.to_json(), digest=own.content_digest, paper_id=own.paper_id)
        except IntegrityError:
            return False
        return is_exact and self.key == own.maker.signing


@final
class ResultEntry(PaperEntry):
    """The examiner committed to a sitting's result."""

    kind = "result"
    names_paper = False


@final
class ReissueEntry(PaperEntry):
    """The examiner committed to a result with edited grades; a sitting's last one counts."""

    kind = "reissue"


@final
class WithdrawalEntry(PaperEntry):
    """A sitting will not happen; :func:`sitting_end` asks whether that is the word of the maker who registered it."""

    kind = "withdrawal"
    signer = "anybody"
    names_paper = False


@final
class LapseEntry(PaperEntry):
    """An examiner gave a sitting up that nobody finishes; it must have been silent for as long as it says."""

    kind = "lapse"
    names_paper = False

    @property
    def days(self) -> int:
        """How long nothing was heard of the sitting; 0 where it does not say."""
        days = self.entry.body.get("days")
        return days if isinstance(days, int) else 0

    def is_whole(self) -> bool:
        """Whether it says so many days as a lapse takes."""
        return LEAST_DAYS <= self.days <= MOST_DAYS


def registrations_of(log: PaperLog) -> list[RegistrationEntry]:
    """All registrations for a paper, each where it was first entered, in ledger order."""
    found: dict[str, RegistrationEntry] = {}
    for entry in log.of(RegistrationEntry):
        found.setdefault(entry.sitting, entry)
    return list(found.values())


def last_sign_of_life(log: PaperLog, sitting: str) -> PaperEntry | None:
    """The last entry that shows a sitting under way: problems were about to be asked, or it was registered."""
    signs = [*log.of(RegistrationEntry, sitting=sitting), *opening_entries(log, sitting)]
    return max(signs, key=lambda entry: entry.index, default=None)


def counted_from(log: PaperLog, sitting: str, *, now: str) -> LedgerEntry | None:
    """The entry from whose time on a sitting is silent: its last sign of life.

    Where the clock of that one was wrong (its time is more than a day to come, or is none), the next entry of the
    examiner, whose clock counts the days; None as long as there is none. ``now`` is by the examiner's clock.
    """
    last = last_sign_of_life(log, sitting)
    if last is None:
        return None
    examiner = log.header.examiner.signing
    own = (entry for entry in log.entries if entry.index > last.index and entry.signature.key == examiner)
    return next((entry for entry in (last.entry, *own) if are_apart(entry.time, now, -CLOCK_TOLERANCE.days)), None)


def are_apart(first: str, then: str, days: int) -> bool:
    """Whether so many days lie between two times as ledgers write them; not where one of them is no time."""
    start, end = instant(first), instant(then)
    return start is not None and end is not None and end - start >= timedelta(days=days)


def registration_entry(ledger: Ledger, registration: Registration) -> LedgerEntry:
    """The ledger's entry of a registration, signed by its maker.

    Raises:
        ProcedureError: There is none: nothing unregistered can be sat.
    """
    if found := _entered(ledger, registration.content_digest):
        return found.entry
    raise ProcedureError("This sitting is not registered in the ledger.", hint=_REGISTER)


def find_registration(ledger: Ledger, digest: str) -> Registration:
    """A registration by its digest.

    Raises:
        ProcedureError: The ledger has none.
    """
    if found := _entered(ledger, digest):
        return found.registration
    raise ProcedureError(f"The ledger has no registration {digest}.", hint=_REGISTER)


def _entered(ledger: Ledger, digest: str) -> RegistrationEntry | None:
    entries = map(RegistrationEntry, ledger.find(RegistrationEntry.kind, digest=digest))
    return next((entry for entry in entries if entry.is_whole()), None)


_Ends = dict[type[PaperEntry], RegistrationEnd]
_ENDS: _Ends = {ResultEntry: "result", WithdrawalEntry: "withdrawn", LapseEntry: "lapsed"}


def sitting_end(log: PaperLog, registration: Registration) -> PaperEntry | None:
    """The entry that ended a registration: the examiner's result, the maker's withdrawal, or a lapse in due time."""
    for end in log.of(*_ENDS, sitting=registration.content_digest):
        if isinstance(end, WithdrawalEntry) and end.key != registration.maker.signing:
            continue
        if isinstance(end, LapseEntry) and not is_due(end, log):
            continue
        return end
    return None


def check_open(log: PaperLog, registration: Registration) -> None:
    """Refuse to end what has ended.

    Raises:
        ProcedureError: It has.
    """
    if sitting_end(log, registration) is not None:
        raise ProcedureError("This registration has ended already.", hint="Its end stands in the ledger.")


def is_due(lapse: LapseEntry, log: PaperLog) -> bool:
    """Whether a lapse came as late as it says, by the ledger's times."""
    since = counted_from(log.before(lapse.index), lapse.sitting, now=lapse.time)
    return since is not None and are_apart(since.time, lapse.time, lapse.days)


def registration_states(log: PaperLog, *, maker_key: str) -> tuple[RegistrationState, ...]:
    """All registrations that one key signed for a paper, and how each ended, in ledger order."""
    states = []
    for entered in registrations_of(log):
        if entered.key != maker_key:
            continue
        registration, end = entered.registration, sitting_end(log, entered.registration)
        # scores are those of the last re-issue with edited grades, if there is one
        scored = [end, *log.of(ReissueEntry, sitting=entered.sitting)][-1] if isinstance(end, ResultEntry) else None
        states.append(
            RegistrationState(
                registration=entered.sitting,
                model_name=registration.model_name,
                state=_ENDS[type(end)] if end else "open",
                sealed_accuracy=scored and scored.share("sealed_accuracy"),
                p_value=scored and scored.share("p_value"),
                has_claim=registration.claim is not None,
                predicted_score=scored and scored.share("predicted_score"),
            )
        )
    return tuple(states)
