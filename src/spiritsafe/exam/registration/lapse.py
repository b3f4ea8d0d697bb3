"""Lapsing: an examiner gives up, on record, a sitting that was registered and that nobody finishes.

In: a registration, the examiner's key, a reason. Out: a ledger entry of kind ``lapse``. The registration stays on every
list as "lapsed", a sitting without a result that its maker owes: its claim counts as failed, and it cannot be sat any
more. A lapse counts only where the ledger showed no sign of the sitting for so many days: neither its registration nor
an access to the paper for it, so that no sitting under way can be ended so. Days are counted by the examiner's clock:
where that of the last sign was wrong, from the examiner's next entry on.
"""

from __future__ import annotations

from functools import partial
from typing import final

from spiritsafe.core.errors import ProcedureError, RecipeError
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog
from spiritsafe.exam.entries.registrations import (
    LEAST_DAYS,
    MOST_DAYS,
    LapseEntry,
    are_apart,
    check_open,
    counted_from,
    last_sign_of_life,
    registration_entry,
)
from spiritsafe.exam.records.paper import PublicPaper
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.terms import USUAL_DAYS
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry, utc_now


@final
class LapseNotice(PaperEntry):
    """Days are counted from here, because the clock of the last sign of a sitting was wrong."""

    kind = "lapse notice"


def lapse(
    *,
    ledger: Ledger,
    paper: PublicPaper,
    registration: Registration,
    examiner: KeyPair,
    reason: str,
    days: int = USUAL_DAYS,
) -> LedgerEntry:
    """Record that a registered sitting did not come to an end in time.

    Args:
        ledger: Holds the registration; gets the entry.
        days: How long nothing was heard of it.

    Raises:
        RecipeError: So few days that a sitting under way could be ended, or too many.
        ProcedureError: Not the examiner's key, not registered, it has ended already, or it is too early.
    """
    header, digest = paper.header, registration.content_digest
    if not LEAST_DAYS <= days <= MOST_DAYS:
        raise RecipeError(
            f"A registration lapses after {LEAST_DAYS} to {MOST_DAYS} days, not after {days}.",
            hint="A sitting may take its time; wait, or ask its maker to withdraw it.",
        )
    entered = registration_entry(ledger, registration)
    if (examiner.public, registration.paper_id) != (header.examiner, header.paper_id):
        raise ProcedureError(
            f"This paper was sealed by {header.examiner.label}.",
            hint="Only who sealed the paper that was registered for can let the registration lapse.",
        )

    still_open = partial(check_open, registration=registration)

    def long_silent(log: PaperLog) -> None:
        still_open(log)
        last = counted_from(log, digest, now=utc_now()) or entered
        if not are_apart(last.time, utc_now(), days):
            raise ProcedureError(
                f"The last sign of this sitting is of {last.time} (ledger entry {last.index}), less than {days} days "
                "ago.",
                hint="Wait until then, or let its maker withdraw it.",
            )

    log = PaperLog(ledger.entries(), header)
    if counted_from(log, digest, now=utc_now()) is None:
        last = last_sign_of_life(log, digest) or entered
        notice = LapseNotice.append(ledger, header, examiner, still_open, registration=digest, entry=last.index)
        raise ProcedureError(
            f"The last sign of this sitting (ledger entry {last.index}) is of {last.time}: that clock was wrong. The "
            f"days are counted from ledger entry {notice.index} on, which says so.",
            hint=f"Run the same command again in {days} days.",
        )
    return LapseEntry.append(ledger, header, examiner, long_silent, registration=digest, days=days, reason=reason)
