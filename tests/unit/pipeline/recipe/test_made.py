from __future__ import annotations

from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.made import FromEntry, Made, Needs, Probe, ProbeRecipe, StepEntry, wanted_of


def test_what_says_nothing_needs_nothing() -> None:
    made = Made()
    assert (made.needs, made.times, made.makes) == (Needs(), 1, "model")
    assert list(made.siblings()) == []
    assert StepEntry(name="s").needs.made_of == ()


def test_a_step_goes_on_from_the_model_of_its_number() -> None:
    step = FromEntry.model_validate({"name": "s", "from": "rl"})
    one = step.one_of("s-2", lambda name: f"{name}-2")
    assert (one.name, one.origin, one.needs.models, one.needs.weights) == ("s-2", "rl-2", ("rl-2",), "rl-2")
    assert one.to_json() == {"name": "s-2", "from": "rl-2"}


def test_sets_are_a_list_or_a_table_with_at_most_so_many() -> None:
    assert wanted_of(("a", "b")) == {"a": None, "b": None}
    assert wanted_of({"a": 3}) == {"a": 3}


def test_a_probe_is_what_it_measures() -> None:
    recipe, _ = load_recipe("tiny")
    steps = {step.name: step for step in recipe.steps}
    probe = steps["rl"].probe_of("teacher", "before-rl")
    assert isinstance(probe, Probe)
    assert (probe.stage, probe.model, probe.size) == ("before-rl", "teacher", ProbeRecipe(problems=16, num_samples=8))
    assert set(probe.settings()) == {"probe", "on", "sampling"}
    assert steps["harvest"].probe_of("rl", "before-harvest") is None
