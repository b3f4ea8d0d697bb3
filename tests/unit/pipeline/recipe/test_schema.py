from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline.recipe.load import load_recipe


def test_options_that_cannot_take_effect_are_refused() -> None:
    with pytest.raises(RecipeError, match="ce_share"):
        load_recipe("tiny", ('students.0.objective="traces"', "students.0.ce_share=0.5"))


def test_a_comparison_names_models_of_the_run() -> None:
    recipe, _ = load_recipe("tiny", ('compare=[{ first = "tuned", second = "rl" }]',))
    assert [(pair.first, pair.second) for pair in recipe.compare] == [("tuned", "rl")]
    with pytest.raises(RecipeError, match="did you mean 'tuned'"):
        load_recipe("tiny", ('compare=[{ first = "tunde", second = "rl" }]',))


def test_what_is_made_is_in_order_whatever_is_overridden() -> None:
    recipe, _ = load_recipe("tiny")
    assert [node.name for node in recipe.nodes] == [
        *("rl", "rl-random", "rl-format", "rl-rft", "harvest", "tuned", "student", "on-policy"),
    ]
    assert [node.name for node in recipe.models] == [node.name for node in recipe.nodes if node.name != "harvest"]
    fewer = recipe.model_copy(update={"steps": ()})
    assert [node.name for node in fewer.nodes] == ["student", "on-policy"]


def test_a_tune_step_on_sampled_traces_needs_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    steps = """
[[steps]]
kind = "tune"
name = "tuned"
from = "base"
traces = { sampled = 3 }
train = { learning_rate = 1e-3, tokens_per_step = 64, micro_batch_tokens = 64, max_epochs = 1 }
"""
    text = (resources.files("spiritsafe.pipeline") / "recipes" / "rl-cpu.toml").read_text("utf-8")
    path.write_text(text[: text.index("[[steps]]")] + steps + text[text.index("[exam]") :])
    with pytest.raises(RecipeError, match=r"\[sample\]"):
        load_recipe(str(path))


@pytest.mark.parametrize("name", ["r1", "r1-tiny"])
def test_the_staircase_is_r1s(name: str) -> None:
    """Cold start, reinforcement, rejection sampling, the base on what was kept, reinforcement over all tasks."""
    recipe, _ = load_recipe(name)
    made = [node for node in recipe.nodes if node.control is None]
    assert [(node.name, node.made_of) for node in made] == [
        ("reasoner", ("teacher",)),
        ("harvest", ("reasoner",)),
        ("tuned", ("base", "harvest", "worked")),
        ("final", ("tuned",)),
    ]
    first, last = recipe.steps[0], recipe.steps[3]
    assert first.task is not None
    assert last.task is None


def test_students_need_names_of_their_own() -> None:
    with pytest.raises(RecipeError, match="names of their own"):
        load_recipe("tiny", ('students.0.name="teacher"',))
