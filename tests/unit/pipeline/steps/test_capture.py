from __future__ import annotations

from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.run import stages_of
from spiritsafe.pipeline.step import step_of


def test_one_capture_is_made_for_all_students_that_read_it() -> None:
    recipe, _ = load_recipe("tiny")
    (node,) = (node for node in recipe.made if node.recipe.makes == "signal")
    (stage,) = step_of(node).stages(node, recipe)
    assert stage == next(stage for stage in stages_of(recipe) if stage.name == "capture")
    assert stage.settings["wanted"] == [[["worked", "sampled"], 96]]
    assert stage.after == ("teach", "traces", "sample")
    assert not node.makes_model


def test_without_a_cache_there_is_none() -> None:
    recipe, _ = load_recipe("quickstart")
    assert recipe.cache is None
    assert "signal" not in {node.recipe.makes for node in recipe.made}
