"""What a recipe says of data: problems of a task, or conversations and questions in files and hub sets.

In: a table of ``[data.<name>]``. Out: a frozen record and the spec of the task that it comes to. What a set offers
follows from its rows: problems always, a verifier where the task has one, solutions where rows have answers.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from spiritsafe import tasks
from spiritsafe.pipeline.recipe.made import Made, Makes, changed


class DataRecipe(Made):
    """Problems, with solutions where there are some.

    Attributes:
        task: A task with its parameters (``spiritsafe tasks list``), the name of a benchmark, or ``module:attribute``.
        files: Files or folders of rows, instead of a task.
        hub: A data set of the hub, ``org/name``, or a folder laid out like one, instead of a task.
        problems: Most problems of the train bucket, no other set's; None: all, where the data have an end.
        format: How rows are read: "messages", "sharegpt", "alpaca", "prompts" …; None: by their keys.
        fields: Other names of a row's fields: ``{ question = "prompt" }``.
        split: Of a hub set.
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
    split: str | None = None
    dedupe: bool = True
    direct_share: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if [self.task is not None, bool(self.files), self.hub is not None].count(True) != 1:
            raise ValueError("give one of task, files and hub: what the set is made of")
        useless = changed(self, {"format", "fields", "split", "dedupe"}) if self.task is not None else []
        useless += ["split"] if self.files and self.split is not None else []
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
        return tasks.data_spec(
            self.files, self.hub, format=self.format, fields=self.fields, split=self.split, dedupe=self.dedupe
        )
