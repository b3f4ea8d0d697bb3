from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pipeline_parts import recipe_with

from spiritsafe.pipeline.plan.costs import partly_predicted, predicted_memory, stage_costs
from spiritsafe.pipeline.plan.known import forecast_with
from spiritsafe.pipeline.plan.stage_cost import DocumentSize, StageCost
from spiritsafe.pipeline.recipe.data import DataRecipe
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run.stages import stages_of
from spiritsafe.pipeline.step import DataFacts, Forecast

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}
SIZE = DocumentSize(prompt_tokens=40, answer_tokens=10, shared_tokens=30)


def forecast(recipe: Recipe, size: DocumentSize = SIZE, **configs: dict[str, Any]) -> Forecast:
    """What is known where each problem has a solution of this size."""
    sets = {}
    for name, data in recipe.data.items():
        assert isinstance(data, DataRecipe)
        count = data.problems or 0
        sets[name] = DataFacts(task=data.spec(), num_problems=count, num_documents=count, size=size)
    return forecast_with(recipe, {"base": CONFIG, **configs}, {}, sets)


def quickstart(*overrides: str, size: DocumentSize = SIZE) -> dict[str, StageCost]:
    return {cost.name: cost for cost in stage_costs(forecast(load_recipe("quickstart", overrides)[0], size))}


def tiny(*overrides: str, **changes: dict[str, Any]) -> dict[str, StageCost]:
    return {cost.name: cost for cost in stage_costs(forecast(recipe_with(*overrides, **changes)))}


def test_each_stage_counts_its_tokens() -> None:
    found = quickstart()
    assert list(found) == ["teacher", "answers", "small", "student", "exam"]
    assert found["teacher"].trained_tokens == 800 * 50
    assert found["answers"].sampled_tokens == 128 * 10
    assert found["student"].trained_tokens == found["student"].read_tokens == (288 + 128) * 50
    assert found["small"].read_tokens > 8 * 50  # it is calibrated
    assert found["exam"].sampled_tokens == 240 * (28 + 4 * 10)


def test_the_nearest_limit_of_a_run_holds() -> None:
    assert quickstart("steps.teacher.train.max_steps=2")["teacher"].trained_tokens == 2 * 400
    assert quickstart("steps.teacher.train.max_tokens=777")["teacher"].trained_tokens == 777


def test_work_follows_what_is_done() -> None:
    usual = quickstart()
    assert quickstart("data.lessons.problems=400")["teacher"].work.flops < usual["teacher"].work.flops
    smaller = quickstart("steps.small.share=0.5", "steps.small.criterion=influence")
    assert smaller["student"].work.flops < usual["student"].work.flops
    assert smaller["small"].work.flops < usual["small"].work.flops
    repeated = quickstart(size=SIZE.model_copy(update={"shared_tokens": 0}))
    assert repeated["teacher"].work.flops > usual["teacher"].work.flops
    twice = quickstart("steps.answers.num_samples=2")
    assert twice["answers"].work.flops == pytest.approx(2 * usual["answers"].work.flops)


def test_only_a_live_teacher_reads_along() -> None:
    captured, live = tiny(), tiny(student={"signal": None, "teacher": "teacher"})
    assert captured["student"].read_tokens == 0
    assert live["student"].read_tokens == live["student"].trained_tokens == captured["student"].trained_tokens
    assert live["student"].work.flops > captured["student"].work.flops
    assert captured["signal"].read_tokens == (24 + 8) * 50


def test_steps_count_what_they_draw_and_learn_from() -> None:
    found = {cost.name: cost for cost in stage_costs(forecast(load_recipe("tiny")[0]))}
    assert list(found) == [
        *("teacher", "sampled", "before-rl", "rl", "after-rl", "rl-random", "rl-format", "rl-rft", "harvest", "tuned"),
        *("signal", "small", "student", "on-policy", "exam"),
    ]
    answers = 2 * 16 * 8
    assert found["rl"].sampled_tokens == answers * 10
    assert found["rl"].trained_tokens == answers * 50
    assert found["rl-random"].work == found["rl"].work
    assert found["before-rl"].sampled_tokens == found["after-rl"].sampled_tokens == 16 * 8 * 10
    assert found["harvest"].sampled_tokens == 48 * 8 * 10
    assert found["tuned"].trained_tokens == (24 + 48) * 50
    assert found["exam"].sampled_tokens == 40 * (24 + 8 * 10)


def test_each_set_has_documents_of_its_size() -> None:
    known = forecast(load_recipe("tiny")[0])
    long = replace(known.sets["pool"], size=DocumentSize(prompt_tokens=100, answer_tokens=24))
    found = {cost.name: cost for cost in stage_costs(replace(known, sets={**known.sets, "pool": long}))}
    assert found["rl"].trained_tokens == 2 * 16 * 8 * 124
    assert found["rl"].sampled_tokens == 2 * 16 * 8 * 24
    assert found["harvest"].sampled_tokens == 48 * 8 * 10


def test_equal_compute_is_planned_from_what_the_other_is_expected_to_take() -> None:
    train = {"learning_rate": 1e-3, "tokens_per_step": 64, "max_epochs": 10_000}
    changed = {"budget": {"of": "rl", "share": 2.0}, "learns": {"review": 24}, "train": train}
    costs = tiny(tuned=changed)
    spent = 2 * costs["rl"].sampled_tokens + 6 * costs["rl"].trained_tokens
    assert costs["tuned"].trained_tokens == pytest.approx(2.0 * spent / 6, abs=1)
    with_drawing = tiny(tuned=changed | {"learns": {"harvest": 8}})
    drawn = 2 * with_drawing["harvest"].sampled_tokens
    assert with_drawing["tuned"].trained_tokens == pytest.approx((2.0 * spent - drawn) / 6, abs=1)


def test_every_model_has_the_shape_of_what_it_goes_on_from() -> None:
    more = {"kind": "tune", "from": "own", "learns": ["review"]}
    other = CONFIG | {"num_hidden_layers": 2}
    recipe = recipe_with('models.own.source="tiny:1"', more=more, small={"share": 0.5})
    configs = forecast(recipe, own=other).configs
    learnt = CONFIG | {"dtype": "float32"}  # a configuration that says none is one of float32
    assert configs["rl"] == configs["tuned"] == configs["rl-format"] == configs["on-policy"] == learnt
    assert configs["student"] == configs["small"] | {"dtype": "float32"}
    assert configs["student"]["num_hidden_layers"] < 15
    assert configs["own"] == other
    assert configs["more"] == other | {"dtype": "float32"}


def test_every_peak_is_one_of_a_stage_and_what_computes_nothing_has_none() -> None:
    recipe, _ = load_recipe("distil-vs-rl")
    peaks = predicted_memory(forecast(recipe, little=CONFIG))
    assert set(peaks) <= {stage.name for stage in stages_of(recipe)}
    assert not {*recipe.data, *recipe.models} & set(peaks)
    assert {node.name for node in recipe.made if node.makes_model} <= set(peaks)
    assert all(peak > 0 for peak in peaks.values())


def test_what_transformers_runs_is_predicted_in_part() -> None:
    recipe = load_recipe("rl-cpu")[0]
    assert partly_predicted(forecast(recipe)) == set()
    mamba = {**CONFIG, "model_type": "mamba", "architectures": ["MambaForCausalLM"]}
    assert partly_predicted(forecast(recipe, base=mamba)) == {node.name for node in recipe.made}


def test_an_endpoint_costs_this_machine_nothing() -> None:
    answers = {"kind": "sample", "from": "far", "on": ["practice"]}
    served = ('models.far.endpoint="http://127.0.0.1:1/v1"', 'models.far.model="m"')
    costs = tiny(*served, answers=answers)
    assert "answers" not in costs
    assert "answers" not in predicted_memory(forecast(recipe_with(*served, answers=answers)))
