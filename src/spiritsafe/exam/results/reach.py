"""Was a model reached? A try that failed says nothing of the model, and still counts as wrong.

In: how tries ended. Out: how many failed, and whether the rest is enough for the score to be the model's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from spiritsafe.exam.records.terms import OutcomeStatus

MOST_FAILED = 0.05
"""Above this share of failed tries a score is not called the model's."""


@final
@dataclass(frozen=True, slots=True)
class Reach:
    """How many tries brought no answer: refused connections, time-outs, lost or unusable replies."""

    failed: int
    tries: int

    @classmethod
    def of(cls, statuses: Iterable[OutcomeStatus]) -> Reach:
        """Of tries that ended so."""
        ends = list(statuses)
        return cls(ends.count("error"), len(ends))

    @property
    def is_enough(self) -> bool:
        """Whether no more than :data:`MOST_FAILED` of the tries failed."""
        return self.failed <= MOST_FAILED * self.tries

    def __str__(self) -> str:
        above = "" if self.is_enough else f", more than {MOST_FAILED:.0%}"
        return f"{self.failed} of {self.tries} tries failed{above}"
