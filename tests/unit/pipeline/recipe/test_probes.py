from __future__ import annotations

from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.probes import probes_of


def test_a_model_that_is_measured_alike_is_measured_once() -> None:
    recipe, _ = load_recipe("tiny")
    assert {key: (probe.stage, probe.model) for key, probe in probes_of(recipe).items()} == {
        ("rl", "before"): ("before-rl", "teacher"),
        ("rl", "after"): ("after-rl", "rl"),
    }
    twice, _ = load_recipe("tiny", ("steps.0.repeat=2", 'steps.1.from="rl-1"'))
    stages = [probe.stage for probe in probes_of(twice).values()]
    assert stages == ["before-rl-1", "after-rl-1", "before-rl-1", "after-rl-2"]


def test_no_problems_no_probe() -> None:
    recipe, _ = load_recipe("tiny", ("steps.0.probe.problems=0",))
    assert probes_of(recipe) == {}
