"""Whether a paper is still in force: once it is retired, everybody has it, and no sitting of it can be certified.

In: a paper's log. Out: the entry that retired the paper, or none; what else was published of it. What retires it is
:mod:`spiritsafe.exam.review.retire`.
"""

from __future__ import annotations

from typing import final

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog


@final
class RetirementEntry(PaperEntry):
    """The examiner's word that the paper was opened to everybody."""

    kind = "open"


@final
class RevealEntry(PaperEntry):
    """A problem was opened to everybody; a grade can be judged by it where the examiner did."""

    kind = "reveal"
    signer = "opener"


@final
class AnswersEntry(PaperEntry):
    """All answers of a sitting were published."""

    kind = "answers"


def retirement_of(log: PaperLog) -> RetirementEntry | None:
    """The entry that retired a paper; the first, if there are several."""
    return next(iter(log.of(RetirementEntry)), None)


def check_in_force(log: PaperLog) -> None:
    """Refuse what a retired paper cannot be used for any more.

    Raises:
        ProcedureError: It was retired.
    """
    if retired := retirement_of(log):
        raise ProcedureError(
            f"This paper was retired on {retired.time} (ledger entry {retired.index}): everybody has its problems.",
            hint="Register for a paper that is still sealed.",
        )
