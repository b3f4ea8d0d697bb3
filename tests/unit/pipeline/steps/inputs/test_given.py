from __future__ import annotations

from typing import Any

from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.step import step_of


def told(**model: Any) -> str:
    exam = {"task": "arith:sums", "problems": 4, "sits": ["m"]}
    node = recipe_of({"name": "r", "models": {"m": model}, "exams": [exam]}).node("m")
    words = step_of(node).words(node)
    assert words.role == "base"
    return words.line


def test_a_given_model_says_where_it_is() -> None:
    served = {"endpoint": "http://127.0.0.1:1/v1", "model": "big"}
    assert told(source="tiny:0") == "m: tiny:0"
    assert told(**served) == "m: big at http://127.0.0.1:1/v1"
    assert told(source="tiny:0", **served) == "m: tiny:0, served by http://127.0.0.1:1/v1"


def test_a_fetched_model_is_the_same_on_every_machine() -> None:
    recipe = recipe_of(
        {"name": "r", "models": {"m": {"source": "tiny:0"}}, "exams": [{"task": "arith:sums", "problems": 4}]}
    )
    (stage,) = step_of(recipe.node("m")).stages(recipe.node("m"), recipe)
    assert (stage.is_exact, stage.after) == (True, ())
