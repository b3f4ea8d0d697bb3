"""What a recipe may say of quantising, and who may name a file model."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.steps.quantise import QuantiseStep


def make(**changes: Any) -> QuantiseStep:
    given: dict[str, Any] = {"name": "q", "from": "t", "to": "q4_0"}
    return QuantiseStep.model_validate(given | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"to": "q4_2"}, "'q4_0'"),
        ({"train": {"learning_rate": 1e-5}}, "train: an effect with learns only"),
        ({"repeat": 3}, "repeat: an effect with learns only"),
        ({"dev": {}}, "dev: an effect with learns only"),
        ({"budget": {"of": "t"}}, "budget: an effect with learns only"),
        ({"to": "q4_k_m", "learns": ["a"]}, "nothing can be learnt on the grid of q4_k_m"),
        ({"to": "f16", "learns": ["a"]}, "nothing can be learnt on the grid of f16"),
        ({"to": "q8_0", "calibrate": ["a"]}, "calibrate has no effect on q8_0"),
        ({"calibrate": ["a"], "learns": ["b"]}, "calibrate has no effect with learns"),
        ({"calibrate": ["a", "a"]}, "named twice"),
        ({"calibration": 9}, "calibration: an effect with calibrate only"),
        ({"to": "iq2_xxs"}, "iq2_xxs is rubbish without importance: name sets in calibrate"),
        ({"learns": ["a"], "train": {"seed": 1}}, "train.seed has no effect"),
        (
            {
                "learns": ["a"],
                "on_policy": {"prompts_per_round": 2, "steps_per_round": 1, "num_rounds": 1},
                "budget": {"of": "t"},
            },
            "budget has no effect with on_policy",
        ),
        ({"learns": ["a"], "lora": {"rank": 4}}, "lora"),
    ],
)
def test_what_could_not_take_effect_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_a_model_is_its_own_teacher_on_the_grid_of_its_file() -> None:
    assert make().learning() is None
    step = make(learns={"a": 5, "chats": 3}, repeat=2, train={"max_steps": 7})
    distil = step.learning()
    assert distil is not None
    assert (distil.origin, distil.teacher, distil.grid, distil.train.max_steps) == ("t", "t", "q4_0", 7)
    assert (distil.save_dtype, distil.way) == ("float32", "grid")
    assert step.needs.sets == ("a", "chats")
    assert (step.times, step.one_of("q-2", str).repeat) == (2, 1)


def recipe(*steps: dict[str, Any], **more: Any) -> Recipe:
    data = {name: {"task": "arith:sums", "problems": 4} for name in ("a", "b")}
    quantise = {"kind": "quantise", "name": "q", "from": "base", "to": "q4_0"}
    models = {"base": {"source": "tiny:0"}}
    return recipe_of({"name": "r", "models": models, "data": data, "steps": [quantise, *steps], **more})


def refused(*steps: dict[str, Any], **more: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe(*steps, **more)
    return caught.value.diagnostics()


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "tune", "from": "q", "learns": ["a"]},
        {"kind": "distil", "from": "q", "teacher": "base", "learns": ["a"]},
        {"kind": "distil", "from": "base", "teacher": "q", "learns": ["a"]},
        {"kind": "cut", "from": "q", "share": 0.5, "calibrate": ["a"]},
        {"kind": "reinforce", "from": "q", "on": ["a"]},
        {"kind": "capture", "from": "q", "learns": ["a"]},
        {"kind": "quantise", "from": "q", "to": "q8_0"},
        {"kind": "measure", "from": ["base"], "on": ["a"], "what": ["kl:q"]},
    ],
    ids=lambda step: step["kind"],
)
def test_nothing_goes_on_from_a_file_and_the_way_out_is_told(step: dict[str, Any]) -> None:
    said = refused({"name": "after", **step})
    assert "'q', which is a file: nothing goes on from its weights; name the model that it was made of" in said


def test_a_file_answers_sits_and_is_compared() -> None:
    sample = {"kind": "sample", "name": "answers", "from": "q", "on": ["a"]}
    measure = {"kind": "measure", "name": "m", "from": ["q", "base"], "on": ["b"], "what": ["nll", "kl:base"]}
    exams = [{"task": "arith:sums", "problems": 4}]
    found = recipe(sample, measure, exams=exams, compare=[{"first": "q", "second": "base"}])
    assert found.examinees(found.exams[0]) == ["base", "q"]
    named = recipe(exams=[{"task": "arith:sums", "problems": 4, "sits": ["q"]}])
    assert named.examinees(named.exams[0]) == ["q"]


def test_a_grid_needs_all_weights_and_keeps_them_whole() -> None:
    given = {"name": "s", "from": "a", "teacher": "b", "learns": ["c"], "grid": "q4_0"}
    assert DistilRecipe.model_validate(given).save_dtype == "float32"
    assert "grid" not in DistilRecipe.model_validate({**given, "grid": None}).to_json()  # older runs keep their names
    for changes, message in (
        ({"lora": {"rank": 2}}, "leave lora out"),
        ({"save_dtype": "bfloat16"}, "kept in float32"),
        ({"grid": "q4_k_m"}, "'q4_0'"),
    ):
        with pytest.raises(ValidationError, match=message):
            DistilRecipe.model_validate({**given, **changes})
