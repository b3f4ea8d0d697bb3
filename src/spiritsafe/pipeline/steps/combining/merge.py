"""Steps that merge: several models of one base become one, on their weights alone; nothing is trained.

In: models of the run with the sizes and the tokens of one base. Out: ``model``. How each method merges is said in
:mod:`spiritsafe.models.checkpoints.merge_methods`; keys have MergeKit's names and meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Self, final

from pydantic import Field, Tag, ValidationError, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import ModelUse, omit_default
from spiritsafe.models import (
    RANDOM_METHODS,
    SPARSE_METHODS,
    ChatFormat,
    MergeMethod,
    MergeSettings,
    merge_checkpoints,
    saved_dtype,
)
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import MOST_REPEATS, OTHER_OR_TABLE, Name, Needs, StepEntry, changed, each_once
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import SaveDtype
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.source import lineage_of, model_directory, parents_in_run
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Step, Words, made_settings
from spiritsafe.pipeline.steps.measure import tokens_from

_TRIMMED = 0.2
_SIZES = (
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "tie_word_embeddings",
)
"""Keys of ``config.json`` that models must share, as far as a plan knows them."""

PerModel = Annotated[Annotated[float, Tag("[other]")] | Annotated[dict[Name, float], Tag("[table]")], OTHER_OR_TABLE]
"""A number for every model, or one for each by its name."""


@final
@register_kind("steps")
class MergeStep(StepEntry, Step):
    """One model out of several that went on from one base.

    Attributes:
        name: Of the model that it makes.
        from: Models of one architecture and one vocabulary. Configuration, tokenizer and chat template of what is made
            are those of the first.
        method: "linear" is the weighted mean of the weights. The others work on each model's change, what it differs by
            from ``base_model``: "task-arithmetic" adds the changes up; "ties" keeps the largest entries of each, elects
            a sign for every entry and takes the mean of those that have it; "dare" drops entries at random and rescales
            the others; "dare-ties" does that and then elects signs.
        base_model: What all of ``from`` went on from; left out: the nearest such model, where the recipe's steps tell.
        weight: Of the models, or of each: ``{ py = 0.6, f90 = 0.4 }``.
        density: The share of each change that is kept. For "ties" 0.2 where nothing is said, the largest fifth, as in
            its paper; "dare" and "dare-ties" must be told.
        normalize: Divide by the sum of the weights (with elected signs: of those that have the sign). Left out: for
            "linear", "ties" and "dare-ties". MergeKit's dare_ties does not, unless it is told to.
        lambda: What the merged change is multiplied by, before it is added to the base.
        repeat: Make so many, alike but for what "dare" drops or for the seeds of ``from``; they are called name-1,
            name-2 and so on.
        save_dtype: Number format of the model that is made: "float32", "bfloat16", or "auto": that of the base, of
            "linear" that of the first model. Merging computes in float32 all the same.
    """

    kind: Literal["merge"] = "merge"
    origins: tuple[Name, ...] = Field(alias="from", min_length=1)
    method: MergeMethod
    base_model: Name | None = None
    weight: PerModel = 1.0
    density: PerModel | None = None
    normalize: bool | None = None
    scale: float = Field(default=1.0, alias="lambda")
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)
    save_dtype: SaveDtype = omit_default("auto")

    @classmethod
    def filled(cls, table: dict[str, Any], steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """With the base that its models come from, as far as steps tell, where it does not name one."""
        names = table.get("from")
        is_told = table.get("base_model") is not None or table.get("method") == "linear"
        if is_told or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return table
        chains = [list(_before(name, steps)) for name in names]
        shared = (name for name in chains[0] if all(name in chain for chain in chains[1:])) if chains else iter(())
        base = next(shared, None)
        return table if base is None else {**table, "base_model": base}

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        each_once(self.origins)
        is_linear = self.method == "linear"
        if is_linear and len(self.origins) < 2:
            raise ValueError("from: a mean is of two models at least")
        if is_linear and (useless := changed(self, {"base_model", "scale"})):
            named = ", ".join("lambda" if name == "scale" else name for name in useless)
            raise ValueError(f"{named}: no effect on a mean of weights, leave it out")
        if not is_linear and self.base_model is None:
            raise ValueError(
                "base_model: name the model that all of from went on from; steps of the recipe do not tell"
            )
        if self.base_model in self.origins:
            raise ValueError(f"from: {self.base_model} is the base, which differs from itself by nothing: leave it out")
        if self.density is not None and self.method not in SPARSE_METHODS:
            raise ValueError(f"density: no effect on {self.method}, which keeps all, leave it out")
        if self.density is None and self.method in RANDOM_METHODS:
            raise ValueError("density: say which share of each change is kept, 0.5 for example")
        for key, given in (("weight", self.weight), ("density", self.density)):
            if isinstance(given, dict) and set(given) != set(self.origins):
                raise ValueError(f"{key} names {', '.join(sorted(given))}: name each of from, and nothing else")
        if 0.0 in self._of_each(self.weight):
            raise ValueError("weight: a model of weight 0 has no effect, leave it out of from")
        if self.scale == 0.0:
            raise ValueError("lambda: 0 leaves the base as it is")
        try:
            self.settings(seed=0)
        except ValidationError as error:  # what the merge itself is told
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return self

    def _of_each(self, given: float | dict[str, float]) -> tuple[float, ...]:
        """In the order of the models."""
        return tuple(given[name] if isinstance(given, dict) else given for name in self.origins)

    def settings(self, *, seed: int) -> MergeSettings:
        """With every default in its place."""
        kept = 1.0 if self.method not in SPARSE_METHODS else _TRIMMED
        is_mean = self.method in ("linear", "ties", "dare-ties")
        return MergeSettings(
            method=self.method,
            weights=self._of_each(self.weight),
            densities=self._of_each(kept if self.density is None else self.density),
            normalize=is_mean if self.normalize is None else self.normalize,
            scale=self.scale,
            seed=seed,
        )

    @property
    def start(self) -> str:
        """The model whose weights it goes on from, and whose licence it bears first."""
        return self.origins[0] if self.base_model is None else self.base_model

    @property
    def needs(self) -> Needs:
        """Base and models, all of them by their weights."""
        models = tuple(dict.fromkeys((self.start, *self.origins)))
        used_as: tuple[tuple[str, tuple[ModelUse, ...]], ...] = tuple((name, ("weights",)) for name in models)
        return Needs(models=models, reads=models, weights=self.start, used_as=used_as)

    @property
    def times(self) -> int:
        """Its repetitions."""
        return self.repeat

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        renamed: dict[str, Any] = {
            key: {one(model): number for model, number in given.items()}
            for key in ("weight", "density")
            if isinstance(given := getattr(self, key), dict)
        }
        base = None if self.base_model is None else one(self.base_model)
        update = {"name": name, "origins": tuple(map(one, self.origins)), "base_model": base, "repeat": 1, **renamed}
        return self.model_copy(update=update)

    def faults_among(self, nodes: Sequence[Any]) -> list[str]:
        """Repetitions of the same models come to the same."""
        mine = next(node.entry for node in nodes if node.recipe is self)
        alike = [node.recipe for node in nodes if node.entry == mine]
        if self.method in RANDOM_METHODS or len({one.needs.models for one in alike}) == len(alike):
            return []
        return [f"{mine!r}: repeat makes the same model {len(alike)} times, for nothing in it is random: leave it out"]

    def words(self, node: Node) -> Words:
        """Method and models."""
        over = "" if self.base_model is None else f", changes from {self.base_model}"
        kept = f", {self._density_words()} of each" if self.method in SPARSE_METHODS else ""
        named = ", ".join(self.origins)
        return Words(
            line=f"{node.name}: {named} by {self.method}{over}{kept}",
            role="merged",
            hypothesis=f"One model, merged of {named} by {self.method}, keeps what they learnt apart.",
        )

    def _density_words(self) -> str:
        shares = sorted(set(self.settings(seed=0).densities))
        return f"{shares[0]:.0%}" if len(shares) == 1 else f"{shares[0]:.0%} to {shares[-1]:.0%}"

    def config_of(self, configs: Mapping[str, Config]) -> Config | None:
        """That of its models, in the number format that is asked for."""
        config = configs.get(self.start)
        return config if config is None or self.save_dtype == "auto" else {**config, "dtype": self.save_dtype}

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Models of other sizes, or with other tokens, than the first."""
        first, *others = self.needs.models
        return [
            f"{node.name}: {first} and {other} cannot be merged, {said}: merge models that went on from one base"
            for other in others
            if (said := _apart(first, other, forecast))
        ]

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One, which comes to the same on every machine."""
        return [
            StageSpec(
                name=node.name,
                work=partial(merge_models, self),
                settings=made_settings(node, recipe),
                after=node.needs,
                is_exact=True,
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Of whom, and how."""
        return "merged", f"{', '.join(self.origins)} by {self.method}"


def _before(name: str, steps: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Models whose weights one went on from, the nearest first, as tables of steps tell."""
    tables = {str(step.get("name")): step for step in steps}
    seen = {name}
    while True:
        table = tables.get(name) or tables.get(name.rpartition("-")[0], {})  # a repetition: name-1
        start = table.get("base_model") if table.get("kind") == "merge" else table.get("from")
        if not isinstance(start, str) or start in seen or table.get("start") == "random":
            return
        yield start
        seen.add(start)
        name = start


def _apart(first: str, other: str, forecast: Forecast) -> str:
    """What keeps two models from being merged, as far as it is known; "" where nothing does."""
    mine, its = (forecast.configs.get(name) for name in (first, other))
    if mine is not None and its is not None:
        for key in _SIZES:
            if key in mine and key in its and mine[key] != its[key]:
                return f"whose {key} are {mine[key]} and {its[key]}"
    chats = [forecast.chats.get(tokens_from(forecast.recipe.nodes, name)) for name in (first, other)]
    prints = {chat.vocab_fingerprint for chat in chats if chat is not None}
    return "whose vocabularies differ" if len(prints) == 2 else ""


def merge_models(step: MergeStep, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Write the merged model, with all its parents in its lineage.

    Raises:
        CompatibilityError: The models cannot be merged.
    """
    directories = [model_directory(context, name) for name in step.origins]
    templates = {
        name: ChatFormat(place).template_fingerprint for name, place in zip(step.origins, directories, strict=True)
    }
    first = step.origins[0]
    for name, template in templates.items():
        if template != templates[first]:
            said = f"{name} was asked by another chat template than {first}, whose template {step.name} has"
            events.metrics("warning", {"message": f"{said}."})
    checkpoint = merge_checkpoints(
        stage.path / "model",
        directories,
        None if step.base_model is None else model_directory(context, step.base_model),
        step.settings(seed=context.seed("merge", step.name)),
        name=f"{context.recipe.name}-{step.name}",
        license=lineage_of(context, step.start).license,
        parents=parents_in_run(context, step.name),
        recipe=context.run.hash,
        dtype=None if step.save_dtype == "auto" else saved_dtype(step.save_dtype, {}),
    )
    return {"digest": checkpoint.digest, "summary": f"{', '.join(step.origins)} by {step.method}"}
