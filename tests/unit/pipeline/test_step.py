"""A kind of step that nobody knows is planned, run and told by what it says of itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal, final

import pytest
from finished_run import SilentWatcher
from pipeline_parts import context_after

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import default_cache, read_checkpoint
from spiritsafe.pipeline import load_recipe, plan_recipe, run_recipe
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.stage_cost import StageCost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import KINDS, register_kind
from spiritsafe.pipeline.recipe.made import Made, StepEntry
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.pipeline.step import Forecast, StageSpec, Step, Words, made_settings, step_of


@final
class Copy(StepEntry, Step):
    """A model that is an earlier one, unchanged."""

    kind: Literal["copy"] = "copy"

    def words(self, node: Node) -> Words:
        return Words(line=f"copy      {node.name}: from {self.start}", hypothesis=f"It scores as {self.start} does.")

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        return []

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        return None

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        settings = made_settings(node, recipe)
        return [StageSpec(name=node.name, work=partial(copied, self), settings=settings, after=node.stages_before)]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        return "copied", "nothing learnt"


def copied(step: Copy, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    shutil.copytree(model_directory(context, step.start), stage.path / "model", dirs_exist_ok=True)
    return {"digest": read_checkpoint(stage.path / "model").digest, "summary": "unchanged"}


@pytest.fixture
def plugged_in() -> Iterator[None]:
    register_kind("steps")(Copy)
    Recipe.model_rebuild(force=True)
    yield
    del KINDS[Copy]
    Recipe.model_rebuild(force=True)


RECIPE = """
name = "copies"
steps = [{ kind = "copy", name = "same", from = "teacher" }]

[source]
model = "tiny:0"

[task]
spec = "arith:sums?terms=2&digits=1-2"

[teach]
problems = 48
train = { learning_rate = 3e-3, tokens_per_step = 2048, micro_batch_tokens = 2048, max_epochs = 1 }

[exam]
problems = 12
sampling = { temperature = 0.0, max_tokens = 24 }
"""


@pytest.mark.usefixtures("plugged_in")
@pytest.mark.slow
def test_a_kind_that_nobody_knows_goes_all_the_way(tmp_path: Path) -> None:
    path = tmp_path / "copies.toml"
    path.write_text(RECIPE)
    recipe, text = load_recipe(str(path))
    plan = plan_recipe(recipe, cache=default_cache())
    assert "copy      same: from teacher" in plan
    outcome = run_recipe(recipe, text, root=tmp_path, cache=default_cache(), watcher=SilentWatcher())
    report = read_json(next(outcome.directory.glob("stages/*-report/report.json")))
    row = next(row for row in report["made"] if row["name"] == "same")
    assert (row["made_by"], row["start"], row["counts"]) == ("copied", "teacher", "nothing learnt")
    scores = {score["model"]: score["sealed"] for score in report["exams"][0]["scores"]}
    assert scores["same"] == scores["teacher"]
    again = run_recipe(recipe, text, root=tmp_path, cache=default_cache(), watcher=SilentWatcher())
    assert again.num_run == 0


def test_without_the_kind_the_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match="copy"):
        Recipe.model_validate({**load_recipe("tiny")[0].to_json(), "steps": [{"kind": "copy", "name": "s"}]})


def test_every_packaged_thing_is_a_step(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    for node in context.recipe.made:
        made_by, counts = step_of(node).made_by(context, node)
        assert made_by
        assert counts
        assert bool(step_of(node).words(node).hypothesis) == node.makes_model


def test_a_table_without_a_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="no kind of step"):
        step_of(Node(name="x", entry="x", recipe=Made(), made_of=()))
