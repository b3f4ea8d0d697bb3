"""What every kind of made thing says of itself when it is planned, run and told: one class a kind, one file a class.

In: a :class:`~spiritsafe.pipeline.recipe.graph.Node` and the run or plan that it stands in. Out: costs, memory, stages
and words. Whoever plans, runs or reports asks these methods and knows no kind by name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import Checkpoint, FinishReason, Problem, Verdict
from spiritsafe.exam.records import Certificate
from spiritsafe.models import ChatFormat
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.stage_cost import DocumentSize, StageCost, mean_size
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.made import Learns, Made, wanted_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import TrainedRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.report import FileFigures, Measured, MeasuredCurve, Reinforced, Role

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
        is_exact: Whether it comes to the same on every machine; the others compute with a model.
        is_collective: Whether all processes of torchrun do its work together; of other stages the main one does it.
            Its work returns early where ``stage.is_main`` is false, when there is nothing more to do together.
    """

    name: str
    work: StageWork
    settings: dict[str, JSON]
    after: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    is_exact: bool = False
    is_collective: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of a data set, or expected of a set of answers.

    Attributes:
        task: The name of the task that its problems are of.
        num_problems: That it has for training.
        num_documents: Solutions or answers that can be learnt from.
        verifies: Whether its task can tell right from wrong.
        size: Of a typical document; None where there is no tokenizer yet to measure it with.
    """

    task: str
    num_problems: int
    num_documents: int
    verifies: bool = True
    size: DocumentSize | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is known of a run before it.

    Attributes:
        configs: Of every model, as far as it can be told beforehand: not of an endpoint's.
        device: Where it would run.
        chats: How the chats of given models become tokens, where that is known.
        sets: What is known of data and of sets of answers.
        before: Costs of earlier stages.
        given: What lineages will say of given models, by their names in the recipe.
    """

    recipe: Recipe
    configs: Mapping[str, Config]
    device: torch.device
    chats: Mapping[str, ChatFormat] = field(default_factory=dict)
    sets: Mapping[str, DataFacts] = field(default_factory=dict)
    before: Sequence[StageCost] = ()
    given: Mapping[str, Checkpoint] = field(default_factory=dict)

    def answering(self, name: str) -> dict[str, Config]:
        """Models whose weights answer for one, as far as they are known: itself, or those that a router asks."""
        made = self.recipe.node(name).recipe
        names = made.needs.models if made.outcome == "routed" else (name,)
        return {one: self.configs[one] for one in names if one in self.configs}

    def size_of(self, names: Iterable[str]) -> DocumentSize:
        """Of a typical document of some sets."""
        found = [self.sets[name] for name in names if name in self.sets]
        return mean_size([(facts.num_documents or facts.num_problems, facts.size) for facts in found])

    def num_documents(self, learns: Learns) -> int:
        """That can be learnt from."""
        wanted = wanted_of(learns)
        counts = {name: self.sets[name].num_documents for name in wanted if name in self.sets}
        return sum(min(count, wanted[name] or count) for name, count in counts.items())

    def epoch_tokens(self, learns: Learns) -> float:
        """Of one pass over some sets."""
        return self.num_documents(learns) * self.size_of(wanted_of(learns)).num_tokens


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
        line: In the plan, behind its kind.
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

    def figures(self, context: RunContext, node: Node) -> FileFigures | None:
        """What is known of a model that is one file."""
        return None

    def config_of(self, configs: Mapping[str, Config]) -> Config | None:
        """``config.json`` of the model that comes out, given those of earlier ones; None: not known."""
        return configs.get(str(self.needs.weights))

    def training(self) -> TrainedRecipe | None:
        """How a model learns in it; None: none does, or for a few steps only."""
        return None

    def file_bytes(self, config: Config) -> int | None:
        """Of the tensors of a file that comes out, given the model's ``config.json``; None: it is a directory."""
        return None

    def facts_of(self, node: Node, forecast: Forecast) -> DataFacts | None:
        """What to expect of the set of answers that comes out."""
        return None

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """What cannot work, as far as it is known before anything heavy is done or sealed."""
        return []

    @abstractmethod
    def words(self, node: Node) -> Words:
        """What is said of it in the plan, the exam and the report."""

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """What its stages will cost; a stage that others share may be named by each of them."""
        return []

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Predicted peak bytes; None where nothing heavy happens or nothing is known."""
        return None

    @abstractmethod
    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """The stages that make it; one that others share may be named by each of them."""

    @abstractmethod
    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """How it was made, and how much of what went in."""

    def talks(self, context: RunContext, node: Node) -> Talks | None:
        """What its models wrote on training problems."""
        return None

    def measured(self, context: RunContext, node: Node) -> tuple[list[Measured], list[MeasuredCurve]]:
        """Numbers and curves that it measured of models."""
        return [], []

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


def made_settings(node: Node, recipe: Recipe) -> dict[str, JSON]:
    """What every stage that computes with a model depends on, and how the node is made."""
    return {"seed": recipe.seed, "engine": recipe.engine.to_json(), "made": node.recipe.to_json()}
