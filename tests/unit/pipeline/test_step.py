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
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import default_cache, read_checkpoint
from spiritsafe.pipeline import load_recipe, plan_recipe, run_recipe
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import KINDS, register_kind
from spiritsafe.pipeline.recipe.made import FromEntry, Made
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.pipeline.step import Forecast, StageSpec, Step, Words, made_settings, step_of


@final
class Copy(FromEntry, Step):
    """A model that is an earlier one, unchanged."""

    kind: Literal["copy"] = "copy"

    def words(self, node: Node) -> Words:
        return Words(line=f"{node.name}: from {self.origin}", hypothesis=f"It scores as {self.origin} does.")

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        return [f"{node.name}: nothing may be called a fault"] if node.name == "fault" else []

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        settings = made_settings(node, recipe)
        return [StageSpec(name=node.name, work=partial(copied, self), settings=settings, after=node.needs)]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        return "copied", "nothing learnt"


def copied(step: Copy, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    shutil.copytree(model_directory(context, step.origin), stage.path / "model", dirs_exist_ok=True)
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

[models.base]
source = "tiny:0"

[data.lessons]
task = "arith:sums?terms=2&digits=1-2"
problems = 48

[defaults.copy]
from = "teacher"

[[steps]]
kind = "copy"
name = "same"

[[steps]]
kind = "tune"
name = "teacher"
from = "base"
learns = ["lessons"]
train = { learning_rate = 3e-3, tokens_per_step = 2048, micro_batch_tokens = 2048, max_epochs = 1 }

[[exams]]
task = "arith:sums?terms=2&digits=1-2"
problems = 12
sampling = { temperature = 0.0, max_tokens = 24 }
"""


@pytest.mark.usefixtures("plugged_in")
@pytest.mark.slow
def test_a_kind_that_nobody_knows_goes_all_the_way(tmp_path: Path) -> None:
    path = tmp_path / "copies.toml"
    path.write_text(RECIPE)
    recipe, text = load_recipe(str(path))
    text_of_plan, _, faults = plan_recipe(recipe, cache=default_cache())
    assert faults == []
    assert "copy      same: from teacher" in text_of_plan
    outcome = run_recipe(recipe, text, root=tmp_path, cache=default_cache(), watcher=SilentWatcher())
    report = read_json(next(outcome.directory.glob("stages/*-report/report.json")))
    row = next(row for row in report["made"] if row["name"] == "same")
    assert (row["made_by"], row["start"], row["counts"]) == ("copied", "teacher", "nothing learnt")
    scores = {score["model"]: score["sealed"] for score in report["exams"][0]["scores"]}
    assert scores["same"] == scores["teacher"]
    again = run_recipe(recipe, text, root=tmp_path, cache=default_cache(), watcher=SilentWatcher())
    assert again.num_run == 0


@pytest.mark.usefixtures("plugged_in")
def test_its_keys_and_faults_are_told_as_anyones(tmp_path: Path) -> None:
    path = tmp_path / "copies.toml"
    path.write_text(RECIPE)
    with pytest.raises(RecipeError, match=r"'steps\.0\.fro'") as caught:
        load_recipe(str(path), ("steps.same.fro=base",))
    assert caught.value.hint.startswith("Did you mean 'from'? Known here: from, kind, name")
    with pytest.raises(RecipeError, match="'same' names 'techer', which nothing is called: did you mean 'teacher'"):
        load_recipe(str(path), ("steps.same.from=techer",))
    recipe, _ = load_recipe(str(path), ("steps.same.name=fault",))
    assert plan_recipe(recipe, cache=default_cache())[2] == ["fault: nothing may be called a fault"]


def test_without_the_kind_the_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "copies.toml"
    path.write_text(RECIPE)
    with pytest.raises(RecipeError, match="copy"):
        load_recipe(str(path))


def test_every_packaged_thing_is_a_step(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    for node in context.recipe.made:
        made_by, counts = step_of(node).made_by(context, node)
        assert made_by
        assert counts
        assert bool(step_of(node).words(node).hypothesis) == node.makes_model


def test_a_table_without_a_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="no kind of step"):
        step_of(Node(name="x", entry="x", recipe=Made()))
