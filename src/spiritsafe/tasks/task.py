"""Task: problems and the one verifier that is reward, filter and grader alike.

In: a split, a seed, a count. Out: distinct problems; and for a completion, a Verdict. A Task splits into frozen data
(:class:`~spiritsafe.core.records.Problem`) and behaviour (this). To add a family, subclass :class:`Task` and
:class:`Verifier`, and name the module in ``registry.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal, Self, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem, Status, Verdict
from spiritsafe.core.text.thoughts import split
from spiritsafe.tasks.splits import SPLIT_BUCKETS, Split, bucket_of_text

_MAX_REASON = 300
_MAX_ANSWER = 500


@final
class NoMoreProblemsError(TaskError):
    """A task has fewer problems than were asked for."""


@final
@dataclass(frozen=True, slots=True)
class Draft:
    """A problem before it is known to be wanted: its canonical text decides its bucket, ``build`` makes the rest.

    Attributes:
        canonical_text: The problem's.
        build: Called once the problem is taken, and only then.
        task: Name of the task that the problem is of, where that is not the one that drafts it but a part of it.
    """

    canonical_text: str
    build: Callable[[], Problem]
    task: str | None = None


@final
@dataclass(frozen=True, slots=True)
class LabelledAnswers:
    """Answers to one problem of which it is known whether they are right.

    Attributes:
        kind: What they are: the same words for all problems.
        is_right: Whether a verifier must accept them.
        texts: The answers.
        most_wrong: The share of the kind that may be judged otherwise.
    """

    kind: str
    is_right: bool
    texts: tuple[str, ...]
    most_wrong: float = 0.0


class Verifier(ABC):
    """Judges an answer. ``judge`` may raise; :meth:`Task.grade` is what turns that into "unscored".

    It is handed what stands behind a completion's thoughts, wherever the completion comes from.

    Attributes:
        name: Which verifier; part of every Verdict.
        version: Raised whenever any verdict could change.
        isolated: True when the judging runs in a child process that is killed when it hangs. A verifier may run inline
            only when its time is bounded by the length of the text, whatever the text says.
        sandboxed: True when what could hang is foreign code in :mod:`spiritsafe.tasks.sandbox`, which bounds and ends
            it, so that no other process need watch the judging.
        earlier: The version that judged alike but was handed whole completions, if there was one: papers that were
            sealed with it are sat and graded as it did.
        sees_thoughts: Whether this is that version.
    """

    name: str
    version: str
    isolated: bool
    sandboxed: bool = False
    earlier: str | None = None
    sees_thoughts: bool = False

    def before_thoughts(self) -> Self:
        """This verifier in its version :attr:`earlier`; itself where there was none."""
        if self.earlier is None:
            return self
        before = copy(self)
        before.version, before.sees_thoughts = self.earlier, True
        return before

    @abstractmethod
    def judge(self, problem: Problem, text: str) -> Verdict:
        """The verdict on one completion."""

    def of(self, problem: Problem) -> Verifier:
        """The one that judges a problem, where several are behind this one."""
        return self

    def check_machine(self) -> None:  # noqa: B027  most need nothing
        """Whether it can judge on this machine; asked before work that would be in vain.

        Raises:
            TaskError: It cannot: it says what to install.
        """

    @final
    def verdict(
        self,
        status: Status,
        *,
        answer: str | None = None,
        reason: str = "",
        score: float = 0.0,
        sandbox: str | None = None,
    ) -> Verdict:
        """A Verdict signed with this verifier's name; "correct" has score 1."""
        return Verdict(
            status=status,
            score=1.0 if status == "correct" else score,
            answer=None if answer is None else answer[:_MAX_ANSWER],
            reason=reason[:_MAX_REASON],
            verifier=self.name,
            version=self.version,
            sandbox=sandbox,
        )


def _draw(task: Task, buckets: range, *, seed: int, count: int | None, label: str, exam: bool) -> Iterator[Problem]:
    """Distinct problems whose bucket is in ``buckets``. Shared with ``exam_bucket.py`` and with nobody else."""
    if (count or 0) < 0 or seed < 0:
        raise TaskError(f"seed={seed} and count={count} must not be negative.", hint="Use 0 or more.")
    if count is None:
        _check_finite(task)

    def drawn() -> Iterator[Problem]:
        seen: set[tuple[str, str]] = set()
        misses = 0
        if count == 0:
            return
        for draft in task._candidates(seed, exam=exam):
            owner, text = draft.task or task.name, draft.canonical_text
            if (owner, text) in seen or bucket_of_text(owner, text) not in buckets:
                misses += 1
                if misses >= task.patience and not task.finite:
                    break
                continue
            seen.add((owner, text))
            misses = 0
            problem = draft.build()
            if problem.task != owner:
                raise TaskError(
                    f'{task.name} made a problem of "{problem.task}".', hint="Make its problems with task=self.name."
                )
            yield problem
            if len(seen) == count:
                return
        if count is None:
            return
        raise NoMoreProblemsError(
            f"{task.name} has only {len(seen)} problems for {label}; {count} were asked for.",
            hint="Ask for fewer, or widen the task's knobs.",
        )

    return drawn()


def _check_finite(task: Task) -> None:
    if not task.finite:
        raise TaskError(f"{task.name} makes problems without end.", hint="Say how many you want.")


class Task(ABC):
    """Problems of one kind, and their verifier.

    Attributes:
        name: The canonical spec, every knob resolved.
        version: Version of the generator and its data; raised when the same seed would give other problems.
        verifier: The only grader of these problems.
        patience: Candidates in a row without a new problem before the family counts as dry.
        finite: Its candidates are those of a data set and come to an end.
        verifies: Its verifier can tell right from wrong; where it cannot, each grade is "unscored".
        judges_form: It asks for a form of the whole text: nothing may stand around a right answer, a text without sense
            can be right, and there may be problems that no text solves, whose gold is "".
    """

    patience = 20_000
    finite = False
    verifies = True
    judges_form = False

    def __init__(self, *, name: str, version: str, verifier: Verifier) -> None:
        self.name = name
        self.version = version
        self.verifier = verifier

    @abstractmethod
    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        """Every problem the task can think of, in an order set by ``seed``; all buckets, repeats allowed.

        Args:
            seed: Sets the order.
            exam: Draw from the exam's own source, where the task has one (a data set's official test file).
        """

    def _twins(self, problem: Problem, seed: int) -> Iterator[Draft]:
        """The same problem with new numbers and names, best likenesses first; all buckets, repeats allowed.

        Empty: the task cannot make any. Only an exam asks, through ``exam_bucket.py``.
        """
        return iter(())

    @final
    def problems(self, split: Literal["train", "dev"], *, seed: int, count: int | None) -> Iterator[Problem]:
        """``count`` problems of a split, distinct by id; a longer count extends a shorter one.

        Args:
            split: Which.
            seed: Sets the order.
            count: How many; None: all that a data set has.

        Raises:
            TaskError: The split is neither "train" nor "dev"; all are asked for of a task that makes them without end;
                or, after the last problem, the family ran dry.
        """
        if split not in ("train", "dev"):
            raise TaskError(
                f'"{split}" is not a split to study.',
                hint='Use "train" or "dev"; exam problems come only from an exam.',
            )
        return _draw(self, SPLIT_BUCKETS[split], seed=seed, count=count, label=split, exam=False)

    @final
    def sizes(self) -> dict[Split, int]:
        """How many distinct problems a data set has in each split, those of exams counted and not made.

        Raises:
            TaskError: The task makes problems without end, or its data do not fit.
            SourceError: The data cannot be read.
        """
        _check_finite(self)
        found: dict[Split, int] = {}
        for name, buckets in SPLIT_BUCKETS.items():
            drafts = self._candidates(0, exam=name == "exam")
            texts = {(draft.task or self.name, draft.canonical_text) for draft in drafts}
            found[name] = sum(bucket_of_text(*text) in buckets for text in texts)
        return found

    def about(self) -> dict[str, str]:
        """What there is to say of the task's data beside its problems, by heading."""
        return {}

    @final
    def grade(self, problem: Problem, text: str) -> Verdict:
        """The verdict on one completion. Never raises; a verifier that broke or hung gives "unscored".

        Judged is what stands behind the text's thoughts; while a thought is open, there is no answer. Safe from any
        thread: what could hang runs in a child process with its own limits.
        """
        try:
            if self.verifier.sees_thoughts:
                return self.verifier.judge(problem, text)
            parts = split(text)
            verdict = self.verifier.judge(problem, parts.answer)
            if not parts.closed and verdict.status in ("correct", "wrong"):  # it took silence for an answer
                changes = {"status": "unparsed", "score": 0.0, "answer": None, "reason": "the thought has no end"}
                return verdict.model_copy(update=changes)
            return verdict
        except Exception as error:  # noqa: BLE001  the one boundary: whatever breaks in a verifier is a record, not a crash
            return self.verifier.verdict("unscored", reason=f"{type(error).__name__}: {error}")

    @final
    def before_thoughts(self) -> Self:
        """The same task with its verifier's version before thoughts were put aside, for papers of that time."""
        before = copy(self)
        before.verifier = self.verifier.before_thoughts()
        return before

    def self_check(self, problem: Problem, text: str) -> bool | None:
        """Whether a completion passes what can be checked from the question alone, without the gold answer.

        A model that is used for work can choose among its attempts by it; None: the task offers no such check.
        """
        return None

    def labelled_answers(self, problem: Problem) -> Sequence[LabelledAnswers]:
        """Answers that the audit tries beside the gold one; empty: it makes up those that suit a short answer."""
        return ()

    def gold(self, problem: Problem) -> str:
        """An answer that the verifier must accept."""
        return str(problem.facts["answer"])
