from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pipeline_parts import context_after

from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.distil.signal import document_key
from spiritsafe.models import Document, LoadedModel, load_model
from spiritsafe.pipeline.context import RunContext, Traces
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.capture import open_signal
from spiritsafe.pipeline.stages.sets import chosen_traces
from spiritsafe.pipeline.stages.training import documents_of


def learnt(context: RunContext, teacher: LoadedModel) -> Sequence[Document]:
    """What the student of the signal reads."""
    sets = chosen_traces(context, ("review", "sampled"))
    return documents_of(teacher, Traces.joined(list(sets.values())))


def test_the_signal_holds_every_document_of_its_students(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    teacher = load_model(next(tiny_run.glob("stages/*-teacher/model")), dtype=torch.float32, device="cpu")
    cache = open_signal(context, "signal", teacher.checkpoint, teacher.chat)
    documents = learnt(context, teacher)
    assert documents
    assert all(document_key(document.token_ids) in cache for document in documents)
    check = read_json(context.stage("signal").path / "check.json")
    assert check["passed"]
    assert check["num_rows"] > 0


def test_another_teacher_and_a_damaged_file_are_refused_by_name(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    teacher = load_model(next(tiny_run.glob("stages/*-teacher/model")), dtype=torch.float32, device="cpu")
    with pytest.raises(CompatibilityError, match="teacher"):
        open_signal(context, "signal", teacher.checkpoint.model_copy(update={"digest": "sha256:00"}), teacher.chat)
    copy = tmp_path / "19-signal"
    shutil.copytree(context.stage("signal").path, copy)
    shard = max((path for path in (copy / "cache").iterdir()), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    damaged = replace(context, done=context.done | {"signal": StageDirectory(copy, {})})
    documents = learnt(context, teacher)
    keys = [document_key(document.token_ids) for document in documents]

    def read_all() -> None:
        cache = open_signal(damaged, "signal", teacher.checkpoint, teacher.chat)
        for key in keys:
            cache.document(key)

    with pytest.raises(IntegrityError, match=shard.name):
        read_all()
