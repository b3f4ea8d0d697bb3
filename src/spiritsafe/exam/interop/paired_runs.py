"""Two graded runs compared problem by problem: B minus A, with an interval and an exact p-value.

In: two :class:`~spiritsafe.exam.interop.graded_runs.GradedRun`, of any kinds whose problems are the same. Out: a
:class:`PairedRuns`, and a table with a line for each problem. Problems are paired by their id where both runs have
theirs from one tool and task, else by question and target, else by the question's text; what pairs with nothing is
counted, and left over. A try that failed, or that its scorer could not grade, is never passed off as a wrong answer:
both ways of counting it are computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from pydantic import Field

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Record
from spiritsafe.exam.interop.graded_runs import GradedRun
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.stats import Estimate, PairedDifference, exchange_p_value, paired_difference, score_interval

PairedBy = Literal["id", "question and target", "question"]
FAILED: tuple[OutcomeStatus, ...] = ("error", "unscored")
"""Endings that say nothing of the model: there was no answer, or its scorer could not tell."""

PAIRED_COLUMNS = (
    "problem_a", "problem_b", "paired_by", "right_a", "right_b", "tries", "failed_a", "failed_b",
    "endings_a", "endings_b",
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class PairedProblem:
    """One problem in both runs, with as many tries of each as are compared."""

    name_a: str
    name_b: str
    paired_by: PairedBy
    tries_a: tuple[OutcomeStatus, ...]
    tries_b: tuple[OutcomeStatus, ...]

    @property
    def right(self) -> tuple[int, int]:
        """Right answers of A and of B."""
        return self.tries_a.count("correct"), self.tries_b.count("correct")

    @property
    def has_failed(self) -> bool:
        """Whether a try of either failed."""
        return any(status in FAILED for status in (*self.tries_a, *self.tries_b))


class PairedScores(Record):
    """The numbers of the paired problems, in one way of counting.

    Attributes:
        num_problems: That are counted.
        score_a: Share of A's tries that were right; ``score_b`` likewise, of the same problems.
        difference: B minus A; its ``p_value`` is the mid-p.
        exact_p_value: Two-sided, of the exchange test (McNemar's exact one where each problem is asked once).
        num_b_better: Problems that B answered right more often.
        num_a_better: Problems that A answered right more often.
        num_both: Problems that both answered right every time.
        num_neither: Problems that neither ever answered right.
    """

    num_problems: int = Field(ge=1)
    score_a: Estimate
    score_b: Estimate
    difference: PairedDifference
    exact_p_value: float
    num_b_better: int
    num_a_better: int
    num_both: int
    num_neither: int


class ComparedRun(Record):
    """One side.

    Attributes:
        words: Model, task, and who graded.
        num_problems: In the run, paired or not.
        num_tries: Planned for each problem.
        num_left_over: Problems that pair with none of the other run.
        endings: How the compared tries ended.
        num_partial: Tries of the run that earned a part of the marks: they are not right.
    """

    file: str
    words: str
    num_problems: int
    num_tries: int
    num_left_over: int
    endings: dict[OutcomeStatus, int]
    num_partial: int
    remarks: tuple[str, ...]

    @property
    def num_failed(self) -> int:
        """Compared tries that failed or could not be graded."""
        return sum(self.endings.get(status, 0) for status in FAILED)


class PairedRuns(Record):
    """Two runs, compared.

    Attributes:
        num_paired: Problems in both runs.
        paired_by: How many of them by what.
        num_tries: Compared for each problem: the first ones, where a run has more.
        counted_wrong: Failed tries count as wrong, as in an exam: what was planned is the denominator.
        left_out: Problems with a failed try of either run are left out; None: nothing failed, or nothing would remain.
        remarks: What a reader should know of the two together.
    """

    a: ComparedRun
    b: ComparedRun
    num_paired: int = Field(ge=1)
    paired_by: dict[PairedBy, int]
    num_tries: int = Field(ge=1)
    counted_wrong: PairedScores
    left_out: PairedScores | None
    remarks: tuple[str, ...]

    @property
    def num_failed(self) -> int:
        """Compared tries of both that failed or could not be graded."""
        return self.a.num_failed + self.b.num_failed


def pair_runs(a: GradedRun, b: GradedRun) -> list[PairedProblem]:
    """The problems that are in both runs, in A's order.

    Raises:
        CompatibilityError: None is.
    """
    left_a, left_b = list(a.tries), set(b.tries)
    found: dict[str, tuple[str, PairedBy]] = {}

    def take(pairs: Iterable[tuple[str, str]], by: PairedBy) -> None:
        for name_a, name_b in pairs:
            if name_a not in found and name_b in left_b:
                found[name_a] = (name_b, by)
                left_b.discard(name_b)

    if a.names == b.names:
        take(((name, name) for name in left_a if name in left_b and _may_be_one(name, a, b)), "id")
    elif "spiritsafe" in (a.names, b.names):  # another tool was given our problems under our own ids: digests of them
        take(((name, name) for name in left_a if name in left_b and name.startswith("sha256:")), "id")
    if a.names.split(" ")[0] == b.names.split(" ")[0]:  # a digest is of its tool's form
        take(_common(_each(a.asked), _each(b.asked), found, left_b), "question and target")
    if len(found) < len(left_a) and left_b:
        take(_common(a.texts(), b.texts(), found, left_b), "question")
    if not found:
        raise CompatibilityError(
            f"No problem of {a.file} is in {b.file}: {a.words}; and {b.words}.",
            hint="Compare two runs of the same problems. Problems pair by their ids, or by the text of the question.",
        )
    num_tries = min(a.num_tries, b.num_tries)
    return [
        PairedProblem(name, other, by, a.tries[name][:num_tries], b.tries[other][:num_tries])
        for name, (other, by) in ((name, found[name]) for name in left_a if name in found)
    ]


def _may_be_one(name: str, a: GradedRun, b: GradedRun) -> bool:
    """Whether nothing says that two problems of one name are different ones."""
    one, other = a.asked.get(name), b.asked.get(name)
    return one is None or other is None or one == other


def _each(digests: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: (digest,) for name, digest in digests.items()}


def _common(
    a: Mapping[str, Sequence[str]], b: Mapping[str, Sequence[str]], found: Mapping[str, object], left_b: set[str]
) -> list[tuple[str, str]]:
    """Problems that share what no other problem of either run has."""
    of_a, of_b = _owners(a, lambda name: name not in found), _owners(b, lambda name: name in left_b)
    return [(name, of_b[key]) for key, name in of_a.items() if key in of_b]


def _owners(keys: Mapping[str, Sequence[str]], is_left: Callable[[str], bool]) -> dict[str, str]:
    """The one problem of each key; keys of several problems tell none of them."""
    counts = Counter(key for found in keys.values() for key in set(found))
    return {key: name for name, found in keys.items() if is_left(name) for key in found if counts[key] == 1}


def compare_runs(a: GradedRun, b: GradedRun) -> tuple[PairedRuns, list[PairedProblem]]:
    """B against A, problem by problem.

    Returns:
        The comparison, and the paired problems behind it.

    Raises:
        CompatibilityError: No problem is in both runs.
    """
    problems = pair_runs(a, b)
    num_tries = len(problems[0].tries_a)
    sound = [problem for problem in problems if not problem.has_failed]
    is_whole = len(sound) == len(problems)
    paired_by = Counter(problem.paired_by for problem in problems)
    compared = PairedRuns(
        a=_side(a, [problem.tries_a for problem in problems]),
        b=_side(b, [problem.tries_b for problem in problems]),
        num_paired=len(problems),
        paired_by=dict(paired_by),
        num_tries=num_tries,
        counted_wrong=_scores(problems, num_tries),
        left_out=_scores(sound, num_tries) if sound and not is_whole else None,
        remarks=tuple(_remarks(a, b, num_tries, paired_by["question"])),
    )
    return compared, problems


def _side(run: GradedRun, tries: Sequence[tuple[OutcomeStatus, ...]]) -> ComparedRun:
    return ComparedRun(
        file=run.file,
        words=run.words,
        num_problems=len(run.tries),
        num_tries=run.num_tries,
        num_left_over=len(run.tries) - len(tries),
        endings=dict(sorted(Counter(status for one in tries for status in one).items())),
        num_partial=run.num_partial,
        remarks=run.remarks,
    )


def _scores(problems: Sequence[PairedProblem], num_tries: int) -> PairedScores:
    right_a, right_b = zip(*(problem.right for problem in problems), strict=True)
    difference = paired_difference(right_b, right_a, trials=num_tries)
    pairs = Counter(zip(right_a, right_b, strict=True))
    return PairedScores(
        num_problems=len(problems),
        score_a=score_interval(right_a, trials=num_tries),
        score_b=score_interval(right_b, trials=num_tries),
        difference=difference,
        exact_p_value=exchange_p_value(right_b, right_a, trials=num_tries),
        num_b_better=difference.num_first_better,
        num_a_better=difference.num_second_better,
        num_both=pairs[num_tries, num_tries],
        num_neither=pairs[0, 0],
    )


def _remarks(a: GradedRun, b: GradedRun, num_tries: int, num_by_text: int) -> Iterator[str]:
    if a.scorer != b.scorer:
        yield f"Two scorers graded ({a.scorer}; {b.scorer}): the difference is one of models and scorers."
    if a.num_tries != b.num_tries:
        yield f"A has {a.num_tries} tries a problem and B {b.num_tries}: the first {num_tries} of each are compared."
    if num_by_text:
        yield f"{num_by_text:,} problems pair by the text of the question: whether one answer was wanted is not known."


def paired_rows(problems: Sequence[PairedProblem], a: GradedRun, b: GradedRun) -> list[dict[str, str | int]]:
    """A row for each problem, with the columns of :data:`PAIRED_COLUMNS`; what is left over comes last, on one side."""
    paired_a, paired_b = ({getattr(p, f"name_{side}") for p in problems} for side in "ab")
    rows = [_row(p.name_a, p.name_b, p.paired_by, p.tries_a, p.tries_b) for p in problems]
    rows += [_row(name, "", "", tries, ()) for name, tries in a.tries.items() if name not in paired_a]
    rows += [_row("", name, "", (), tries) for name, tries in b.tries.items() if name not in paired_b]
    return rows


def _row(
    name_a: str, name_b: str, by: str, tries_a: Sequence[OutcomeStatus], tries_b: Sequence[OutcomeStatus]
) -> dict[str, str | int]:
    values: list[str | int] = [name_a, name_b, by]
    values += [tries.count("correct") if tries else "" for tries in (tries_a, tries_b)]
    values.append(max(len(tries_a), len(tries_b)))
    values += [sum(status in FAILED for status in tries) if tries else "" for tries in (tries_a, tries_b)]
    values += [" ".join(tries) for tries in (tries_a, tries_b)]
    return dict(zip(PAIRED_COLUMNS, values, strict=True))
