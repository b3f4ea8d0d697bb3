from __future__ import annotations

from pathlib import Path
from typing import Any

from spiritsafe.models import default_cache
from spiritsafe.pipeline.plan.text import plan_recipe
from spiritsafe.pipeline.recipe.load import load_recipe, recipe_of


def plan_of(name: str, *overrides: str, cache: Path | None = None) -> str:
    return plan_recipe(load_recipe(name, overrides)[0], cache=cache or default_cache())[0]


def test_the_plan_names_every_cost() -> None:
    text = plan_of("tiny")
    wanted = ("seal", "teacher", "sampled", "student", "exam", "memory", "available", "time", "tokens trained", "total")
    for word in (*wanted, "disk", "licence", "Apache License"):
        assert word in text


def test_the_same_is_told_as_json() -> None:
    recipe, _ = load_recipe("tiny")
    _, told, faults = plan_recipe(recipe, cache=default_cache())
    assert faults == told["faults"] == []
    assert told["recipe"] == recipe.to_json()
    assert set(told["memory_bytes"]) <= {node.name for node in recipe.made}  # type: ignore[arg-type]
    stages = {row["name"]: row for row in told["stages"]}  # type: ignore[call-overload,index,union-attr]
    assert stages["teacher"]["trained_tokens"] > 0  # type: ignore[call-overload,index,operator]
    assert stages["exam"]["sampled_tokens"] > 0  # type: ignore[call-overload,index,operator]


def test_a_task_that_does_not_exist_is_a_fault_and_the_rest_is_still_told() -> None:
    text = plan_of("tiny", 'exams.exam.task="arith:nosuch"')
    assert "cannot run: 1 fault\n" in text
    assert 'arith has no kind "nosuch"' in text
    assert "reinforce rl: from teacher" in " ".join(text.split())


def test_steps_are_planned_by_name() -> None:
    text = plan_of("tiny")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    drawn = "2 rounds × 16 problems × 8 answers, at most 2 times that"
    assert f"reinforce rl: from teacher, dapo, {drawn}" in lines
    assert f"reinforce rl-random: from teacher, a control, dapo, random reward, {drawn}" in lines
    assert f"reinforce rl-rft: from teacher, a control, rft, {drawn}" in lines
    assert "sample harvest: rl answers field, 8 attempts each" in lines
    assert "tune tuned: from base, learns at most 24 harvest, at most 48 review" in lines
    assert "capture signal: teacher's view of review, sampled" in lines
    assert "data lessons: 192 problems of arith:sums?terms=2&digits=1-2 (192 to train on, 192 with a solution)" in lines
    sits = "base, teacher, rl, rl-random, rl-format, rl-rft, tuned, student, on-policy"
    assert f"exam {sits}: 9 models × 40 problems, at most 8,640 tokens" in lines
    assert any(line.startswith("after-rl ") and "tokens sampled" in line for line in lines)
    assert "answers that grow" in text


def test_moments_in_8_bits_and_models_in_16_take_less(tmp_path: Path) -> None:
    data = {"d": {"task": "arith:sums?terms=2&digits=1-2", "problems": 20}}
    large = "tiny:0?layers=4&hidden=512&heads=8&kv_heads=8"

    def told(**step: object) -> tuple[str, dict[str, Any]]:
        table = {"kind": "tune", "name": "s", "from": "m", "learns": ["d"], **step}
        recipe = recipe_of({"name": "r", "models": {"m": {"source": large}}, "data": data, "steps": [table]})
        return plan_recipe(recipe, cache=tmp_path)[:2]

    said, plain = told()
    narrow_said, narrow = told(train={"moments": "8bit"})
    _, half = told(save_dtype="bfloat16")
    assert "moments in 8 bits" not in said
    assert "moments in 8 bits" in narrow_said
    weights = (plain["disk_bytes"] - half["disk_bytes"]) // 2  # a model in 4 bytes a weight or in 2
    assert weights > 1e7
    for what in ("disk_bytes", "memory_bytes"):
        spared = plain[what] - narrow[what] if what == "disk_bytes" else plain[what]["s"] - narrow[what]["s"]
        assert 5.9 * weights < spared < 6.0 * weights  # of 8 bytes a weight 2.03 are left, but for norms


def test_a_plan_without_steps_says_nothing_of_rewards_and_trains_nothing() -> None:
    text = plan_of("tiny", "steps=[]")
    for word in ("Reinforcement", "tokens trained", "disk"):
        assert word not in text
    assert "exam" in text


def test_a_plan_without_an_exam_says_nothing_of_one() -> None:
    tune = {"kind": "tune", "name": "t", "from": "base", "learns": ["a"]}
    data = {"a": {"task": "arith:sums", "problems": 8}}
    recipe = recipe_of({"name": "r", "models": {"base": {"source": "tiny:0"}}, "data": data, "steps": [tune]})
    text, _, faults = plan_recipe(recipe, cache=default_cache())
    assert faults == []
    assert "seal" not in text
    assert "tokens trained" in text


def test_a_licence_that_is_not_known_is_asked_for() -> None:
    served = 'models.far={ endpoint = "http://127.0.0.1:1/v1", model = "m" }'
    assert "models.far" not in plan_of("tiny", served)  # nothing is made with it
    recipe = load_recipe("tiny", [served])[0].to_json()
    lessons = next(step for step in recipe["steps"] if step["kind"] == "sample")
    lessons["from"] = "far"
    text = " ".join(plan_recipe(recipe_of(recipe), cache=default_cache())[0].split())
    assert "m (outputs), LicenseRef-unknown: not known here: to be read and stated" in text
    assert 'no release without a licence: state it ([models.far] licence = "MIT")' in text


def test_the_bytes_of_a_file_are_told_and_no_resume_point_of_it(tmp_path: Path) -> None:
    value: dict[str, Any] = {
        "name": "r",
        "models": {"base": {"source": "tiny:0?hidden=64&heads=4&kv_heads=2"}},
        "steps": [{"kind": "quantise", "name": "q", "from": "base", "to": "q4_0"}],
    }
    text, told, faults = plan_recipe(recipe_of(value), cache=tmp_path)
    assert faults == []
    assert "quantise  q: base as Q4_0: 0.1 MB of tensors" in text
    assert told["disk_bytes"] == 74_256  # the file's tensors alone
