"""A task as reward and data set of TRL's ``GRPOTrainer`` (TRL 1.10 or newer; tried with 1.16).

In: a task. Out: rows with ``prompt``, ``problem_id`` and ``spiritsafe_problem``, and a reward function of TRL's form: 1
for a correct answer, 0 for a wrong one and for text without an answer, None where the verifier could not tell or took
too long. TRL leaves None out of its group. See ``docs/other-tools.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, final

from spiritsafe.core.errors import SourceError
from spiritsafe.core.records import Problem, Verdict
from spiritsafe.reinforce.trainers.row_grader import (
    PROBLEM_COLUMN,
    RowGrader,
    drawn_problems,
    missing_problem,
    short_name,
    task_to_learn,
)
from spiritsafe.tasks import Task


def answer_text(completion: Any) -> str:
    """What there is to grade of a completion: its text, or that of the last assistant's message.

    Args:
        completion: A text, or messages; a message's content may be a text, a list of parts, or None beside tool calls.
    """
    if isinstance(completion, str):
        return completion
    spoken = [message for message in completion if message.get("role") == "assistant"]
    content = spoken[-1].get("content") if spoken else None
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or () if isinstance(part, Mapping))


@final
class TrlReward:
    """A reward function of ``GRPOTrainer``; made by :func:`as_trl_reward`. It can be pickled.

    Attributes:
        __name__: What TRL's logs call it.
    """

    def __init__(self, grader: RowGrader, name: str) -> None:
        self.__name__ = name
        self._grader = grader

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """Rewards of completions, in their order.

        Args:
            prompts: Unused: each row carries its problem.
            completions: Texts, or lists of messages.
            completion_ids: Unused.
            columns: The data set's other columns, ``spiritsafe_problem`` among them; TRL's ``log_metric`` and
                ``log_extra`` are told the share of unscored completions, and each one's verdict.

        Raises:
            TaskError: A row carries no problem, one of another task, or one that belongs to exams.
        """
        problems = columns.get(PROBLEM_COLUMN)
        if problems is None:
            raise missing_problem("The data set")
        verdicts = self._grader.grade(problems, [answer_text(completion) for completion in completions])
        self._tell(verdicts, columns.get("log_metric"), columns.get("log_extra"))
        return [None if verdict.status == "unscored" else float(verdict.status == "correct") for verdict in verdicts]

    def _tell(
        self,
        verdicts: Sequence[Verdict],
        log_metric: Callable[[str, float], object] | None,
        log_extra: Callable[[str, list[str]], object] | None,
    ) -> None:
        unscored = [verdict.status == "unscored" for verdict in verdicts]
        if log_metric is not None and verdicts:
            log_metric(f"{self.__name__}/unscored", sum(unscored) / len(verdicts))
        if log_extra is not None:
            told = [f"{verdict.status}: {verdict.reason}" if verdict.reason else verdict.status for verdict in verdicts]
            log_extra(f"{self.__name__} verdict", told)

    def close(self) -> None:
        """End the worker processes; a later call starts new ones."""
        self._grader.close()


def as_trl_reward(
    task: Task | str, *, name: str | None = None, num_workers: int | None = None, wall_s: float = 20.0
) -> TrlReward:
    """A task's verifier as a reward function for TRL's ``GRPOTrainer``.

    Its data set must have the column ``spiritsafe_problem``, as :func:`trl_dataset` makes it.

    Args:
        task: A task; its spec, such as ``gsm8k``, ``math:file.jsonl`` or ``arith:sums``; or ``module:attribute``.
        name: What TRL's logs call it; the spec without knobs when left out.
        num_workers: Answers graded at once; the usable CPU cores when left out.
        wall_s: Seconds that one answer may take; what takes longer gets None.

    Raises:
        TaskError: There is no such task, it has no verifier, or other processes cannot build it.
        SourceError: Its data cannot be read.
    """
    return TrlReward(RowGrader(task, num_workers=num_workers, wall_s=wall_s), name or short_name(task))


def _row(problem: Problem, text: str, *, conversational: bool) -> dict[str, Any]:
    """A problem as a row."""
    messages = [{"role": message.role, "content": message.content} for message in problem.messages]
    prompt: Any = messages
    if not conversational:
        prompt = "\n\n".join(message["content"] for message in messages) + "\n"
    return {"prompt": prompt, "problem_id": problem.id, PROBLEM_COLUMN: text}


def trl_dataset(
    task: Task | str,
    bucket: Literal["train", "dev"] = "train",
    *,
    count: int | None = None,
    seed: int = 0,
    conversational: bool = True,
) -> Any:
    """Problems of a task as a data set for TRL's ``GRPOTrainer``; those of exams are not to be had.

    Args:
        task: As for :func:`as_trl_reward`.
        bucket: Whose problems.
        count: How many; None: all that a data set has.
        seed: Sets their order, and which are drawn.
        conversational: Prompts are messages, for models with a chat template; False: their text, for those without.

    Returns:
        A ``datasets.Dataset`` with the columns ``prompt``, ``problem_id`` and ``spiritsafe_problem``.

    Raises:
        TaskError: There is no such task, it has no verifier, too few problems, or the bucket is not to study.
        SourceError: The package ``datasets`` is missing.
    """
    drawn = drawn_problems(task_to_learn(task), bucket, count=count, seed=seed)
    rows = [_row(problem, text, conversational=conversational) for problem, text in drawn]
    try:
        datasets = import_module("datasets")  # of TRL: who takes the reward only need not have it
    except ImportError as error:
        raise SourceError(
            "The package datasets, which TRL takes its rows from, is missing.", hint="Run `pip install trl`."
        ) from error
    return datasets.Dataset.from_list(rows)
