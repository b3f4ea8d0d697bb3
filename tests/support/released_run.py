"""One small finished run that ends with a file and a release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finished_run import SilentWatcher

from spiritsafe.models import default_cache
from spiritsafe.pipeline import RunOutcome, run_recipe
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run.stages import stages_of
from spiritsafe.pipeline.run_directory import RunDirectory, StageDirectory

_TASK = "arith:sums?terms=2&digits=1-2"


def released_recipe(**changes: Any) -> Recipe:
    """The run's recipe.

    Args:
        changes: Steps by name, as :func:`pipeline_parts.recipe_with` has them; ``base`` is the given model's table,
            ``sits`` who sits.
    """
    base = {"source": "tiny:0", **changes.pop("base", {})}
    sits = changes.pop("sits", None)
    steps: dict[str, dict[str, Any]] = {
        "student": {
            "kind": "tune",
            "from": "base",
            "learns": ["lessons"],
            "train": {"learning_rate": 3e-3, "tokens_per_step": 2048, "max_epochs": 1},
        },
        "student-q8": {"kind": "quantise", "from": "student", "to": "q8_0"},
        "release": {"kind": "release", "from": "student", "files": ["student-q8"]},
    }
    for name, changed in changes.items():
        steps[name] = steps.get(name, {}) | changed
    exam = {"task": _TASK, "problems": 12, "sampling": {"temperature": 0.0, "max_tokens": 16}}
    return recipe_of(
        {
            "name": "rel",
            "engine": {"max_batch": 16, "max_context": 256, "device": "cpu"},
            "models": {"base": base},
            "data": {"lessons": {"task": _TASK, "problems": 32}},
            "steps": [{"name": name, **table} for name, table in steps.items()],
            "exams": [exam if sits is None else {**exam, "sits": sits}],
        }
    )


def run_released(root: Path, watcher: SilentWatcher | None = None) -> RunOutcome:
    recipe = released_recipe()
    return run_recipe(
        recipe, "# the run's text\n", root=root, cache=default_cache(), watcher=watcher or SilentWatcher()
    )


def context_of(run: Path, recipe: Recipe) -> RunContext:
    """The run's stages as done, in its own folder, under another recipe."""
    done = {path.name.partition("-")[2]: StageDirectory(path, {}) for path in sorted((run / "stages").iterdir())}
    directory = RunDirectory(run.parent, recipe.name, recipe.resolved(), path=run)
    exact = frozenset(spec.name for spec in stages_of(recipe) if spec.is_exact)
    return RunContext(
        recipe=recipe, run=directory, watcher=SilentWatcher(), cache=default_cache(), done=done, exact=exact
    )
