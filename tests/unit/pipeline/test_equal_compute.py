from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finished_run import SilentWatcher
from pipeline_parts import context_after, stage_at

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import read_checkpoint
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.equal_compute import history, own, spent_on, spent_since, within_budget
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.made import BudgetRecipe
from spiritsafe.pipeline.run_directory import RunDirectory
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.training import TrainConfig

TRAIN = TrainConfig(learning_rate=1e-3, tokens_per_step=64, micro_batch_tokens=2048, max_epochs=10_000)


def test_stages_record_what_they_took(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    size = read_checkpoint(model_directory(context, "teacher")).num_parameters
    curve = read_json(context.stage("teacher").path / "curve.json")
    assert own(context, "teacher") == Compute.training(sum(row["tokens"] for row in curve), size)
    rounds = read_json(context.stage("rl-random").path / "rounds.json")
    updates = read_json(context.stage("rl-random").path / "curve.json")
    drawn, learnt = sum(row["num_tokens"] for row in rounds), sum(row["tokens"] for row in updates)
    assert drawn > 0
    assert learnt > drawn  # prompts are read again and again
    assert own(context, "rl-random") == Compute.generating(drawn, size) + Compute.training(learnt, size)
    assert own(context, "base") == own(context, "lessons") == Compute()
    student = own(context, "on-policy")
    assert student.read_tokens == student.trained_tokens > 0  # a live teacher reads along
    assert student.generated_tokens > 0


def test_what_was_spent_on_a_model_includes_its_answers_and_its_history_everything(
    tiny_run: Path, tmp_path: Path
) -> None:
    context = context_after(tiny_run, tmp_path)
    assert spent_on(context, "tuned") == own(context, "tuned") + own(context, "harvest")
    parts = ("teacher", "rl", "harvest", "tuned")
    assert history(context, "tuned") == Compute.total(own(context, name) for name in parts)
    assert spent_on(context, "student") == Compute.total(
        own(context, name) for name in ("student", "sampled", "signal")
    )
    assert own(context, "signal").read_tokens > 0
    assert history(context, "rl-rft") == own(context, "teacher") + own(context, "rl-rft")


def test_a_budget_sets_the_tokens_and_nearer_limits_hold(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    train = TRAIN
    budget = BudgetRecipe(of="rl-random", share=0.5)
    size = read_checkpoint(model_directory(context, "teacher")).num_parameters
    found = within_budget(context, train, budget, ("lessons",), num_parameters=size)
    spent = spent_on(context, "rl-random").flops
    assert found.max_tokens == spent // 2 // (6 * size)
    with_teacher = within_budget(context, train, budget, (), num_parameters=size, teacher_parameters=size)
    assert with_teacher.max_tokens == spent // 2 // (8 * size)
    after_drawing = within_budget(context, train, budget, ("harvest",), num_parameters=size)
    assert after_drawing.max_tokens == (spent // 2 - own(context, "harvest").flops) // (6 * size)
    near = train.model_copy(update={"max_tokens": 10})
    assert within_budget(context, near, budget, (), num_parameters=size).max_tokens == 10
    assert within_budget(context, train, None, (), num_parameters=size) == train


def test_a_budget_that_is_spent_before_training_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    with pytest.raises(BudgetError, match="not one step"):
        within_budget(
            context,
            TRAIN,
            BudgetRecipe(of="rl", share=1e-3),
            ("harvest",),
            num_parameters=10**6,
        )


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ({"from": ["a", "b"], "method": "ties"}, {"a", "b"}),  # since the base that both went on from
        ({"from": ["a", "b"], "method": "linear"}, {"a", "b"}),
        ({"from": ["a", "c"], "method": "ties"}, {"a", "c"}),  # a is c's beginning: it was trained once
        ({"from": ["c", "b"], "method": "linear"}, {"a", "c", "b"}),
        ({"from": ["a", "b"], "method": "ties", "base_model": "base"}, {"a", "b", "common"}),
    ],
)
def test_what_a_merged_model_took_is_what_its_parts_took(
    merge: dict[str, Any], expected: set[str], tmp_path: Path
) -> None:
    """Each model took another power of two, so that a sum says which are in it."""
    starts = {"common": "base", "a": "common", "b": "common", "c": "a", "d": "m"}
    steps = [{"kind": "tune", "name": name, "from": start, "learns": ["sums"]} for name, start in starts.items()]
    recipe = recipe_of(
        {
            "name": "r",
            "models": {"base": {"source": "tiny:0"}},
            "data": {"sums": {"task": "arith:sums", "problems": 8}},
            "steps": [*steps, {"kind": "merge", "name": "m", **merge}],
        }
    )
    took = {name: 2**place for place, name in enumerate(starts)}
    done = {}
    for node in recipe.nodes:
        done[node.name] = stage_at(tmp_path / node.name)
        done[node.name].finish({"compute": Compute(flops=took.get(node.name, 0)).to_json()})
    run = RunDirectory(tmp_path, recipe.name, recipe.resolved())
    context = RunContext(recipe=recipe, run=run, watcher=SilentWatcher(), cache=tmp_path, done=done)

    def parts(flops: int) -> set[str]:
        return {name for name, size in took.items() if flops & size}

    since = "base" if merge.get("base_model") == "base" else "common"
    assert parts(spent_since(context, "m", since).flops) == expected
    assert spent_since(context, "m", since).flops == sum(took[name] for name in expected)
    assert parts(spent_since(context, "d", since).flops) == {"d", *expected}
    assert history(context, "m").flops == sum(took[name] for name in {*expected, "common"})
