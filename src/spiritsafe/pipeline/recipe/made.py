"""What every kind of made thing says of itself as far as its recipe decides it: what it is made of and waits for.

In: a table of a recipe. Out: answers that :mod:`spiritsafe.pipeline.recipe.graph` puts in order; what needs models
(cost, memory, stages, words) is :mod:`spiritsafe.pipeline.step`'s business. Every answer has the default of a thing
that has nothing to say there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, final

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from spiritsafe.core.canonical import JSON
from spiritsafe.core.records import Record, Sampling
from spiritsafe.reinforce import Control

Makes = Literal["model", "answers", "signal"]
"""What comes out."""

WORKED = "worked"
"""The worked solutions that come with a task."""

MOST_REPEATS = 100
"""Models alike but for the seed: each is a node of the plan, with costs of its own to tell."""

_NAME = r"^[a-z0-9][a-z0-9._-]*$"


class ProbeRecipe(Record):
    """What a model can do at all: many tries at each of some dev problems, before and after.

    Attributes:
        problems: Of the dev bucket; 0 makes no probe.
        num_samples: Tries at each; pass@k is estimated without bias for k up to this.
    """

    problems: int = Field(default=64, ge=0)
    num_samples: int = Field(default=8, ge=1)


@final
@dataclass(frozen=True, kw_only=True)
class Probe:
    """One measurement of a model.

    Attributes:
        stage: That makes it.
        model: That is measured.
        size: Problems and tries.
        task: Whose problems; None: the recipe's task.
        sampling: How the tries are drawn.
    """

    stage: str
    model: str
    size: ProbeRecipe
    task: str | None
    sampling: Sampling

    def settings(self) -> dict[str, JSON]:
        """What it depends on, besides the run."""
        return {"probe": self.size.to_json(), "of": self.task, "sampling": self.sampling.to_json()}


class BudgetRecipe(Record):
    """Train for as many operations as another model took: equal compute.

    What counts is what was spent on each itself (drawing answers, a live teacher's reading, training), not on what it
    was made of. Limits of ``train`` that are nearer still hold, so give one that is far away.

    Attributes:
        of: A model that is made before this one.
        share: Of its operations.
    """

    of: str
    share: float = Field(default=1.0, gt=0.0)


@final
@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a thing is made of, and what else must be there.

    Attributes:
        models: Models of the run.
        answers: Sets of answers.
        waits_for: Models that are no part of it: whose cost is its budget, whose chat format it is held against.
        weights: The model whose weights it goes on from.
        code: The model whose architecture and vocabulary it has; None: one that is not known before it is made.
        reads: Models that work in its stage.
        source: A model of the run or one of its own, and what the latter's chat template is told.
        same_tokens_as: The model whose probabilities it follows token by token, though it was not made from it.
        cache: Whether it learns from the teacher's captured signal.
        num_problems: Problems of the train bucket that are its alone.
        num_worked: Worked solutions that it shares with others.
    """

    models: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    weights: str | None = None
    code: str | None = None
    reads: tuple[str, ...] = ()
    source: tuple[str, dict[str, Any]] | None = None
    same_tokens_as: str | None = None
    cache: bool = False
    num_problems: int = 0
    num_worked: int = 0


class Made(Record):
    """One table of a recipe that asks for something to be made."""

    makes: ClassVar[Makes] = "model"

    @property
    def needs(self) -> Needs:
        """What it is made of, and what else must be there."""
        return Needs()

    @property
    def times(self) -> int:
        """Models that it stands for, alike but for the seed."""
        return 1

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """One of its repetitions: ``one`` says which single model a name means there."""
        return self.model_copy(update={"name": name})

    def siblings(self) -> Iterable[tuple[Control, Self]]:
        """What is made beside it to hold it against."""
        return ()

    def probe_of(self, model: str, stage: str) -> Probe | None:
        """How a model is measured before and after."""
        return None


class Entry(Made):
    """One table of several: it has a name."""

    name: str = Field(pattern=_NAME)


class StepEntry(Entry):
    """One table of ``[[steps]]``. ``from`` is a word of Python, so the attribute is ``start``."""

    start: str = Field(alias="from")
    task: str | None = None

    @model_serializer(mode="wrap")
    def _under_its_own_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A resolved recipe is a recipe: the key is written as it is read."""
        return {"from" if key == "start" else key: value for key, value in handler(self).items()}

    @property
    def needs(self) -> Needs:
        """What it starts from."""
        start, weights = (self.start,), self.start if self.makes == "model" else None
        return Needs(models=start, reads=start, weights=weights, code=weights)

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        return self.model_copy(update={"name": name, "start": one(self.start)})
