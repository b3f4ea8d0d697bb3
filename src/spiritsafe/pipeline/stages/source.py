"""Stage "source": the base model as a plain Hugging Face directory, with its digest; and where each model lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models import parent_of, read_checkpoint, resolve_source
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.suitability import check_models
from spiritsafe.pipeline.recipe.graph import stage_of
from spiritsafe.pipeline.run_directory import StageDirectory


def fetch_source(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Resolve the recipe's source into the cache; note where it lies and what it is; refuse what it cannot do.

    Raises:
        RecipeError: A step needs the Decoder, and its model is another.
    """
    source = context.recipe.source
    directory = resolve_source(source.model, cache=context.cache, events=events, **source.told)
    for note in check_models(context.recipe, directory, cache=context.cache):
        events.metrics("warning", {"message": note})
    checkpoint = read_checkpoint(directory)
    write_json(stage.path / "lineage.json", checkpoint.to_json())
    return {
        "directory": str(directory),
        "digest": checkpoint.digest,
        "summary": f"{checkpoint.name}, {checkpoint.num_parameters / 1e6:,.1f} M parameters",
    }


def base_directory(context: RunContext) -> Path:
    """Where the base model lies."""
    return Path(str(context.stage("source").result()["directory"]))


def model_directory(context: RunContext, name: str) -> Path:
    """Where a model of this run lies: "base", "teacher", a student's or a step's."""
    return base_directory(context) if name == "base" else context.stage(stage_of(name)).path / "model"


def answerers(context: RunContext, traces: Iterable[str]) -> list[Checkpoint]:
    """The models that wrote some sets of answers; worked solutions come with the task."""
    writers = {node.name: node.recipe.needs.models for node in context.recipe.made}
    names = [writer for name in traces for writer in writers.get(name, ())]
    return [read_checkpoint(model_directory(context, name)) for name in names]


def parents_of(uses: Iterable[tuple[Checkpoint, Sequence[str]]]) -> tuple[Parent, ...]:
    """One parent a model, with all that was used of it, in the order given; models of which nothing was used go."""
    models: dict[str, Checkpoint] = {}
    used: dict[str, dict[str, None]] = {}
    for checkpoint, what in uses:
        models.setdefault(checkpoint.digest, checkpoint)
        used.setdefault(checkpoint.digest, {}).update(dict.fromkeys(what))
    return tuple(parent_of(models[digest], *names) for digest, names in used.items() if names)
