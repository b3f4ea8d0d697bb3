"""One small finished run that tests of several rooms look at."""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.canonical import JSON
from spiritsafe.models import default_cache
from spiritsafe.pipeline import RunOutcome, load_recipe, run_recipe
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.run_directory import RunDirectory

SMALLER = (
    "teach.problems=48",
    "teach.dev_problems=8",
    "teach.train.max_epochs=1",
    "sample.problems=8",
    "steps.0.problems=16",
    "steps.0.probe.problems=8",
    "steps.0.probe.num_samples=4",
    "steps.0.config.prompts_per_round=4",
    "steps.0.config.group_size=4",
    "steps.1.problems=8",
    "steps.1.num_samples=2",
    "steps.2.traces={ harvest = 8, worked = 16 }",
    "students.0.problems=32",
    "students.0.train.max_epochs=1",
    "students.1.problems=32",
    "students.1.on_policy.prompts_per_round=4",
    "students.1.on_policy.steps_per_round=1",
    "students.1.train.max_steps=2",
    "exam.problems=12",
)


class SilentWatcher:
    """Hears of steps and remembers their names."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.skipped: list[str] = []

    def begin(self, label: str) -> None:
        self.began.append(label)

    def end(self, summary: str | None = None) -> None:
        pass

    def skip(self, label: str, summary: str) -> None:
        self.skipped.append(label)

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        pass

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        pass


def run_again(root: Path, watcher: SilentWatcher | None = None, overrides: tuple[str, ...] = SMALLER) -> RunOutcome:
    recipe, text = load_recipe("tiny", overrides)
    return run_recipe(recipe, text, root=root, cache=default_cache(), watcher=watcher or SilentWatcher())


def run_tiny(root: Path) -> Path:
    return run_again(root).directory


def make_context(tmp_path: Path, *overrides: str) -> RunContext:
    recipe, _ = load_recipe("tiny", overrides)
    run = RunDirectory(tmp_path, recipe.name, recipe.resolved())
    return RunContext(recipe=recipe, run=run, watcher=SilentWatcher(), cache=tmp_path, done={})
