"""What every kind of made thing says of itself when it is planned, run and told: one class a kind, one file a class.

In: a :class:`~spiritsafe.pipeline.recipe.graph.Node` and the run or plan that it stands in. Out: costs, memory, stages
and words. Whoever plans, runs or reports asks these methods and knows no kind by name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, final

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import FinishReason, Problem, Verdict
from spiritsafe.exam.records import Certificate
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.stage_cost import DocumentSize, StageCost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.made import Made
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.report import Reinforced, Role

_NO_DOCUMENTS = DocumentSize(prompt_tokens=0, answer_tokens=0)

StageWork = Callable[[RunContext, StageDirectory, EventSink], dict[str, JSON]]
Config = Mapping[str, Any]
"""A model's ``config.json``."""
Talk = tuple[str, str, FinishReason, Verdict]
"""A problem's id, an answer to it, how that ended, and whether it is right."""


@final
@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage of a run.

    Attributes:
        settings: The part of the recipe it reads.
        after: Stages whose outputs it reads.
        scratch: Files it leaves that are no outputs.
    """

    name: str
    work: StageWork
    settings: dict[str, JSON]
    after: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is known of a run before it.

    Attributes:
        configs: Of every model, as far as it can be told beforehand.
        device: Where it would run.
        size: Of a typical document of the recipe's task.
        sizes: Of other tasks that steps name.
        before: Costs of earlier stages.
    """

    recipe: Recipe
    configs: Mapping[str, Config]
    device: torch.device
    size: DocumentSize = _NO_DOCUMENTS
    sizes: Mapping[str, DocumentSize] = field(default_factory=dict)
    before: Sequence[StageCost] = ()


class Talks(NamedTuple):
    """Answers to training problems that the report may quote."""

    model: str
    problems: Iterable[Problem]
    talks: Iterable[Talk]


@final
@dataclass(frozen=True, kw_only=True)
class Words:
    """What is said of a thing.

    Attributes:
        line: In the plan.
        role: Of a model, in the report.
        hypothesis: That is registered of a model before it sits the exam.
        loss: What its training loss is; None: there is no curve of it worth reading.
        gain_of: The model of whose gain over the base it is told how much was kept.
        origin: Whose answers it holds.
        start: What it was made from, where no weights were.
        time_note: What is to be known of the predicted times.
    """

    line: str
    role: Role = "tuned"
    hypothesis: str = ""
    loss: str | None = None
    gain_of: str | None = None
    origin: str | None = None
    start: str | None = None
    time_note: tuple[str, ...] = ()


class Step(Made):
    """A kind of made thing. What a kind does not say has the default of a thing that has nothing to say there."""

    copies_on_disk: ClassVar[int] = 1
    """How often the model is kept."""

    def config_of(self, configs: Mapping[str, Config], sources: Mapping[str, Config]) -> Config:
        """``config.json`` of the model that comes out, given those of earlier ones and of own sources."""
        return configs[str(self.needs.weights)]

    def obstacles(self, name: str, foreign: set[str]) -> list[str]:
        """What cannot be done since transformers runs some models."""
        return []

    @abstractmethod
    def words(self, node: Node) -> Words:
        """What is said of it in the plan, the exam and the report."""

    @abstractmethod
    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """What its stages will cost; a stage that others share may be named by each of them."""

    @abstractmethod
    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Predicted peak bytes; None where nothing heavy happens."""

    @abstractmethod
    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """The stages that make it; one that others share may be named by each of them."""

    @abstractmethod
    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """How it was made, and how much of what went in."""

    def talks(self, context: RunContext, node: Node) -> Talks | None:
        """What its models wrote on training problems."""
        return None

    def by_reward(
        self, context: RunContext, nodes: Sequence[Node], certificates: Mapping[str, Certificate]
    ) -> Reinforced | None:
        """What learning by reward did to the models of one table; None where nothing was learnt so."""
        return None


def step_of(node: Node) -> Step:
    """The kind of a node.

    Raises:
        TypeError: It was made without the registry of kinds.
    """
    if not isinstance(node.recipe, Step):
        raise TypeError(f"{node.name}: a {type(node.recipe).__name__} is registered as no kind of step")
    return node.recipe


def common_settings(recipe: Recipe) -> dict[str, JSON]:
    """What every stage depends on."""
    return {"seed": recipe.seed, "task": recipe.task.to_json()}


def engine_settings(recipe: Recipe) -> dict[str, JSON]:
    """What every stage that computes with a model depends on."""
    return {**common_settings(recipe), "engine": recipe.engine.to_json()}


def made_settings(node: Node, recipe: Recipe) -> dict[str, JSON]:
    """The same, and how the node is made."""
    return {**engine_settings(recipe), "made": node.recipe.to_json()}


def measured_settings(recipe: Recipe) -> dict[str, JSON]:
    """What a curve of dev accuracy depends on."""
    return {"dev": recipe.teach.dev_problems, "sampling": recipe.exam.sampling.to_json()}
