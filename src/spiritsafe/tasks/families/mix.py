"""The ``mix`` family: several tasks as one, each with its share of the problems.

In: ``mix:arith:sums?terms=2-3|arith:countdown|gym:spell_backward*2``: specs separated by ``|``, each with a share
(``*2``; 1 when left out). Out: a Task. Its problems are its parts' problems: they keep their own task's name, and with
it their id and bucket, so that no problem changes its split by being mixed, and the exam problems of a part are exam
problems of the mix. A problem is graded by the verifier of its part. A ``|`` inside a part's own value is written
``%7C``.

Among the first ``n`` problems of any split every part has its share, but for less than one block (the sum of the
shares); within a block the order is drawn from the seed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from random import Random
from typing import final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.registry import build_task
from spiritsafe.tasks.spec import TaskSpec
from spiritsafe.tasks.task import Draft, NoMoreProblemsError, Task, Verifier

_SEPARATOR = "|"
_SHARE = re.compile(r"(.*?)\s*\*\s*(\d{1,4})", re.DOTALL)
_EXAMPLE = "Write mix:arith:sums?terms=2-3|arith:countdown*2: specs separated by |, with *2 for a double share."


@final
@dataclass(frozen=True, slots=True)
class MixPart:
    """One of a mix's tasks.

    Attributes:
        share: Its weight among the others, a whole number.
    """

    task: Task
    share: int

    @property
    def spec(self) -> str:
        """As the mix's name writes it; a name that itself ends like a share has its share written out."""
        name = self.task.name
        return f"{name}*{self.share}" if self.share > 1 or _SHARE.fullmatch(name) else name


def split_parts(text: str) -> list[tuple[str, int]]:
    """Specs and shares, as written."""
    parts = []
    for piece in text.split(_SEPARATOR):
        match = _SHARE.fullmatch(piece.strip())
        spec, share = (match[1], int(match[2])) if match else (piece.strip(), 1)
        if spec.startswith("mix:"):
            raise _nested()
        if not spec or not share:
            raise TaskError(f'"{piece}" is no part of a mix.', hint=_EXAMPLE)
        parts.append((spec, share))
    return parts


def _nested() -> TaskError:
    return TaskError("A mix cannot be a part of a mix.", hint="Name the inner one's tasks instead.")


def _foreign(problem: Problem) -> TaskError:
    return TaskError(
        f"This mix has no part {problem.task}.", hint="Grade a problem with the task that it was drawn from."
    )


@final
class MixVerifier(Verifier):
    """Hands each problem to the verifier of its part; its version names them all."""

    name = "mix"

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._verifiers: dict[str, Verifier] = {task.name: task.verifier for task in tasks}
        self._describe()

    def _describe(self) -> None:
        parts = {f"{verifier.name}/{verifier.version}" for verifier in self._verifiers.values()}
        self.version = "1:" + ",".join(sorted(parts))
        self.isolated = any(verifier.isolated for verifier in self._verifiers.values())
        self.sandboxed = all(verifier.sandboxed for verifier in self._verifiers.values())
        self.sees_thoughts = any(verifier.sees_thoughts for verifier in self._verifiers.values())

    def before_thoughts(self) -> MixVerifier:
        """The parts' verifiers before thoughts were put aside."""
        before = copy(self)
        before._verifiers = {task: verifier.before_thoughts() for task, verifier in self._verifiers.items()}
        before._describe()
        return before

    def of(self, problem: Problem) -> Verifier:
        """The part's verifier.

        Raises:
            TaskError: The problem is of none of the parts.
        """
        verifier = self._verifiers.get(problem.task)
        if verifier is None:
            raise _foreign(problem)
        return verifier

    def check_machine(self) -> None:
        """Each part's."""
        for verifier in self._verifiers.values():
            verifier.check_machine()

    def judge(self, problem: Problem, text: str) -> Verdict:
        """The part's verdict, signed by the part's verifier.

        Raises:
            TaskError: The problem is of none of the parts.
        """
        return self.of(problem).judge(problem, text)


def _until_taken(task: Task, drafts: Iterator[Draft]) -> Iterator[Draft]:
    """Drafts of a part up to the first that is wanted, so that the shares hold in whatever split is drawn."""
    taken = False

    def built(draft: Draft) -> Problem:
        nonlocal taken
        taken = True
        return draft.build()

    for num_missed, draft in enumerate(drafts):
        if num_missed >= task.patience:
            break
        yield Draft(draft.canonical_text, lambda draft=draft: built(draft), task=task.name)  # type: ignore[misc]  # mypy cannot type a lambda's default
        if taken:
            return
    raise NoMoreProblemsError(
        f"{task.name}, a part of the mix, has no further problem to draw.",
        hint="Ask for fewer, widen that task's knobs, or give it a smaller share.",
    )


@final
class MixTask(Task):
    """Several tasks as one.

    Args:
        parts: The tasks and their shares, whole numbers.

    Attributes:
        parts: The same, in the order of the tasks' names, shares as small as they go.

    Raises:
        TaskError: Fewer than two tasks, a task twice, or a mix in a mix.
    """

    def __init__(self, parts: Sequence[tuple[Task, int]]) -> None:
        if any(isinstance(task, MixTask) for task, _ in parts):
            raise _nested()
        names = [task.name for task, _ in parts]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise TaskError(f"The mix names {twice} twice.", hint="Name it once, with *2 for a double share.")
        if len(parts) < 2:
            raise TaskError("A mix needs at least two tasks.", hint=_EXAMPLE)
        divisor = math.gcd(*(share for _, share in parts))
        self.parts = tuple(
            sorted((MixPart(task, share // divisor) for task, share in parts), key=lambda part: part.task.name)
        )
        tasks = [part.task for part in self.parts]
        super().__init__(
            name=f"mix:{_SEPARATOR.join(part.spec for part in self.parts)}",
            version="1:" + ",".join(task.version for task in tasks),
            verifier=MixVerifier(tasks),
        )
        self.verifies = all(task.verifies for task in tasks)
        self.judges_form = any(task.judges_form for task in tasks)
        self.patience = 1 + max(task.patience for task in tasks)  # a part that runs dry is named before that

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        drafts = {
            part.task.name: part.task._candidates(derive_seed(seed, "mix", part.task.name), exam=exam)
            for part in self.parts
        }
        block = [part.task for part in self.parts for _ in range(part.share)]
        rng = Random(derive_seed(seed, "mix", self.name))
        while True:
            rng.shuffle(block)
            for task in list(block):
                yield from _until_taken(task, drafts[task.name])

    def gold(self, problem: Problem) -> str:
        """An answer that the part's verifier must accept."""
        return self._task_of(problem).gold(problem)

    def self_check(self, problem: Problem, text: str) -> bool | None:
        """The part's check, where it offers one."""
        return self._task_of(problem).self_check(problem, text)

    def _task_of(self, problem: Problem) -> Task:
        for part in self.parts:
            if part.task.name == problem.task:
                return part.task
        raise _foreign(problem)


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: It does not read as specs and shares, or a part cannot be built.
        SourceError: A part's data cannot be read.
    """
    return MixTask([(build_task(part), share) for part, share in split_parts(spec.name)])


FAMILY = Family(
    place=4,
    source="other tasks",
    describe=lambda: [
        (
            "<spec>|<spec>*<share>",
            "several tasks as one, in given shares: mix:arith:sums?terms=2|gym:spell_backward*2",
            None,
        )
    ],
    parts=lambda name: [spec for spec, _ in split_parts(name)],
)
