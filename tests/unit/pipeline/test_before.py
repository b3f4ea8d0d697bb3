from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline_parts import context_after, stage_at
from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files import read_json
from spiritsafe.models import Document, LoadedModel, load_model
from spiritsafe.pipeline import before
from spiritsafe.pipeline.before import audit_stage, ease_memory, fit_memory
from spiritsafe.pipeline.memory import Beside, MemoryCheck
from spiritsafe.pipeline.teach import documents_of
from spiritsafe.pipeline.traces import worked_traces


@pytest.fixture
def teacher(tiny_run: Path) -> LoadedModel:
    return load_model(next(tiny_run.glob("stages/*-teach/model")), dtype=torch.float32, device="cpu")


def test_every_training_stage_leaves_its_audit(tiny_run: Path) -> None:
    found = {path.parent.name[3:]: read_json(path) for path in tiny_run.glob("stages/*/audit.json")}
    assert set(found) == {"teach", "tuned", "student", "on-policy"}
    for report in found.values():
        assert report["ends_supervised"] == report["num_documents"] > 0
    assert found["student"]["prompt"]["same_tokens"] is True


def test_a_document_without_its_end_stops_the_stage(tiny_run: Path, tmp_path: Path, teacher: LoadedModel) -> None:
    context = context_after(tiny_run, tmp_path)
    traces = worked_traces(context, "teach")
    documents = [
        Document(token_ids=d.token_ids, supervised=(*d.supervised[:-1], False)) for d in documents_of(teacher, traces)
    ]
    stage = stage_at(tmp_path / "04-teach")
    with pytest.raises(CompatibilityError, match="end"):
        audit_stage(stage, teacher, documents, traces, context.recipe.teach.train, NullSink())
    assert read_json(stage.path / "audit.json")["findings"]


def test_what_does_not_fit_is_planned_again_and_stays_so(
    tiny_run: Path, tmp_path: Path, teacher: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path)
    documents = documents_of(teacher, worked_traces(context, "teach"))
    config = context.recipe.teach.train
    wish = [512, 700]

    def check(*args: object, **kwargs: object) -> MemoryCheck:
        return MemoryCheck(
            micro_batch_tokens=wish.pop(0), checkpointing=True, predicted_bytes=1, available_bytes=2, note="smaller"
        )

    monkeypatch.setattr(before, "check_memory", check)
    stage = stage_at(tmp_path / "04-teach")
    for _ in range(2):  # the second call is a resumed run's
        found = fit_memory(stage, teacher, documents, config, NullSink(), device=torch.device("cpu"), beside=Beside())
        assert found == config.model_copy(update={"micro_batch_tokens": 512})
    assert teacher.model.activation_checkpointing is True


def test_what_can_never_fit_is_refused_before_it_starts(tiny_run: Path, tmp_path: Path, teacher: LoadedModel) -> None:
    context = context_after(tiny_run, tmp_path)
    documents = documents_of(teacher, worked_traces(context, "teach"))
    with pytest.raises(BudgetError, match="available"):
        fit_memory(
            stage_at(tmp_path / "04-teach"),
            teacher,
            documents,
            context.recipe.teach.train,
            NullSink(),
            device=torch.device("cpu"),
            beside=Beside(other_bytes=1 << 50),
        )


def test_after_memory_ran_out_the_same_stage_goes_on_with_less(
    tiny_run: Path, tmp_path: Path, teacher: LoadedModel
) -> None:
    context = context_after(tiny_run, tmp_path)
    documents = documents_of(teacher, worked_traces(context, "teach"))
    config = context.recipe.teach.train
    stage = stage_at(tmp_path / "04-teach")
    assert ease_memory(stage) is None  # nothing was chosen yet
    device = torch.device("cpu")
    first = fit_memory(stage, teacher, documents, config, NullSink(), device=device, beside=Beside())
    eased = ease_memory(stage)
    assert eased is not None
    again = fit_memory(stage, teacher, documents, config, NullSink(), device=device, beside=Beside())
    longest = max(len(document.token_ids) for document in documents)
    assert longest <= again.micro_batch_tokens < first.micro_batch_tokens
    assert again.micro_batch_tokens == eased.micro_batch_tokens
