from __future__ import annotations

from spiritsafe.pipeline.plan.peaks import partly_predicted, predicted_memory

from spiritsafe.models import read_model_config, resolve_source
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run import stages_of


def test_every_peak_is_one_of_a_stage_and_worked_solutions_have_none() -> None:
    config = read_model_config(resolve_source("tiny:0"))
    recipe, _ = load_recipe("distil-vs-rl")
    peaks = predicted_memory(recipe, config)
    assert set(peaks) <= {stage.name for stage in stages_of(recipe)}
    worked = {step.name for step in recipe.steps if not step.needs.models}
    assert worked
    assert not worked & set(peaks)
    assert all(peak > 0 for peak in peaks.values())


def test_what_transformers_runs_is_predicted_in_part() -> None:
    config = read_model_config(resolve_source("tiny:0"))
    recipe, _ = load_recipe("tiny")
    made = Recipe.model_validate(
        {**recipe.model_dump(exclude={"students", "cache"}), "steps": recipe.to_json()["steps"]}
    )
    assert partly_predicted(made, config) == set()
    foreign = partly_predicted(made, {**config, "model_type": "mamba", "architectures": ["MambaForCausalLM"]})
    assert foreign == {node.stage for node in made.made}
