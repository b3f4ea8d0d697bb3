from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.pipeline.plan.costs import model_configs, stage_costs
from spiritsafe.pipeline.plan.stage_cost import DocumentSize
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.schema import Recipe

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


def quickstart(*overrides: str) -> Recipe:
    return load_recipe("quickstart", overrides)[0]


def costs(*overrides: str, size: DocumentSize = SIZE) -> dict[str, Any]:
    return {cost.name: cost for cost in stage_costs(quickstart(*overrides), CONFIG, size)}


def test_each_stage_counts_its_tokens() -> None:
    found = costs()
    assert list(found) == ["teach", "sample", "student", "exam"]
    assert found["teach"].trained_tokens == 800 * 50
    assert found["sample"].sampled_tokens == 128 * 10
    assert found["student"].trained_tokens == 400 * 50
    assert found["student"].read_tokens > 400 * 50  # the teacher reads them all, and the cut is calibrated
    assert found["exam"].sampled_tokens == 240 * (28 + 10 + 10)


def test_the_nearest_limit_of_a_run_holds() -> None:
    assert costs("teach.train.max_steps=2")["teach"].trained_tokens == 2 * 400
    assert costs("teach.train.max_tokens=777")["teach"].trained_tokens == 777


def test_work_follows_what_is_done() -> None:
    usual = costs()
    assert costs("teach.problems=400")["teach"].work.flops < usual["teach"].work.flops
    assert costs("students.0.share=0.5", "students.0.criterion=influence")["student"].work.flops < (
        usual["student"].work.flops
    )
    assert costs(size=SIZE.model_copy(update={"shared_tokens": 0}))["teach"].work.flops > usual["teach"].work.flops
    assert costs("sample.num_samples=2")["sample"].work.flops == pytest.approx(2 * usual["sample"].work.flops)


def test_only_a_live_teacher_reads_along() -> None:
    recipe = quickstart("students.0.criterion=influence")
    student = recipe.students[0]
    alone = recipe.model_copy(update={"students": (student.model_copy(update={"objective": "traces"}),)})
    with_teacher, without = (stage_costs(r, CONFIG, SIZE)[2] for r in (recipe, alone))
    assert with_teacher.read_tokens - without.read_tokens == with_teacher.trained_tokens
    assert with_teacher.work.flops > without.work.flops


def tiny(*overrides: str, **more: Any) -> dict[str, Any]:
    recipe, _ = load_recipe("tiny", overrides)
    return {cost.name: cost for cost in stage_costs(recipe, CONFIG, SIZE, **more)}


def test_steps_count_what_they_draw_and_learn_from() -> None:
    found = tiny()
    assert list(found) == [
        *("teach", "sample", "capture", "before-rl", "rl", "after-rl", "rl-random", "rl-format", "rl-rft"),
        *("harvest", "tuned", "student", "on-policy", "exam"),
    ]
    answers = 2 * 16 * 8
    assert found["rl"].sampled_tokens == answers * 10
    assert found["rl"].trained_tokens == answers * 50
    assert found["rl-random"].work == found["rl"].work
    assert found["before-rl"].sampled_tokens == found["after-rl"].sampled_tokens == 16 * 8 * 10
    assert found["harvest"].sampled_tokens == 48 * 8 * 10
    assert found["tuned"].trained_tokens == (24 + 48) * 50
    assert found["exam"].sampled_tokens == 40 * (24 + 8 * 10)


def test_a_step_on_another_task_has_documents_of_its_size() -> None:
    long = DocumentSize(prompt_tokens=100, answer_tokens=24)
    found = tiny('steps.0.task="arith:words"', sizes={"arith:words": long})
    assert found["rl"].trained_tokens == 2 * 16 * 8 * 124
    assert found["rl"].sampled_tokens == 2 * 16 * 8 * 24
    assert found["harvest"].sampled_tokens == 48 * 8 * 10


def test_equal_compute_is_planned_from_what_the_other_is_expected_to_take() -> None:
    recipe, _ = load_recipe("tiny")
    size = DocumentSize(prompt_tokens=40, answer_tokens=10)
    value = recipe.to_json()
    value["steps"][2] |= {"budget": {"of": "rl", "share": 2.0}, "traces": {"worked": 48}}
    value["steps"][2]["train"] |= {"max_epochs": 1000}
    costs = {c.name: c for c in stage_costs(Recipe.from_json(value), CONFIG, size)}
    spent = 2 * costs["rl"].sampled_tokens + 6 * costs["rl"].trained_tokens
    assert costs["tuned"].trained_tokens == pytest.approx(2.0 * spent / 6, abs=1)
    value["steps"][2]["traces"] = {"harvest": 24}
    with_drawing = {c.name: c for c in stage_costs(Recipe.from_json(value), CONFIG, size)}["tuned"].trained_tokens
    drawn = 2 * costs["harvest"].sampled_tokens
    assert with_drawing == pytest.approx((2.0 * spent - drawn) / 6, abs=1)


def test_every_model_has_the_shape_of_what_it_goes_on_from() -> None:
    value = load_recipe("tiny")[0].to_json()
    value["students"][0] |= {"share": 0.5, "teacher": "tuned", "signal": "live"}
    value["students"][1] |= {
        "source": "tiny:1",
        "share": None,
        "objective": "traces",
        "hidden": None,
        "on_policy": None,
    }
    value["students"][1]["train"] |= {"max_steps": 4}
    value["cache"] = None
    value["steps"].append(value["steps"][0] | {"name": "more", "from": "on-policy", "controls": []})
    other = CONFIG | {"num_hidden_layers": 2}
    configs = model_configs(Recipe.from_json(value), CONFIG, {"tiny:1": other})
    assert configs["rl"] == configs["tuned"] == configs["rl-format"] == CONFIG
    assert configs["student"]["num_hidden_layers"] < 15
    assert configs["on-policy"] == configs["more"] == other
