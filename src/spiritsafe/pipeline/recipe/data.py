"""What a recipe says of data: problems of a task, or conversations and questions in files and hub sets.

In: a table of ``[data.<name>]``. Out: a frozen record and the spec of the task that it comes to. What a set offers
follows from its rows: problems always, a verifier where the task has one, solutions where rows have answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import ClassVar, Self

from pydantic import Field, model_validator

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.pipeline.recipe.made import Made, Makes, changed
from spiritsafe.tasks import Task, data_spec


class DataRecipe(Made):
    """Problems, with solutions where there are some.

    Attributes:
        task: A task with its parameters (``spiritsafe tasks list``), the name of a benchmark, or ``module:attribute``.
        files: Files or folders of rows, instead of a task.
        hub: A data set of the hub, ``org/name``, or a folder laid out like one, instead of a task.
        problems: Most problems of the train bucket, no other set's; None: all, where the data have an end.
        format: How rows are read: "messages", "sharegpt", "alpaca", "prompts" …; None: by their keys.
        fields: Other names of a row's fields: ``{ question = "prompt" }``.
        config: Configuration of a hub set; None: the only or default one.
        split: Split of a hub set; None: "train", or the only one.
        revision: Branch, tag or commit of a hub set; None: the default branch.
        dedupe: Leave out rows whose prompt was there before.
        direct_share: Share of the solutions that are cut to their answer alone. A model that has seen both ways of
            answering, and takes the short one, leaves it to the reward to find out that working pays.
    """

    makes: ClassVar[Makes] = "problems"
    task: str | None = None
    files: tuple[str, ...] = ()
    hub: str | None = None
    problems: int | None = Field(default=None, ge=1)
    format: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    dedupe: bool = True
    direct_share: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if [self.task is not None, bool(self.files), self.hub is not None].count(True) != 1:
            raise ValueError("give one of task, files and hub: what the set is made of")
        of_set = {"config", "split", "revision"}
        of_rows = {"format", "fields", "dedupe"} if self.task is not None else set()
        useless = changed(self, of_rows if self.hub is not None else of_rows | of_set)
        if useless:
            raise ValueError(f"{', '.join(useless)}: no effect here, leave it out")
        return self

    def spec(self) -> str:
        """The task whose problems these are.

        Raises:
            SourceError: A file cannot be read.
            TaskError: Its rows are of no known form.
        """
        if self.task is not None:
            return self.task
        return data_spec(
            self.files,
            self.hub,
            format=self.format,
            fields=self.fields,
            config=self.config,
            split=self.split,
            revision=self.revision,
            dedupe=self.dedupe,
        )


def fresh_problems(task: Task, data: DataRecipe, taken: set[bytes], *, seed: int) -> Iterator[Problem]:
    """The problems of a set: the first of its task's train bucket that no earlier set has.

    Raises:
        TaskError: There are fewer than were asked for, or the task has no end and no number was given.
    """
    if data.problems is None:
        every = task.problems("train", seed=seed, count=None)
        fresh = (problem for problem in every if text_key(problem) not in taken)
        first = next(fresh, None)
        if first is None:
            raise TaskError(
                f"{task.name} has no problem to train on that no other set of the recipe has.",
                hint="Leave this set out, or set `problems` of the others to fewer.",
            )
        yield first
        yield from fresh
        return
    drawn = task.problems("train", seed=seed, count=data.problems + len(taken))
    fresh = (problem for problem in drawn if text_key(problem) not in taken)
    found = 0
    try:
        for problem in islice(fresh, data.problems):
            found += 1
            yield problem
    except TaskError as error:  # it ran dry: what was asked for counts, not what was skipped
        raise TaskError(
            f"{task.name} has only {found} problems to train on that no other set of the recipe has; "
            f"{data.problems} were asked for.",
            hint="Set `problems` to fewer, or leave it out for all that there are.",
        ) from error


def text_key(problem: Problem) -> bytes:
    """What tells problems apart, whatever their task is called."""
    return sha256(problem.canonical_text.encode("utf-8", "surrogatepass")).digest()[:16]
