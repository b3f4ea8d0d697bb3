"""Reading collected attempts, and picking those worth learning from.

In: a directory that :func:`spiritsafe.rollouts.attempts.collect` filled. Out: all pairs of Attempt and Verdict in
order; or the verified ones, each with the reason counted why the others were dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal, final

from pydantic import Field

from spiritsafe.core.errors import RecipeError, SourceError
from spiritsafe.core.records import Attempt, FinishReason, Record, Verdict, omit_default
from spiritsafe.core.text.thoughts import split
from spiritsafe.rollouts.attempts.shards import Manifest, read_columns, read_manifest, read_shard

DropReason = Literal[
    "error", "correct", "wrong", "unparsed", "unscored", "refused", "truncated", "empty", "duplicate", "surplus"
]
"""Why an attempt was not kept. The first that applies counts; "correct": wrong ones were wanted; "empty": nothing
stands behind its thoughts (asked where there is no verifier); "surplus": its problem had enough better ones."""

KeepRule = Literal["shortest", "first"]
"""Which attempts of a problem go first: those with the fewest tokens, or those drawn first."""

WantedStatus = Literal["correct", "wrong"]
"""Which verdict an attempt must have to be kept. Wrong ones are a control: they say what the verdict is worth."""


@final
class VerifiedReport(Record):
    """What became of all attempts: ``num_asked = num_kept + sum(dropped.values())``.

    Attributes:
        num_correct: Attempts graded correct, kept or not.
        num_problems_kept: Those of them with an attempt kept.
        num_unverified: Attempts kept of problems that have no verifier.
        dropped: Count of each reason that occurred.
    """

    num_asked: int = Field(ge=0)
    num_correct: int = Field(ge=0)
    num_kept: int = Field(ge=0)
    num_problems: int = Field(ge=0)
    num_problems_kept: int = Field(ge=0)
    dropped: dict[DropReason, int]
    num_unverified: int = omit_default(0, ge=0)


def read_attempts(directory: Path) -> Iterator[tuple[Attempt, Verdict]]:
    """All attempts with their verdicts, in order of problem, then sample.

    Raises:
        SourceError: The directory holds no collection, or an unfinished one.
        IntegrityError: A file is damaged.
    """
    manifest = _manifest(directory)
    for index in range(len(manifest.shards)):
        yield from read_shard(directory, manifest, index)


def read_endings(directory: Path) -> tuple[Manifest, dict[str, list[tuple[FinishReason, Verdict]]]]:
    """How the attempts at each problem ended, without their texts: in order of problem, then sample.

    Returns:
        What was collected; by problem id, why each attempt ended and its verdict.

    Raises:
        SourceError: The directory holds no collection, or an unfinished one.
        IntegrityError: A file is damaged.
    """
    manifest = _manifest(directory)
    names = [f"verdict_{name}" for name in Verdict.model_fields]
    columns = read_columns(directory, manifest, ["problem_id", "finish_reason", *names])
    found: dict[str, list[tuple[FinishReason, Verdict]]] = {}
    for problem, finish, *values in zip(*columns.values(), strict=True):
        verdict = Verdict.from_json(dict(zip(Verdict.model_fields, values, strict=True)))
        found.setdefault(problem, []).append((finish, verdict))
    return manifest, found


def _manifest(directory: Path) -> Manifest:
    manifest = read_manifest(directory)
    if manifest is None:
        raise SourceError(f"{directory} holds no collected attempts.", hint="Check the path, or collect first.")
    return manifest


def verified(
    directory: Path, *, max_per_problem: int | None = None, rule: KeepRule = "shortest"
) -> tuple[list[tuple[str, Attempt]], VerifiedReport]:
    """The correct, complete, distinct attempts of each problem.

    Args:
        directory: A finished collection.
        max_per_problem: Keep at most so many of each problem; None: all.
        rule: Which of them go first.

    Returns:
        ``(problem_id, attempt)`` in order of problem, then of the rule; and the counts.

    Raises:
        RecipeError: ``max_per_problem`` or ``rule`` makes no sense.
        SourceError: The directory holds no finished collection.
        IntegrityError: A file is damaged.
    """
    found = VerifiedAttempts(directory, max_per_problem=max_per_problem, rule=rule)
    return list(found), found.report


def _why_not(attempt: Attempt, verdict: Verdict, *, wanted: WantedStatus, is_judged: bool) -> DropReason | None:
    if attempt.finish_reason == "error":
        return "error"
    if is_judged and verdict.status != wanted:
        return verdict.status
    if attempt.finish_reason == "refused":
        return "refused"
    if attempt.finish_reason == "length":
        return "truncated"
    return None if is_judged or split(attempt.text).answer.strip() else "empty"


@final
class VerifiedAttempts:
    """:func:`verified` one problem at a time, for collections that are too large to be held.

    Args:
        directory: A finished collection.
        max_per_problem: Keep at most so many of each problem; None: all.
        rule: Which of them go first.
        wanted: The verdict that is kept.
        without_verifier: Ids of problems whose answers nobody can judge (``Task.verifies`` is False): of these every
            attempt is kept that ended by itself and says something. Left out, they are "unscored" and dropped.

    Raises:
        RecipeError: ``max_per_problem`` or ``rule`` makes no sense.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_per_problem: int | None = None,
        rule: KeepRule = "shortest",
        wanted: WantedStatus = "correct",
        without_verifier: Container[str] = frozenset(),
    ) -> None:
        if rule not in ("shortest", "first"):
            raise RecipeError(f"There is no rule {rule!r}.", hint='Use "shortest" or "first".')
        if max_per_problem is not None and max_per_problem < 1:
            raise RecipeError(f"max_per_problem is {max_per_problem}.", hint="Give at least 1, or none for all.")
        self._directory = directory
        self._most = max_per_problem
        self._rule = rule
        self._wanted: WantedStatus = wanted
        self._without_verifier = without_verifier
        self._report: VerifiedReport | None = None

    @property
    def report(self) -> VerifiedReport:
        """The counts, once all attempts were read."""
        if self._report is None:
            raise TypeError("the attempts were not read to their end")
        return self._report

    def __iter__(self) -> Iterator[tuple[str, Attempt]]:
        """``(problem_id, attempt)`` in order of problem, then of the rule.

        Raises:
            SourceError: The directory holds no finished collection.
            IntegrityError: A file is damaged.
        """
        dropped: Counter[DropReason] = Counter()
        counts: Counter[str] = Counter()
        # the rows of a problem stand together
        for problem_id, rows in groupby(read_attempts(self._directory), key=lambda row: row[0].problem_id):
            attempts: list[Attempt] = []
            is_judged = problem_id not in self._without_verifier
            for attempt, verdict in rows:
                counts["asked"] += 1
                counts["correct"] += verdict.status == "correct"
                if reason := _why_not(attempt, verdict, wanted=self._wanted, is_judged=is_judged):
                    dropped[reason] += 1
                else:
                    attempts.append(attempt)
            chosen = self._choose(attempts, dropped)
            counts["problems"] += 1
            counts["problems kept"] += bool(chosen)
            counts["kept"] += len(chosen)
            counts["unverified"] += 0 if is_judged else len(chosen)
            yield from ((problem_id, attempt) for attempt in chosen)
        self._report = VerifiedReport(
            num_asked=counts["asked"],
            num_correct=counts["correct"],
            num_kept=counts["kept"],
            num_problems=counts["problems"],
            num_problems_kept=counts["problems kept"],
            num_unverified=counts["unverified"],
            dropped={reason: count for reason, count in sorted(dropped.items()) if count},
        )

    def _choose(self, attempts: list[Attempt], dropped: Counter[DropReason]) -> list[Attempt]:
        if self._rule == "shortest":  # stable: equally short ones stay in order of sample
            attempts.sort(key=lambda attempt: (attempt.num_tokens, len(attempt.text)))
        by_text: dict[str, Attempt] = {}
        for attempt in attempts:
            by_text.setdefault(attempt.text, attempt)
        distinct = list(by_text.values())
        chosen = distinct[: self._most]
        dropped["duplicate"] += len(attempts) - len(distinct)
        dropped["surplus"] += len(distinct) - len(chosen)
        return chosen
