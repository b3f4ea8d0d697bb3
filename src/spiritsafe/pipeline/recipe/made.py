"""What every kind of made thing says of itself as far as its recipe decides it: what it is made of and waits for.

In: a table of a recipe. Out: answers that :mod:`spiritsafe.pipeline.recipe.graph` puts in order; what needs models
(cost, memory, stages, words) is :mod:`spiritsafe.pipeline.step`'s business. Every answer has the default of a thing
that has nothing to say there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, final

from pydantic import AfterValidator, Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer

from spiritsafe.core.canonical import JSON
from spiritsafe.core.records import ModelUse, Record, Sampling
from spiritsafe.reinforce import Control

Makes = Literal["model", "file", "routed", "problems", "answers", "signal", "numbers", "release"]
"""What comes out. A "file" is a model that answers and sits exams, and whose weights nothing goes on from; so does a
"routed" system, which has none of its own."""

MAKES_WORDS: dict[Makes, str] = {
    "model": "model",
    "file": "file model",
    "routed": "routed system",
    "problems": "data set",
    "answers": "set of answers",
    "signal": "captured signal",
    "numbers": "measurement",
    "release": "release",
}

MODELS: tuple[Makes, ...] = ("model", "file", "routed")
"""What can be asked, examined and compared."""

MOST_REPEATS = 100
"""Models alike but for the seed: each is a node of the plan, with costs of its own to tell."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}$"  # folders are called so

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


SetsT = TypeVar("SetsT", tuple[str, ...], dict[str, int])


def _form(value: object) -> str:
    return "[table]" if isinstance(value, dict) else "[other]"


def _require_some(learns: SetsT) -> SetsT:
    if not learns:
        raise ValueError("name at least one set to learn from")
    return each_once(learns)


def each_once(names: SetsT) -> SetsT:
    """Refuse a set that is named twice: it would be taken once, or its problems asked twice."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)}: named twice, leave one out")
    return names


OTHER_OR_TABLE = Discriminator(_form)
"""Tells a table from what else a key may hold, so that a fault is told of that one alone."""

Learns = Annotated[
    Annotated[tuple[Name, ...], Tag("[other]")] | Annotated[dict[Name, Annotated[int, Field(ge=1)]], Tag("[table]")],
    OTHER_OR_TABLE,
    AfterValidator(_require_some),
]
"""Sets to learn from: all of each, or of each at most so many."""


Sets = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(each_once)]
"""Sets, each once."""


def wanted_of(learns: Learns) -> dict[str, int | None]:
    """Sets, and the most documents taken of each; None: all."""
    return dict(learns) if isinstance(learns, dict) else dict.fromkeys(learns)


def changed(record: Record, names: set[str]) -> list[str]:
    """Fields that are not at their default: a setting written out as its default asks for nothing."""
    fields = type(record).model_fields
    return sorted(
        name for name in names if getattr(record, name) != fields[name].get_default(call_default_factory=True)
    )


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
        on: Data sets whose dev problems are tried.
        sampling: How the tries are drawn.
    """

    stage: str
    model: str
    size: ProbeRecipe
    on: tuple[str, ...]
    sampling: Sampling

    def settings(self) -> dict[str, JSON]:
        """What it depends on, besides the run."""
        return {"probe": self.size.to_json(), "on": list(self.on), "sampling": self.sampling.to_json()}


class BudgetRecipe(Record):
    """Train for as many operations as another model took: equal compute.

    What counts is what was spent on each itself (drawing answers, a live teacher's reading, training), not on what it
    was made of. Limits of ``train`` that are nearer still hold, so give one that is far away.

    Attributes:
        of: A model that is made before this one.
        share: Of its operations.
    """

    of: Name
    share: float = Field(default=1.0, gt=0.0)


@final
@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a thing is made of, and what else must be there.

    Attributes:
        models: Models of the run.
        sets: Sets that it learns from: data with solutions, or answers.
        problems: Data whose problems it asks.
        signals: Captured signals.
        waits_for: Models that are no part of it, but whose cost is its budget.
        weights: The model whose weights it goes on from.
        reads: Models that work in its stage.
        follows: Models whose probabilities it follows token by token.
        asks: Models that only answer: an endpoint or a routed system may be one.
        used_as: How models are used in the model that comes out: its lineage and the duties of their licences are made
            of this, of ``learnt`` and of ``signals``. See :func:`~spiritsafe.pipeline.recipe.graph.uses_of`.
        learnt: Sets whose documents its weights learn.
        takes_files: Models that may be files: they answer, or are only read.
    """

    models: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    weights: str | None = None
    reads: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    used_as: tuple[tuple[str, tuple[ModelUse, ...]], ...] = ()
    learnt: tuple[str, ...] = ()
    takes_files: tuple[str, ...] = ()

    @property
    def made_of(self) -> tuple[str, ...]:
        """Everything that goes in."""
        return tuple(dict.fromkeys((*self.models, *self.sets, *self.problems, *self.signals)))


class Made(Record):
    """One table of a recipe that asks for something to be made, or says what is given."""

    makes: ClassVar[Makes] = "model"
    follows_exams: ClassVar[bool] = False
    """Whether it is made when all exams were sat; its models' certificates are part of it."""

    @property
    def outcome(self) -> Makes:
        """What comes out of this very table."""
        return self.makes

    @classmethod
    def filled(cls, table: dict[str, Any], steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A step's table with what it leaves to the other steps of the recipe."""
        return table

    @property
    def needs(self) -> Needs:
        """What it is made of, and what else must be there."""
        return Needs()

    @property
    def times(self) -> int:
        """Models that it stands for, alike but for the seed."""
        return 1

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """One of its repetitions: ``one`` says which single thing a name means there."""
        return self

    def siblings(self) -> Iterable[tuple[Control, Self]]:
        """What is made beside it to hold it against."""
        return ()

    def probe_of(self, model: str, stage: str) -> Probe | None:
        """How a model is measured before and after."""
        return None

    def identity(self) -> dict[str, JSON]:
        """What of it names a run."""
        return self.to_json()

    def sits_by_default(self, *, is_gone_on_from: bool) -> bool:
        """Whether a model sits an exam that does not say who does.

        Args:
            is_gone_on_from: Whether another model starts from its weights.
        """
        return True

    def faults_among(self, nodes: Sequence[Any]) -> list[str]:
        """What is wrong with it beside all nodes of the recipe, as far as that alone tells."""
        return []


class StepEntry(Made):
    """One table of ``[[steps]]``.

    Attributes:
        name: Of what it makes.
    """

    name: Name

    @model_serializer(mode="wrap")
    def _as_it_is_read(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A resolved recipe is a recipe: where a key is a word of Python, it is written as itself all the same."""
        fields = type(self).model_fields
        return {fields[name].alias or name: value for name, value in handler(self).items()}

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """Under its own name."""
        return self.model_copy(update={"name": name})


class FromEntry(StepEntry):
    """A step that begins with one model. ``from`` is a word of Python, so the attribute is ``origin``."""

    origin: Name = Field(alias="from")

    @property
    def needs(self) -> Needs:
        """What it begins with."""
        start = (self.origin,)
        if self.makes not in MODELS:
            return Needs(models=start, reads=start)
        return Needs(models=start, reads=start, weights=self.origin, used_as=((self.origin, ("weights",)),))

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        return self.model_copy(update={"name": name, "origin": one(self.origin)})
