"""Models that are given: fetched as plain Hugging Face directories, or reached behind an endpoint; and where each lies.

In: a ``[models.<name>]`` table. Out: a stage with ``lineage.json``, whose result says where the model's directory is.
"""

from __future__ import annotations

from pathlib import Path

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.digests import ROUTED, file_model, is_routed
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models import (
    ChatFormat,
    LoadedModel,
    WeightFormat,
    active_parameters,
    choose_code,
    load_model,
    read_checkpoint,
    read_model_config,
    resolve_source,
    saved_dtype,
    source_config,
)
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.lineage import LINEAGE_FILE, given_lineage, parents_of
from spiritsafe.pipeline.plan.reading import reading_of
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.graph import uses_of
from spiritsafe.pipeline.recipe.training import SaveDtype
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.serve import read_router


def fetch_model(given: GivenRecipe, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Resolve a source into the cache; note where it lies, what it is and which code runs it.

    A model that is only served has no directory: what it is known by is its address and its name there.
    """
    if given.source is None:
        checkpoint = given.served_checkpoint()
        write_json(stage.path / LINEAGE_FILE, checkpoint.to_json())
        return {"digest": checkpoint.digest, "summary": f"{given.model} at {given.endpoint}"}
    directory = resolve_source(given.source, cache=context.cache, events=events, **given.told)
    notes = () if file_model(directory) is not None else choose_code(directory).notes  # llama.cpp runs a file
    for note in notes:
        events.metrics("warning", {"message": f"{stage.name}: {note}"})
    checkpoint = given.stated(read_checkpoint(directory))
    write_json(stage.path / LINEAGE_FILE, checkpoint.to_json())
    return {
        "directory": str(directory),
        "digest": checkpoint.digest,
        "summary": f"{checkpoint.name}, {checkpoint.num_parameters / 1e6:,.1f} M parameters",
    }


def given_of(context: RunContext, name: str) -> GivenRecipe | None:
    """What the recipe says of a given model; None for one that is made."""
    recipe = context.recipe.node(name).recipe
    return recipe if isinstance(recipe, GivenRecipe) else None


def model_directory(context: RunContext, name: str) -> Path:
    """Where a model of this run lies.

    Raises:
        RecipeError: It is behind an endpoint alone.
    """
    if given_of(context, name) is None:
        return context.stage(name).path / "model"
    place = context.stage(name).result().get("directory")
    if place is None:
        raise RecipeError(
            f"{name} is behind an endpoint, and its weights or tokenizer are needed here.",
            hint=f"Add source to [models.{name}]: the same model where it can be read.",
        )
    return Path(str(place))


def read_directory(context: RunContext, name: str) -> Path:
    """Where a model of this run can be read as Hugging Face's files: of a file model its very numbers, in the cache."""
    directory = model_directory(context, name)
    file = file_model(directory)
    return directory if file is None else resolve_source(f"gguf:{file}", cache=context.cache)


def chat_of(context: RunContext, name: str) -> ChatFormat:
    """How the chats of a model of this run become tokens; of a file model as its header says."""
    directory = model_directory(context, name)
    file = file_model(directory)
    return ChatFormat(directory) if file is None else source_config(str(file), cache=context.cache).chat_format()


def active_of(context: RunContext, name: str) -> int:
    """Parameters that a token of a model of this run goes through; of a routed system's on average.

    That is by the shares of answers that each of its models had when it was made.
    """
    directory = model_directory(context, name)
    if is_routed(directory):
        router = read_router(directory / ROUTED)
        shares = zip(router.rungs, router.point.answered, strict=True)
        return round(sum(share * active_of(context, rung.name) for rung, share in shares))
    checkpoint = read_checkpoint(directory)
    return checkpoint.num_parameters if file_model(directory) is not None else active_parameters(directory, checkpoint)


def lineage_of(context: RunContext, name: str) -> Checkpoint:
    """What a model is and came from; of a given one with the licence that the recipe says."""
    if given_of(context, name) is None:
        return read_checkpoint(model_directory(context, name))
    return given_lineage(context, name)


def speaker_of(context: RunContext, name: str) -> Checkpoint:
    """Who wrote a model's answers: its endpoint where it has one, whatever is here under its name."""
    given, checkpoint = given_of(context, name), lineage_of(context, name)
    return checkpoint if given is None else given.speaker(checkpoint)


def load_reader(context: RunContext, name: str) -> LoadedModel:
    """A model that is only read: a teacher, a reference."""
    reading = reading_of(context.recipe, name, context.device)
    return load_model(
        read_directory(context, name), dtype=reading.dtype, device=context.device, weights=reading.weights
    )


def load_learner(context: RunContext, name: str, base: WeightFormat | None = None) -> LoadedModel:
    """A model that will be trained, in float32.

    Args:
        base: How its layers' matrices are held below adapters; None: in float32 as well.
    """
    directory = model_directory(context, name)
    return load_model(directory, dtype=torch.float32, device=context.device, weights=base)


def type_to_save(context: RunContext, origin: str, wish: SaveDtype) -> torch.dtype:
    """The number format in which a model is written that was trained from another one of the run."""
    directory = model_directory(context, origin)
    return saved_dtype(wish, read_model_config(directory), directory)


def parents_in_run(context: RunContext, name: str) -> tuple[Parent, ...]:
    """What a model of the run is made from: the graph of its recipe says whom and how, lineages say the rest."""
    uses = uses_of(context.recipe.nodes, name)
    return parents_of(((speaker_of if use.speaks else lineage_of)(context, use.model), use.used_as) for use in uses)
