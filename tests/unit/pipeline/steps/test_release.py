"""Release steps in recipes: what goes in, when it is made, what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from released_run import released_recipe

from spiritsafe.core.errors import RecipeError
from spiritsafe.models import default_cache, read_model_config, resolve_source
from spiritsafe.pipeline import plan_recipe, stages_of
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import Forecast, step_of


def recipe(**release: Any) -> Recipe:
    """Its release is called ``out``."""
    value = released_recipe().to_json()
    steps = [step for step in value["steps"] if step["kind"] != "release"]
    tuned = {"kind": "tune", "name": "tuned", "from": "base", "learns": ["lessons"]}
    table = {"kind": "release", "name": "out", "from": "student", **release}
    return recipe_of({**value, "steps": [*steps, tuned, table]})


def faults(made: Recipe) -> list[str]:
    config = read_model_config(resolve_source("tiny:0"))
    forecast = Forecast(recipe=made, configs={"base": config}, device=torch.device("cpu"))
    node = made.node("out")
    return step_of(node).faults(node, forecast)


def test_it_is_made_behind_all_exams_and_sits_none() -> None:
    made = recipe(files=["student-q8"])
    names = [stage.name for stage in stages_of(made)]
    assert names.index("exam") < names.index("out") < names.index("report")
    after = next(stage for stage in stages_of(made) if stage.name == "out").after
    assert set(after) == {"student", "student-q8", "seal", "exam"}
    assert "out" not in made.examinees(made.exams[0])
    assert "student-q8" in made.examinees(made.exams[0])


def test_files_are_files_of_the_model_that_is_released() -> None:
    assert faults(recipe(files=["student-q8"])) == []
    assert "is no file" in faults(recipe(files=["tuned"]))[0]
    (other,) = faults(recipe(**{"from": "tuned", "files": ["student-q8"]}))
    assert "is a file of student, not of tuned" in other
    assert "nothing is released" in faults(recipe(weights=False))[0]


def test_what_is_no_model_and_what_is_no_name_are_refused_when_the_recipe_is_read() -> None:
    with pytest.raises(RecipeError, match="'lessons'"):
        recipe(files=["lessons"])
    with pytest.raises(RecipeError, match="title"):
        recipe(title="../elsewhere")
    value = recipe().to_json()
    more = {"kind": "tune", "name": "more", "from": "out", "learns": ["lessons"]}
    with pytest.raises(RecipeError, match="release"):  # nothing goes on from a release
        recipe_of({**value, "steps": [*value["steps"], more]})


def test_a_name_that_breaks_the_teacher_s_licence_is_a_fault_of_the_plan() -> None:
    value = recipe(title="DeepSeek-R1-Distill-Llama-8B").to_json()
    value["models"]["base"]["licence"] = "llama3.1"
    *_, found = plan_recipe(recipe_of(value), cache=default_cache())
    assert any("begins with “Llama”" in fault for fault in found), found


def test_a_name_that_is_too_long_is_a_fault_of_the_plan_and_not_of_the_last_stage() -> None:
    value = {**recipe().to_json(), "name": "r" * 90}
    *_, found = plan_recipe(recipe_of(value), cache=default_cache())
    assert any("too long: give it a title" in fault for fault in found), found
    value["steps"][-1]["title"] = "short"
    *_, found = plan_recipe(recipe_of(value), cache=default_cache())
    assert not [fault for fault in found if "title" in fault]
