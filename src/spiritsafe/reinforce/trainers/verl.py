"""A task as reward function and Parquet rows of verl (tried against verl 0.9.1).

In: a task. Out: rows as verl's ``RLHFDataset`` reads them, each with its whole problem in ``extra_info``; and a
function of the signature of verl's own ``default_compute_score``. verl names it by path, without a file of the user's::

    reward.custom_reward_function.path=pkg://spiritsafe.reinforce.trainers.verl
    reward.custom_reward_function.name=compute_score

verl has no place for an answer without a reward. One that the verifier could not grade gets 0, is marked in verl's own
metrics (``unscored``) and logged; or it stops the training (``on_unscored="raise"``). See ``docs/other-tools.md``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import pyarrow as pa
import pyarrow.parquet as pq

from spiritsafe.core.errors import RecipeError, TaskError
from spiritsafe.core.files.atomic import atomic_path
from spiritsafe.reinforce.trainers.row_grader import (
    PROBLEM_COLUMN,
    RowGrader,
    drawn_problems,
    missing_problem,
    short_name,
    task_to_learn,
)
from spiritsafe.tasks import Task, load_named

OnUnscored = Literal["zero", "raise"]

_LOG = logging.getLogger(__name__)
_SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct(
                [
                    ("split", pa.string()),
                    ("index", pa.int64()),
                    ("problem_id", pa.string()),
                    (PROBLEM_COLUMN, pa.string()),
                ]
            ),
        ),
    ]
)


def _reward(grader: RowGrader, text: str, extra_info: Mapping[str, Any] | None, on_unscored: str) -> dict[str, Any]:
    """What verl takes: ``score``, and metrics with the same keys for every answer; ``pred`` is voted on."""
    if on_unscored not in ("zero", "raise"):
        raise RecipeError(f'on_unscored is "{on_unscored}".', hint='Use "zero" or "raise".')
    problem = (extra_info or {}).get(PROBLEM_COLUMN)
    if problem is None:
        raise missing_problem("extra_info")
    (verdict,) = grader.grade([problem], [text])
    is_unscored = verdict.status == "unscored"
    if is_unscored:
        said = f"An answer of {grader.name} could not be graded: {verdict.reason or 'no reason given'}."
        if on_unscored == "raise":
            raise TaskError(said, hint='Mend the verifier, or let such answers earn 0: on_unscored="zero".')
        _LOG.warning("%s It earns 0 and is marked unscored.", said)
    right = float(verdict.status == "correct")
    return {"score": right, "acc": right, "pred": verdict.answer or "", "unscored": float(is_unscored)}


@final
class VerlReward:
    """A reward function of verl for one task; made by :func:`as_verl_reward`. It can be pickled."""

    def __init__(self, grader: RowGrader, name: str, on_unscored: OnUnscored) -> None:
        self.__name__ = name
        self._grader = grader
        self._on_unscored = on_unscored

    def __call__(
        self,
        data_source: str,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The reward of one answer.

        Args:
            data_source: Unused: the row carries its problem.
            solution_str: What the model wrote.
            ground_truth: Unused, for the same reason.
            extra_info: The row's, with ``spiritsafe_problem``.
            kwargs: What else verl hands over: the address of a reward model and its tokenizer.

        Returns:
            ``score`` and ``acc`` (1 or 0), ``pred`` (the answer that was read), ``unscored`` (1 or 0).

        Raises:
            TaskError: The row carries no problem, one of another task, or one that belongs to exams; or the answer
                could not be graded, and that is not to pass.
        """
        return _reward(self._grader, solution_str, extra_info, self._on_unscored)

    def close(self) -> None:
        """End the worker processes; a later call starts new ones."""
        self._grader.close()


def as_verl_reward(
    task: Task | str,
    *,
    on_unscored: OnUnscored = "zero",
    num_workers: int | None = None,
    wall_s: float = 20.0,
) -> VerlReward:
    """A task's verifier as verl's reward function, for a file that ``custom_reward_function.path`` names.

    Args:
        task: A task; its spec, such as ``gsm8k``, ``math:file.jsonl`` or ``arith:sums``; or ``module:attribute``.
        on_unscored: What becomes of an answer that cannot be graded: it earns 0 and is marked, or an error is raised.
        num_workers: Answers graded at once; the usable CPU cores when left out.
        wall_s: Seconds that one answer may take; what takes longer is unscored.

    Raises:
        TaskError: There is no such task, it has no verifier, or other processes cannot build it.
        SourceError: Its data cannot be read.
    """
    return VerlReward(RowGrader(task, num_workers=num_workers, wall_s=wall_s), short_name(task), on_unscored)


_graders: dict[str, RowGrader] = {}
_lock = threading.Lock()


def _grader_of(data_source: str) -> RowGrader:
    """One grader a task, whichever of verl's threads asks first."""
    with _lock:
        if data_source not in _graders:
            _graders[data_source] = RowGrader(load_named(data_source))
        return _graders[data_source]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    on_unscored: OnUnscored = "zero",
    **kwargs: Any,
) -> dict[str, Any]:
    """The reward of one answer to a row of :func:`write_verl_rows`; rows of several tasks may be mixed.

    Args:
        data_source: The task's full name; nothing that it names is opened.
        solution_str: What the model wrote.
        ground_truth: Unused: the row carries its problem.
        extra_info: The row's, with ``spiritsafe_problem``.
        on_unscored: As for :func:`as_verl_reward`; ``reward_kwargs`` of verl's configuration sets it.
        kwargs: What else verl hands over: the address of a reward model and its tokenizer.

    Returns:
        As :class:`VerlReward`.

    Raises:
        TaskError: As :class:`VerlReward`; or the name is that of somebody's own code, which
            ``SPIRITSAFE_OWN_TASKS`` does not name.
    """
    return _reward(_grader_of(data_source), solution_str, extra_info, on_unscored)


def write_verl_rows(
    path: str | Path,
    task: Task | str,
    bucket: Literal["train", "dev"] = "train",
    *,
    count: int | None = None,
    seed: int = 0,
) -> int:
    """Problems of a task as verl's Parquet file; those of exams are not to be had.

    Args:
        path: The file, replaced whole or not at all.
        task: As for :func:`as_verl_reward`.
        bucket: Whose problems.
        count: How many; None: all that a data set has.
        seed: Sets their order, and which are drawn.

    Returns:
        How many there are.

    Raises:
        TaskError: There is no such task, it has no verifier, too few problems, or the bucket is not to study.
        StorageError: The file cannot be written.
    """
    loaded = task_to_learn(task)
    rows = [
        {
            "data_source": loaded.name,
            "prompt": [{"role": message.role, "content": message.content} for message in problem.messages],
            "ability": loaded.name.partition(":")[0],
            "reward_model": {"style": "rule", "ground_truth": loaded.gold(problem)},
            "extra_info": {"split": bucket, "index": index, "problem_id": problem.id, PROBLEM_COLUMN: text},
        }
        for index, (problem, text) in enumerate(drawn_problems(loaded, bucket, count=count, seed=seed))
    ]
    with atomic_path(Path(path)) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), temporary)
    return len(rows)
