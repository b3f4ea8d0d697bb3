from __future__ import annotations

from pathlib import Path

import pytest
from easy_task import EasyTask
from pipeline_parts import context_after, stage_at

from spiritsafe.core.errors import BudgetError, RecipeError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import ChatFormat, verify_checkpoint
from spiritsafe.pipeline.context import in_vocabulary, read_traces
from spiritsafe.pipeline.plan.memory import Beside
from spiritsafe.pipeline.stages import traces as traces_module
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.pipeline.stages.traces import tune_traces
from spiritsafe.pipeline.steps import sample as sampling
from spiritsafe.pipeline.steps import tune as tuning
from spiritsafe.pipeline.steps.sample import SampleStep, sample_for
from spiritsafe.pipeline.steps.tune import TuneStep, tune_model
from spiritsafe.tasks import split_of


def test_the_base_is_tuned_on_what_there_is(tiny_run: Path) -> None:
    stage = next(tiny_run.glob("stages/*-tuned"))
    harvest = read_traces(next(tiny_run.glob("stages/*-harvest/traces.jsonl")))
    result = read_json(stage / "done.json")["result"]
    assert result["documents"] == {"harvest": min(8, len(harvest)), "worked": 16}
    parents = verify_checkpoint(stage / "model").parents
    assert [(parent.name, parent.used_as) for parent in parents] == [
        ("tiny-0", ("weights",)),
        ("tiny-rl", ("outputs",)),
    ]
    assert read_json(stage / "audit.json")["num_documents"] == sum(result["documents"].values())


def test_verified_attempts_of_a_step_are_learnt_from(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path)
    monkeypatch.setattr(traces_module, "load_task", EasyTask)
    monkeypatch.setattr(sampling, "load_task", EasyTask)
    harvest, tuned = (step for step in context.recipe.steps[1:])
    assert isinstance(harvest, SampleStep)
    assert isinstance(tuned, TuneStep)
    stage = stage_at(tmp_path / "10-harvest")
    result = sample_for(harvest.model_copy(update={"num_samples": 24}), context, stage, NullSink())
    kept = read_traces(stage.path / "traces.jsonl")
    assert 0 < len(kept) == result["verified"]
    assert {split_of(trace.problem) for trace in kept} == {"train"}
    assert all(len(trace.text) % 2 == 0 for trace in kept)
    stage.finish(result, scratch=("attempts",))
    context.done["harvest"] = stage
    counts = tune_model(tuned, context, stage_at(tmp_path / "11-tuned"), NullSink())["documents"]
    assert counts == {"harvest": min(8, len(kept)), "worked": 16}


def test_tokens_of_another_vocabulary_are_read_as_text(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    own = ChatFormat(model_directory(context, "teacher")).vocab_fingerprint
    traces = [trace for part in tune_traces(context, {"worked": 2}).values() for trace in part]
    drawn = [type(t)(problem=t.problem, text=t.text, token_ids=(5, 6), vocabulary=own) for t in traces]
    assert list(in_vocabulary(drawn, own)) == drawn
    assert list(in_vocabulary(drawn, "sha256:other")) == traces


def test_a_set_gives_the_same_answers_whoever_asks_for_more(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    few, many = (tune_traces(context, {"worked": count})["worked"] for count in (3, 9))
    assert list(few) == list(many)[:3]


def test_worked_solutions_of_another_task_are_a_set_too(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    value = context.recipe.to_json()
    value["steps"][1] = {
        "kind": "sample", "name": "harvest", "from": "worked", "task": "arith:sums?terms=3&digits=1", "problems": 12,
    }  # fmt: skip
    other = type(context)(
        recipe=type(context.recipe).from_json(value), run=context.run, watcher=context.watcher, cache=context.cache,
        done=context.done,
    )  # fmt: skip
    step = other.recipe.steps[1]
    assert isinstance(step, SampleStep)
    stage = stage_at(tmp_path / "10-harvest")
    assert sample_for(step, other, stage, NullSink())["verified"] == 12
    assert {t.problem.task for t in read_traces(stage.path / "traces.jsonl")} != {other.recipe.task.spec}


def test_nothing_to_learn_from_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    step = context.recipe.steps[2]
    assert isinstance(step, TuneStep)
    empty = stage_at(tmp_path / "10-harvest")
    (empty.path / "traces.jsonl").write_text("")
    context.done["harvest"] = empty
    with pytest.raises(RecipeError, match="no answer to tune"):
        tune_model(
            step.model_copy(update={"traces": {"harvest": 4}}), context, stage_at(tmp_path / "11-tuned"), NullSink()
        )


def test_the_check_of_memory_knows_the_adapters(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path, "steps.2.lora={ rank = 4 }")
    step = context.recipe.steps[2]
    assert isinstance(step, TuneStep)
    assert step.lora is not None

    def check(*args: object, beside: Beside, **more: object) -> None:
        assert beside.lora == step.lora
        raise BudgetError("seen", hint="")

    monkeypatch.setattr(tuning, "fit_memory", check)
    with pytest.raises(BudgetError, match="seen"):
        tune_model(step, context, stage_at(tmp_path / "11-tuned"), NullSink())
