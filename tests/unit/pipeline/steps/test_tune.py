from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from easy_task import EasyTask
from pipeline_parts import context_after, stage_at

from spiritsafe.core.errors import BudgetError, RecipeError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import ChatFormat, verify_checkpoint
from spiritsafe.pipeline.context import RunContext, in_vocabulary, read_traces
from spiritsafe.pipeline.plan.memory import Beside
from spiritsafe.pipeline.stages.sets import chosen_traces
from spiritsafe.pipeline.stages.source import load_reader, model_directory, type_to_save
from spiritsafe.pipeline.steps import sample as sampling
from spiritsafe.pipeline.steps import tune as tuning
from spiritsafe.pipeline.steps.sample import SampleStep, sample_answers
from spiritsafe.pipeline.steps.tune import TuneStep, tune_model
from spiritsafe.tasks import split_of


def tuned_of(context: RunContext) -> TuneStep:
    step = context.recipe.node("tuned").recipe
    assert isinstance(step, TuneStep)
    return step


def test_the_base_is_tuned_on_what_there_is(tiny_run: Path) -> None:
    stage = next(tiny_run.glob("stages/*-tuned"))
    harvest = read_traces(next(tiny_run.glob("stages/*-harvest/traces.jsonl")))
    result = read_json(stage / "done.json")["result"]
    assert result["documents"] == {"harvest": min(8, len(harvest)), "review": 16}
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
    monkeypatch.setattr(sampling, "task_of", lambda *_: EasyTask("arith:sums?terms=2&digits=1-2"))
    harvest = context.recipe.node("harvest").recipe
    assert isinstance(harvest, SampleStep)
    stage = stage_at(tmp_path / "17-harvest")
    result = sample_answers(harvest.model_copy(update={"num_samples": 24}), context, stage, NullSink())
    kept = read_traces(stage.path / "traces.jsonl")
    assert 0 < len(kept) == result["verified"]
    assert {split_of(trace.problem) for trace in kept} == {"train"}
    assert all(len(trace.text) % 2 == 0 for trace in kept)
    stage.finish(result, scratch=("attempts",))
    context.done["harvest"] = stage
    counts = tune_model(tuned_of(context), context, stage_at(tmp_path / "18-tuned"), NullSink())["documents"]
    assert counts == {"harvest": min(8, len(kept)), "review": 16}


def test_tokens_of_another_vocabulary_are_read_as_text(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    own = ChatFormat(model_directory(context, "teacher")).vocab_fingerprint
    traces = list(chosen_traces(context, {"lessons": 2})["lessons"])
    drawn = [replace(trace, token_ids=(5, 6), vocabulary=own) for trace in traces]
    assert list(in_vocabulary(drawn, own)) == drawn
    assert list(in_vocabulary(drawn, "sha256:other")) == traces


def test_what_is_saved_in_half_precision_is_what_sits_and_what_goes_on(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, tuned={"save_dtype": "bfloat16", "learns": {"review": 2}})
    stage = stage_at(tmp_path / "18-tuned")
    result = tune_model(tuned_of(context), context, stage, NullSink())
    stage.finish(result, scratch=("training",))
    context.done["tuned"] = stage
    checkpoint = verify_checkpoint(model_directory(context, "tuned"))
    assert checkpoint.digest == result["digest"]
    assert checkpoint.weight_bytes == 2 * checkpoint.num_parameters
    assert read_json(stage.path / "model" / "config.json")["dtype"] == "bfloat16"
    assert type_to_save(context, "tuned", "auto") == torch.bfloat16
    assert type_to_save(context, "base", "auto") == torch.float32
    saved = load_reader(context, "tuned").model  # as an exam, a teacher or a next step gets it
    assert all(torch.equal(weight, weight.to(torch.bfloat16).float()) for weight in saved.parameters())


def test_nothing_to_learn_from_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, tuned={"learns": {"harvest": 4}})
    empty = stage_at(tmp_path / "17-harvest")
    (empty.path / "traces.jsonl").write_text("")
    context.done["harvest"] = empty
    with pytest.raises(RecipeError, match="no answer to tune"):
        tune_model(tuned_of(context), context, stage_at(tmp_path / "18-tuned"), NullSink())


def test_the_check_of_memory_knows_the_adapters(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path, "steps.tuned.lora={ rank = 4 }")
    step = tuned_of(context)
    assert step.lora is not None

    def check(*args: object, beside: Beside, **more: Any) -> None:
        assert beside.lora == step.lora
        raise BudgetError("seen", hint="")

    monkeypatch.setattr(tuning, "fit_memory", check)
    with pytest.raises(BudgetError, match="seen"):
        tune_model(step, context, stage_at(tmp_path / "18-tuned"), NullSink())
