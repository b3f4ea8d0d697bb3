from __future__ import annotations

from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.made import Made, Needs, Probe, ProbeRecipe, StepEntry


def test_what_says_nothing_needs_nothing() -> None:
    made = Made()
    assert (made.needs, made.times, made.makes) == (Needs(), 1, "model")
    assert list(made.siblings()) == []


def test_a_step_goes_on_from_the_model_of_its_number() -> None:
    step = StepEntry.model_validate({"name": "s", "from": "rl"})
    one = step.one_of("s-2", lambda name: f"{name}-2")
    assert (one.name, one.start, one.needs.models, one.needs.weights) == ("s-2", "rl-2", ("rl-2",), "rl-2")
    assert one.to_json() == {"name": "s-2", "from": "rl-2", "task": None}


def test_a_probe_is_what_it_measures() -> None:
    recipe, _ = load_recipe("tiny")
    probe = recipe.steps[0].probe_of("teacher", "before-rl")
    assert isinstance(probe, Probe)
    assert (probe.stage, probe.model, probe.size) == ("before-rl", "teacher", ProbeRecipe(problems=16, num_samples=8))
    assert set(probe.settings()) == {"probe", "of", "sampling"}
    assert recipe.steps[1].probe_of("rl", "before-harvest") is None
