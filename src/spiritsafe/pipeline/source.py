"""Stage "source": the base model as a plain Hugging Face directory, with its digest; and where each model lies."""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files import write_json
from spiritsafe.core.rundir import StageDirectory
from spiritsafe.models import read_checkpoint, resolve_source
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.graph import stage_of
from spiritsafe.pipeline.suitability import check_models

__all__ = ["base_directory", "fetch_source", "model_directory"]


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
