from __future__ import annotations

from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.stages.measuring.probe import probes_of


def test_each_step_is_measured_before_and_after_and_nothing_twice() -> None:
    recipe, _ = load_recipe("tiny", ("steps.rl.repeat=2", 'steps.harvest.from="rl-1"'))
    probes = probes_of(recipe)
    assert {key: probe.stage for key, probe in probes.items()} == {
        ("rl-1", "before"): "before-rl-1",
        ("rl-1", "after"): "after-rl-1",
        ("rl-2", "before"): "before-rl-1",
        ("rl-2", "after"): "after-rl-2",
    }
    assert probes_of(load_recipe("tiny", ("steps.rl.probe.problems=0",))[0]) == {}
