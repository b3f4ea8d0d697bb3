"""A context in which the tiny run's stages are done, so that one later stage can be run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finished_run import SMALLER, SilentWatcher

from spiritsafe.models import default_cache
from spiritsafe.pipeline import load_recipe, stages_of
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import RunDirectory, StageDirectory


def recipe_with(*overrides: str, **changes: dict[str, Any]) -> Recipe:
    """The tiny run's recipe with some steps changed.

    Args:
        overrides: As on the command line.
        changes: Keys by the name of a step; None removes one. A step that is not there is added.
    """
    value: dict[str, Any] = load_recipe("tiny", (*SMALLER, *overrides))[0].to_json()
    steps = {step["name"]: step for step in value["steps"]}
    for name, changed in changes.items():
        step = steps.get(name, {"name": name}) | changed
        steps[name] = {key: one for key, one in step.items() if one is not None}
    return recipe_of({**value, "steps": list(steps.values())})


def context_after(tiny_run: Path, root: Path, *overrides: str, **changes: dict[str, Any]) -> RunContext:
    """The tiny run's stages as done, under a recipe with some steps changed.

    Args:
        tiny_run: A finished run.
        root: Where the new run would be.
        overrides: As on the command line.
        changes: As of :func:`recipe_with`.
    """
    recipe = recipe_with(*overrides, **changes)
    done = {path.name.partition("-")[2]: StageDirectory(path, {}) for path in sorted((tiny_run / "stages").iterdir())}
    run = RunDirectory(root, recipe.name, recipe.resolved())
    exact = frozenset(spec.name for spec in stages_of(recipe) if spec.is_exact)
    return RunContext(recipe=recipe, run=run, watcher=SilentWatcher(), cache=default_cache(), done=done, exact=exact)


def stage_at(path: Path) -> StageDirectory:
    """A stage that has begun."""
    stage = StageDirectory(path, {})
    stage.begin()
    return stage
