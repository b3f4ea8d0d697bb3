"""A context in which the tiny run's first stages are done, so that one later stage can be run alone."""

from __future__ import annotations

from pathlib import Path

from finished_run import SMALLER, SilentWatcher

from spiritsafe.models import default_cache
from spiritsafe.pipeline import load_recipe
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import RunDirectory, StageDirectory


def context_after(tiny_run: Path, root: Path, *overrides: str, student: dict[str, object] | None = None) -> RunContext:
    """The tiny run's stages as done, under a recipe with one student changed.

    Args:
        tiny_run: A finished run.
        root: Where the new run would be.
        overrides: For the recipe.
        student: Changes of the first student; the second is left out.
    """
    recipe, _ = load_recipe("tiny", (*SMALLER, *overrides))
    if student is not None:
        first = recipe.students[0].to_json() | {"signal": "live"} | student
        cache = recipe.cache if first["signal"] == "cached" else None
        recipe = Recipe.model_validate(
            {**recipe.model_dump(exclude={"students", "cache"}), "students": [first], "cache": cache}
        )
    done = {path.name.partition("-")[2]: StageDirectory(path, {}) for path in sorted((tiny_run / "stages").iterdir())}
    run = RunDirectory(root, recipe.name, recipe.resolved())
    return RunContext(recipe=recipe, run=run, watcher=SilentWatcher(), cache=default_cache(), done=done)


def stage_at(path: Path) -> StageDirectory:
    """A stage that has begun."""
    stage = StageDirectory(path, {})
    stage.begin()
    return stage
