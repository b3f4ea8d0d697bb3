"""Plain counts over graded attempts: how many were asked, right, unscored, for each problem and in all.

In: pairs of Attempt and Verdict. Out: a :class:`PassSummary`. Intervals and comparisons are ``core.stats``' work; it
takes these counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from pydantic import Field

from spiritsafe.core.records import Attempt, Record, Verdict


@final
class ProblemCounts(Record):
    """Counts of one problem's attempts; ``num_unscored`` (errors and broken verifiers) say nothing of the model."""

    problem_id: str
    num_asked: int = Field(ge=0)
    num_correct: int = Field(ge=0)
    num_unscored: int = Field(ge=0)

    @property
    def pass_rate(self) -> float | None:
        """Share of scored attempts that are correct; None when none was scored."""
        scored = self.num_asked - self.num_unscored
        return self.num_correct / scored if scored else None


@final
class PassSummary(Record):
    """Counts of each problem, in the order of first appearance."""

    problems: tuple[ProblemCounts, ...]

    @property
    def num_asked(self) -> int:
        """All attempts."""
        return sum(problem.num_asked for problem in self.problems)

    @property
    def num_correct(self) -> int:
        """All correct attempts."""
        return sum(problem.num_correct for problem in self.problems)

    @property
    def num_unscored(self) -> int:
        """All attempts without a grade."""
        return sum(problem.num_unscored for problem in self.problems)

    @property
    def num_solved(self) -> int:
        """Problems with at least one correct attempt."""
        return sum(problem.num_correct > 0 for problem in self.problems)

    @property
    def pass_rate(self) -> float | None:
        """Share of scored attempts that are correct; None when none was scored."""
        scored = self.num_asked - self.num_unscored
        return self.num_correct / scored if scored else None


def summarise(graded: Iterable[tuple[Attempt, Verdict]]) -> PassSummary:
    """Count graded attempts, such as :func:`spiritsafe.rollouts.read_attempts` gives."""
    counts: dict[str, list[int]] = {}
    for attempt, verdict in graded:
        entry = counts.setdefault(attempt.problem_id, [0, 0, 0])
        entry[0] += 1
        entry[1] += verdict.status == "correct"
        entry[2] += verdict.status == "unscored"
    return PassSummary(
        problems=tuple(
            ProblemCounts(problem_id=problem_id, num_asked=asked, num_correct=correct, num_unscored=unscored)
            for problem_id, (asked, correct, unscored) in counts.items()
        )
    )
