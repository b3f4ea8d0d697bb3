"""Recipes: one TOML file says everything a run depends on.

In: a path or the name of a packaged recipe, and ``a.b=c`` overrides. Out: a frozen, fully resolved :class:`Recipe`.
Unknown keys are errors that name the nearest known key. A recipe may build on another: ``extends = "quickstart"``.

``[models.<name>]`` is given, ``[data.<name>]`` is learnt from or asked, ``[[steps]]`` make things of earlier things,
``[[exams]]`` say who sits what, ``[[compare]]`` holds models against each other.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from spiritsafe import __version__
from spiritsafe.core.canonical import JSON
from spiritsafe.core.records import Record, Sampling
from spiritsafe.pipeline.recipe.graph import Node, RecipeFaults, comparison_faults, misfit, models_of, nodes_of
from spiritsafe.pipeline.recipe.kinds import AnyOf, kind_names
from spiritsafe.pipeline.recipe.made import MODELS, NAME_PATTERN, Made, Name, StepEntry, changed
from spiritsafe.tracking import tracker_names


class CompareRecipe(Record):
    """Two ways to a model, side by side in the report: problem by problem, their seeds added up.

    Attributes:
        first: A model or a step that makes one, with all its repetitions.
        second: What it is compared with, repeated as often.
    """

    first: Name
    second: Name


class ExamRecipe(Record):
    """A sealed exam.

    Attributes:
        name: Where there are several.
        task: Whose problems.
        problems: Size of the bank; half becomes public, half stays sealed.
        sits: Who sits it; None: every model of the recipe whose weights are here, but for cuts that others go on from.
            An endpoint sits where it is named, and has seen the problems then.
        sampling: How the examinees' tokens are drawn: ``temperature`` and ``max_tokens``, for a registration says no
            more.
        confidence: Of every interval.
    """

    name: Name = "exam"
    task: str
    problems: int = Field(ge=2)
    sits: tuple[Name, ...] | None = None
    sampling: Sampling = Sampling(temperature=0.0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)

    @model_validator(mode="after")
    def _sampling_takes_effect(self) -> ExamRecipe:
        if useless := changed(self.sampling, set(Sampling.model_fields) - {"temperature", "max_tokens"}):
            raise ValueError(
                f"sampling: {', '.join(useless)}: no effect on an exam, whose registration says temperature and "
                "max_tokens alone; leave it out"
            )
        return self

    @property
    def seal_stage(self) -> str:
        """The stage that seals its paper."""
        return "seal" if self.name == "exam" else f"seal-{self.name}"

    @property
    def stage(self) -> str:
        """The stage in which it is sat."""
        return "exam" if self.name == "exam" else f"exam-{self.name}"


class EngineRecipe(Record):
    """How the local engine works.

    Attributes:
        max_batch: Sequences decoded together.
        max_context: Most tokens of one prompt with its answer.
        device: "auto" is CUDA where there is a GPU, else the CPU. "mps" is an Apple GPU, in float32; only where it is
            named.
    """

    max_batch: int = Field(default=32, ge=1)
    max_context: int = Field(default=2048, ge=16)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


def _known_tracker(name: str) -> str:
    if name not in (known := tracker_names()):
        raise ValueError(f"there is no tracker {name!r}: {', '.join(known)}")
    return name


class TrackRecipe(Record):
    """Who is shown the curves of a run while it runs. Nothing depends on it: it is no part of what names a run.

    Attributes:
        trackers: ``trackio``, ``wandb``, ``mlflow``, ``tensorboard``, or one that was registered; where each writes to
            is its own environment's affair.
        project: Under which they file the run.
    """

    trackers: tuple[Annotated[str, AfterValidator(_known_tracker)], ...] = ()
    project: str = Field(default="spiritsafe", pattern=NAME_PATTERN)

    @model_validator(mode="after")
    def _once_each(self) -> TrackRecipe:
        if len(set(self.trackers)) < len(self.trackers):
            raise ValueError("trackers names one twice")
        return self


class Recipe(Record):
    """Everything a run depends on.

    Attributes:
        name: Of the recipe; a run's folder begins with it.
        summary: One sentence.
        seed: Of everything random.
        models: Models that are given.
        data: Problems and conversations.
        steps: What is made of what.
        exams: Who sits what.
        compare: Pairs of models that the report holds against each other.
        engine: How the local engine works.
        track: Who is shown the curves.
    """

    model_config = ConfigDict(defer_build=True)  # the kinds of steps are known when the first recipe is read

    name: str = Field(pattern=NAME_PATTERN)
    summary: str = ""
    seed: int = Field(default=0, ge=0, lt=2**52)
    models: dict[Name, Annotated[Made, AnyOf("models")]] = Field(default_factory=dict)
    data: dict[Name, Annotated[Made, AnyOf("data")]] = Field(default_factory=dict)
    steps: tuple[Annotated[StepEntry, AnyOf("steps")], ...] = ()
    exams: tuple[ExamRecipe, ...] = ()
    compare: tuple[CompareRecipe, ...] = ()
    engine: EngineRecipe = EngineRecipe()
    track: TrackRecipe = Field(default=TrackRecipe(), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        """Steps that leave to others what they are made with are told it, so that a resolved recipe says all."""
        steps = values.get("steps") if isinstance(values, dict) else None
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            return values
        kinds = kind_names()
        return {
            **values,
            "steps": [
                kinds[step["kind"]].filled(step, steps) if str(step.get("kind")) in kinds else step for step in steps
            ],
        }

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        if not (self.steps or self.exams):
            raise RecipeFaults(["nothing is to be done: add a step ([[steps]]) or an exam ([[exams]])"])
        nodes = self.nodes  # names and order
        faults = comparison_faults(nodes, ((pair.first, pair.second) for pair in self.compare))
        if self.compare and not self.exams:
            faults.append("compare holds models against each other by an exam: add [[exams]]")
        names = [exam.name for exam in self.exams]
        faults += [
            f"{name!r} is the name of several exams: each needs a name of its own"
            for name in sorted(set(names))
            if names.count(name) > 1
        ]
        makes = {name: node.recipe.outcome for node in nodes for name in (node.entry, node.name)}
        for exam in self.exams:
            wrong = [misfit(name, makes, MODELS) for name in exam.sits or ()]
            faults += [f"exam {exam.name!r}: sits names {said}" for said in wrong if said]
            if not any(wrong) and not self.examinees(exam):
                faults.append(f"exam {exam.name!r}: nobody sits it: name a model in sits")
        faults += [fault for node in nodes for fault in node.recipe.faults_among(nodes)]
        if faults:
            raise RecipeFaults(list(dict.fromkeys(faults)))
        return self

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All that a run has: what is given, and what is made, repetitions and controls apart, in order of making."""
        return tuple(nodes_of(self.models, self.data, self.steps))

    @property
    def made(self) -> tuple[Node, ...]:
        """What steps make."""
        return tuple(node for node in self.nodes if node.entry not in self.models and node.entry not in self.data)

    @property
    def all_models(self) -> tuple[Node, ...]:
        """Given ones and made ones."""
        return tuple(node for node in self.nodes if node.makes_model)

    @property
    def confidence(self) -> float:
        """Of intervals that belong to no exam."""
        return self.exams[0].confidence if self.exams else 0.95

    def node(self, name: str) -> Node:
        """The node of this name.

        Raises:
            KeyError: There is none.
        """
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def examinees(self, exam: ExamRecipe) -> list[str]:
        """Who sits an exam, in order of making."""
        if exam.sits is not None:
            named = {name for entry in exam.sits for name in (*models_of(self.nodes, entry), entry)}
            return [node.name for node in self.all_models if node.name in named]
        used = {node.recipe.needs.weights for node in self.all_models}
        return [node.name for node in self.all_models if node.recipe.sits_by_default(is_gone_on_from=node.name in used)]

    def identity(self) -> dict[str, JSON]:
        """Every setting that something depends on."""
        return {**self.to_json(), "models": {name: model.identity() for name, model in self.models.items()}}

    def resolved(self) -> dict[str, JSON]:
        """The JSON value that names the run: every setting that counts, and the version of this program."""
        return {"recipe": self.identity(), "spiritsafe": __version__}
