"""One small finished run that tests of several rooms look at."""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.canonical import JSON
from spiritsafe.models import default_cache
from spiritsafe.pipeline import RunOutcome, load_recipe, run_recipe
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.run_directory import RunDirectory

SMALLER = (
    "data.lessons.problems=48",
    "data.practice.problems=8",
    "data.review.problems=24",
    "data.pool.problems=16",
    "data.field.problems=8",
    "steps.teacher.dev.problems=8",
    "steps.teacher.train.max_epochs=1",
    "steps.rl.probe.problems=8",
    "steps.rl.probe.num_samples=4",
    "steps.rl.config.prompts_per_round=4",
    "steps.rl.config.group_size=4",
    "steps.harvest.num_samples=2",
    "steps.tuned.learns={ harvest = 8, review = 16 }",
    "steps.student.train.max_epochs=1",
    "steps.on-policy.on_policy.prompts_per_round=4",
    "steps.on-policy.on_policy.steps_per_round=1",
    "exams.exam.problems=12",
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
