"""Whether a paper is still in force: once it is retired, everybody has it, and no sitting of it can be certified.

In: a ledger's entries, a paper's header. Out: the entry that retired the paper, or none. What retires it is
:mod:`spiritsafe.exam.review.retire`.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.ledger import LedgerEntry


def is_retirement(entry: LedgerEntry, header: PaperHeader) -> bool:
    """Whether an entry is the examiner's word that this paper was opened to everybody."""
    return (
        entry.kind == "open"
        and entry.body.get("paper_id") == header.paper_id
        and entry.signature.key == header.examiner.signing
    )


def retirement_of(entries: Sequence[LedgerEntry], header: PaperHeader) -> LedgerEntry | None:
    """The entry that retired a paper; the first, if there are several."""
    return next((entry for entry in entries if is_retirement(entry, header)), None)


def check_in_force(entries: Sequence[LedgerEntry], header: PaperHeader) -> None:
    """Refuse what a retired paper cannot be used for any more.

    Raises:
        ProcedureError: It was retired.
    """
    if retired := retirement_of(entries, header):
        raise ProcedureError(
            f"This paper was retired on {retired.time} (ledger entry {retired.index}): everybody has its problems.",
            hint="Register for a paper that is still sealed.",
        )
