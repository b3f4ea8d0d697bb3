from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from easy_task import EasyTask
from finished_run import SilentWatcher
from pipeline_parts import context_after, stage_at
from safetensors.torch import load_file

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import BudgetError, RecipeError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import verify_checkpoint
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan import memory
from spiritsafe.pipeline.plan.memory import Beside
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.sets import problems_of
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.pipeline.steps import reinforce as reinforcing
from spiritsafe.pipeline.steps.reinforce import reinforce_model
from spiritsafe.tasks import GraderPool, split_of

SUMS = "arith:sums?terms=2&digits=1-2"


def node_of(context: RunContext, name: str) -> Node:
    return next(node for node in context.recipe.nodes if node.name == name)


def result_of(context: RunContext, name: str, stage: StageDirectory) -> dict[str, Any]:
    return dict(reinforce_model(node_of(context, name), context, stage, NullSink()))


@pytest.fixture
def easy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards that differ within a group."""
    monkeypatch.setattr(reinforcing, "task_of", lambda *_: EasyTask(SUMS))


def weights(stage: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(stage / "model" / "model.safetensors"))


def test_the_run_left_its_course(tiny_run: Path) -> None:
    for name in ("rl", "rl-random", "rl-format", "rl-rft"):
        stage = next(tiny_run.glob(f"stages/[0-9][0-9]-{name}"))
        rounds = read_json(stage / "rounds.json")
        assert [row["round"] for row in rounds] == [0, 1]
        assert all(row["num_prompts"] >= 4 for row in rounds)
        assert verify_checkpoint(stage / "model").parents[0].name == "tiny-teacher"
        assert not (stage / "training" / "state.pt").exists()
    stage = next(tiny_run.glob("stages/[0-9][0-9]-rl-random"))
    curve = read_json(stage / "curve.json")
    assert sum(row["tokens"] for row in curve) > 0


def test_controls_draw_the_same_first_answers(tiny_run: Path) -> None:
    """Alike but for the reward: the first round's answers are the same, and so are their verdicts."""
    texts = []
    for name in ("rl", "rl-random", "rl-format", "rl-rft"):
        path = next(tiny_run.glob(f"stages/[0-9][0-9]-{name}/training/rounds/round-00000.jsonl"))
        answers = [json.loads(line) for line in path.read_text("utf-8").splitlines()[2:]]
        texts.append([(a["problem_id"], a["text"], a["verdict"]["status"]) for a in answers[:16]])
    assert texts[0] == texts[1] == texts[2] == texts[3]
    assert len(texts[0]) == 16


def test_a_model_that_earns_rewards_learns_in_place_and_again_the_same(
    tiny_run: Path, tmp_path: Path, easy: None
) -> None:
    context = context_after(tiny_run, tmp_path)
    first, second = stage_at(tmp_path / "a"), stage_at(tmp_path / "b")
    result = result_of(context, "rl", first)
    assert result["tokens"] > 0
    assert result["compute"]["trained_tokens"] == result["tokens"]
    before = weights(model_directory(context, "teacher").parent)
    after = weights(first.path)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert result_of(context, "rl", second)["digest"] == result["digest"]


def test_its_problems_are_of_its_own_part_of_the_train_bucket(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    pool = problems_of(context, ("pool",))
    assert {split_of(problem) for problem in pool} == {"train"}
    studied = {problem.id for problem in problems_of(context, ("lessons", "practice", "review", "field"))}
    assert len(pool) == 16
    assert not studied & {problem.id for problem in pool}


def test_adapters_learn_and_are_folded_in(tiny_run: Path, tmp_path: Path, easy: None) -> None:
    context = context_after(tiny_run, tmp_path, "steps.rl.lora={ rank = 4 }")
    stage = stage_at(tmp_path / "a")
    result = result_of(context, "rl", stage)
    full = context_after(tiny_run, tmp_path / "full")
    assert result["compute"]["flops"] < result_of(full, "rl", stage_at(tmp_path / "b"))["compute"]["flops"]
    before, after = weights(model_directory(context, "teacher").parent), weights(stage.path)
    assert before.keys() == after.keys()
    assert not any("lora" in name for name in after)
    assert (stage.path / "adapter" / "adapter_model.safetensors").is_file()
    layer = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(before[layer].float(), after[layer].float())
    embedding = "model.embed_tokens.weight"
    assert torch.equal(before[embedding].float(), after[embedding].float())


def test_a_reference_keeps_the_model_near_and_counts_as_reading(tiny_run: Path, tmp_path: Path, easy: None) -> None:
    context = context_after(tiny_run, tmp_path, "steps.rl.config.loss.kl_weight=0.1")
    result = result_of(context, "rl", stage_at(tmp_path / "a"))
    assert result["compute"]["read_tokens"] == result["tokens"] > 0
    curve = read_json(tmp_path / "a" / "curve.json")
    assert any("kl_reference" in row for row in curve)


def test_worker_processes_grade_alike(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[object] = []

    class Watched:
        def __init__(self, task: object, **options: Any) -> None:
            self._pool = GraderPool(task, **options)  # type: ignore[arg-type]
            pools.append(options)

        def __enter__(self) -> GraderPool:
            return self._pool

        def __exit__(self, *_: object) -> None:
            self._pool.close()

    monkeypatch.setattr(reinforcing, "GraderPool", Watched)
    context = context_after(tiny_run, tmp_path, "steps.rl.graders=1")
    result_of(context, "rl", stage_at(tmp_path / "a"))
    assert pools == [{"num_workers": 1}]

    def told(stage: Path) -> list[Any]:
        return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in read_json(stage / "rounds.json")]

    assert told(tmp_path / "a") == told(context.stage("rl").path)


def test_a_start_that_is_not_ready_is_warned_of(tiny_run: Path, tmp_path: Path) -> None:
    heard: list[str] = []

    class Ear(SilentWatcher):
        def metrics(self, kind: str, values: dict[str, JSON]) -> None:
            if kind == "not_ready":
                heard.append(str(values["text"]))

    context = context_after(tiny_run, tmp_path)
    result = reinforce_model(node_of(context, "rl"), context, stage_at(tmp_path / "a"), Ear())
    assert heard == result["warnings"]
    assert any("pass@4" in text for text in heard)


def test_a_pool_that_teaches_nothing_stops_a_run_but_not_a_control(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hopeless = ("steps.rl.config.num_rounds=6", "steps.rl.config.refills=0")
    context = context_after(tiny_run, tmp_path, *hopeless)
    with pytest.raises(RecipeError, match="advantage"):
        result_of(context, "rl", stage_at(tmp_path / "a"))
    control = stage_at(tmp_path / "b")
    result = result_of(context, "rl-rft", control)
    assert "advantage" in str(result["ended_by"])
    assert result["tokens"] == 0
    start = weights(model_directory(context, "teacher").parent)
    assert all(torch.equal(value.float(), start[name].float()) for name, value in weights(control.path).items())


def test_what_can_never_fit_is_refused_before_it_draws(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path)
    monkeypatch.setattr(memory, "engine_bytes", lambda *args: 1 << 50)
    stage = stage_at(tmp_path / "a")
    with pytest.raises(BudgetError, match="available"):
        result_of(context, "rl", stage)
    assert not (stage.path / "training" / "rounds").exists()


def test_a_round_of_several_updates_reads_its_answers_once_more(tiny_run: Path, tmp_path: Path, easy: None) -> None:
    context = context_after(tiny_run, tmp_path, "steps.rl.config.steps_per_round=2")
    result = result_of(context, "rl", stage_at(tmp_path / "a"))
    assert result["compute"]["read_tokens"] == result["tokens"] > 0


def test_the_check_of_memory_knows_the_adapters(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path, "steps.rl.lora={ rank = 4 }")

    def check(*args: object, beside: Beside, **more: object) -> None:
        assert beside.lora is not None
        assert beside.longest_answer > 0
        raise BudgetError("seen", hint="")

    monkeypatch.setattr(reinforcing, "fit_memory", check)
    with pytest.raises(BudgetError, match="seen"):
        result_of(context, "rl", stage_at(tmp_path / "a"))
