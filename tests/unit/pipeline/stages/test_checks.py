from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pipeline_parts import context_after, stage_at
from stranger_models import write_mixtral

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.records import Message, Problem
from spiritsafe.distil import audit_documents
from spiritsafe.models import (
    ChatFormat,
    Document,
    LoadedModel,
    TransformersModel,
    load_model,
    read_model_config,
    resolve_source,
    size_of,
    write_tiny,
)
from spiritsafe.pipeline.context import RunContext, Trace, in_vocabulary, read_traces, write_traces
from spiritsafe.pipeline.plan import memory
from spiritsafe.pipeline.plan.memory import Beside, MemoryCheck
from spiritsafe.pipeline.recipe.training import TrainedRecipe
from spiritsafe.pipeline.stages import checks as before
from spiritsafe.pipeline.stages.checks import audit_stage, ease_memory, fit_memory
from spiritsafe.pipeline.stages.sets import set_traces
from spiritsafe.pipeline.stages.training import documents_of, documents_path
from spiritsafe.training import TrainConfig
from spiritsafe.training.data.feed import FixedFeed


@pytest.fixture
def teacher(tiny_run: Path) -> LoadedModel:
    return load_model(next(tiny_run.glob("stages/*-teacher/model")), dtype=torch.float32, device="cpu")


def how_to_train(context: RunContext) -> TrainConfig:
    step = context.recipe.node("teacher").recipe
    assert isinstance(step, TrainedRecipe)
    return step.train.config(10**6, epoch_tokens=10**4)


def test_every_training_stage_leaves_its_audit(tiny_run: Path) -> None:
    found = {path.parent.name[3:]: read_json(path) for path in tiny_run.glob("stages/*/audit.json")}
    assert set(found) == {"teacher", "tuned", "student", "on-policy"}
    for report in found.values():
        assert report["ends_supervised"] == report["num_documents"] > 0
    assert found["student"]["prompt"]["same_tokens"] is True


def test_a_document_without_its_end_stops_the_stage(tiny_run: Path, tmp_path: Path, teacher: LoadedModel) -> None:
    context = context_after(tiny_run, tmp_path)
    traces = set_traces(context, "lessons")
    documents = [
        Document(token_ids=d.token_ids, supervised=(*d.supervised[:-1], False)) for d in documents_of(teacher, traces)
    ]
    stage = stage_at(tmp_path / "09-teacher")
    with pytest.raises(CompatibilityError, match="end"):
        audit_stage(stage, teacher, documents, traces, how_to_train(context), NullSink())
    assert read_json(stage.path / "audit.json")["findings"]


def test_from_traces_to_the_first_step_no_token_is_held(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    write_tiny(tmp_path / "tiny", seed=0)
    chat = ChatFormat(tmp_path / "tiny")
    loaded: Any = SimpleNamespace(chat=chat, model=SimpleNamespace(max_context=4096, vocab_size=chat.vocab_size))
    config = TrainConfig(learning_rate=1.0, tokens_per_step=2048, micro_batch_tokens=1024, max_epochs=1)

    def drawn() -> Iterator[Trace]:
        for number in range(300):
            messages = (Message(role="user", content=f"{number}?"),)
            text = f"{number} " * 200
            yield Trace(
                problem=Problem(task="t", canonical_text=str(number), messages=messages),
                text=text,
                token_ids=(*chat.completion_ids(text[:600]), chat.end_id),
                vocabulary=chat.vocab_fingerprint,
            )

    stage = stage_at(tmp_path / "stage")
    write_traces(tmp_path / "traces.jsonl", drawn())
    audit_documents(chat, None, [], [], micro_batch_tokens=1)  # what is imported late is no part of this
    tracemalloc.start()
    traces = in_vocabulary(read_traces(tmp_path / "traces.jsonl").shuffled(1)[:290], chat.vocab_fingerprint)
    documents = documents_of(loaded, traces, documents_path(stage))
    report = audit_stage(stage, loaded, documents, traces, config, NullSink())
    feed = FixedFeed(documents, config, loaded.model)
    described, first = feed.describe(), feed.documents_of(0, loaded.model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.num_tokens > 150_000
    assert peak < 3_000_000  # as objects traces and documents are 57 bytes a token: 9,000,000
    assert first
    assert described == FixedFeed(list(documents), config, loaded.model).describe()


def test_finished_stages_leave_no_documents(tiny_run: Path) -> None:
    assert list(tiny_run.glob("stages/*/training/*.bin")) == []
    assert list(tiny_run.glob("stages/**/documents.bin")) == []
    assert not next(tiny_run.glob("stages/*-signal/training"), None)


def test_what_does_not_fit_is_planned_again_and_stays_so(
    tiny_run: Path, tmp_path: Path, teacher: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path)
    documents = documents_of(teacher, set_traces(context, "lessons"))
    config = how_to_train(context)
    wish = [512, 700]

    def check(*args: object, **kwargs: object) -> MemoryCheck:
        return MemoryCheck(
            micro_batch_tokens=wish.pop(0), checkpointing=True, predicted_bytes=1, available_bytes=2, note="smaller"
        )

    monkeypatch.setattr(before, "check_memory", check)
    stage = stage_at(tmp_path / "09-teacher")
    for _ in range(2):  # the second call is a resumed run's
        found = fit_memory(stage, teacher, documents, config, NullSink(), device=torch.device("cpu"), beside=Beside())
        assert found == config.model_copy(update={"micro_batch_tokens": 512})
    assert teacher.model.activation_checkpointing is True


def test_what_can_never_fit_is_refused_before_it_starts(tiny_run: Path, tmp_path: Path, teacher: LoadedModel) -> None:
    context = context_after(tiny_run, tmp_path)
    documents = documents_of(teacher, set_traces(context, "lessons"))
    with pytest.raises(BudgetError, match="available"):
        fit_memory(
            stage_at(tmp_path / "09-teacher"),
            teacher,
            documents,
            how_to_train(context),
            NullSink(),
            device=torch.device("cpu"),
            beside=Beside(other_bytes=1 << 50),
        )


def test_a_model_that_transformers_runs_is_fitted_by_what_a_pass_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve_source(str(write_mixtral(tmp_path / "m")), cache=tmp_path / "cache")
    loaded = load_model(source, dtype=torch.float32)
    assert isinstance(loaded.model, TransformersModel)
    documents = [Document(token_ids=(5,) * 100, supervised=(True,) * 100)] * 400
    config = TrainConfig(
        learning_rate=1e-3, tokens_per_step=40_000, micro_batch_tokens=40_000, max_epochs=1, compute_dtype="float32"
    )
    kept, _ = loaded.model.measure_activations()
    fixed = memory.Beside().settings(read_model_config(source), config, torch.device("cpu"))["process_bytes"]
    fixed += 16 * size_of(read_model_config(source)).num_parameters + (128 << 20)

    def fitted(name: str, room: int) -> TrainConfig:
        monkeypatch.setattr(memory, "available_bytes", lambda device: int(1.08 * (fixed + room)) + 2)
        device = torch.device("cpu")
        return fit_memory(
            stage_at(tmp_path / name), loaded, documents, config, NullSink(), device=device, beside=Beside()
        )

    assert fitted("01-roomy", 50_000 * kept).micro_batch_tokens == 40_000
    assert not loaded.model.activation_checkpointing
    assert 5_000 < fitted("02-narrow", 10_000 * kept).micro_batch_tokens < 15_000
    assert not loaded.model.activation_checkpointing
    assert fitted("03-tight", 80 * kept).micro_batch_tokens >= 100
    assert loaded.model.activation_checkpointing
    with pytest.raises(BudgetError):
        fitted("04-none", -fixed // 2)


def test_after_memory_ran_out_the_same_stage_goes_on_with_less(
    tiny_run: Path, tmp_path: Path, teacher: LoadedModel
) -> None:
    context = context_after(tiny_run, tmp_path)
    documents = documents_of(teacher, set_traces(context, "lessons"))
    config = how_to_train(context)
    stage = stage_at(tmp_path / "09-teacher")
    assert ease_memory(stage) is None  # nothing was chosen yet
    device = torch.device("cpu")
    first = fit_memory(stage, teacher, documents, config, NullSink(), device=device, beside=Beside())
    eased = ease_memory(stage)
    assert eased is not None
    again = fit_memory(stage, teacher, documents, config, NullSink(), device=device, beside=Beside())
    longest = max(len(document.token_ids) for document in documents)
    assert longest <= again.micro_batch_tokens < first.micro_batch_tokens
    assert again.micro_batch_tokens == eased.micro_batch_tokens
