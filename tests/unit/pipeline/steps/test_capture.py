from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.run.stages import stages_of
from spiritsafe.pipeline.step import step_of


def test_one_capture_is_made_for_all_students_that_read_it() -> None:
    recipe, _ = load_recipe("tiny")
    node = recipe.node("signal")
    (stage,) = step_of(node).stages(node, recipe)
    assert (stage.name, stage.after) == ("signal", ("teacher", "review", "sampled"))
    assert [one.name for one in stages_of(recipe)].count("signal") == 1
    assert (node.makes_model, node.recipe.needs.weights) == (False, None)


@pytest.mark.parametrize(
    ("captured", "learnt", "missing"),
    [
        (["review", "sampled"], ["review", "sampled"], ""),
        (["review", "sampled"], ["sampled"], ""),
        (["review", "sampled"], {"review": 3}, ""),
        ({"review": 3}, {"review": 3}, ""),
        ({"review": 3}, {"review": 4}, "review"),
        ({"review": 3}, ["review"], "review"),
        (["review"], ["review", "sampled"], "sampled"),
        (["review"], ["lessons", "sampled"], "lessons, sampled"),
    ],
)
def test_a_signal_must_hold_what_is_learnt_from_it(captured: Any, learnt: Any, missing: str) -> None:
    value: dict[str, Any] = load_recipe("tiny")[0].to_json()
    steps = {step["name"]: step for step in value["steps"]}
    steps["signal"]["learns"], steps["student"]["learns"] = captured, learnt
    recipe = load_recipe("tiny")[0]
    if missing:
        with pytest.raises(ValueError, match=f"'student' learns from {missing}, of which 'signal' captures less"):
            type(recipe).from_json(value)
    else:
        assert type(recipe).from_json(value).node("student").recipe.needs.signals == ("signal",)


def test_a_signal_that_is_no_signal_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match="'sampled', which is a set of answers: a captured signal is wanted"):
        load_recipe("tiny", ("steps.student.signal=sampled",))
