from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pipeline_parts import context_after

from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.distil.signal import document_key
from spiritsafe.models import load_model
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.capture import open_cache
from spiritsafe.pipeline.stages.traces import student_traces
from spiritsafe.pipeline.stages.training import documents_of


def test_the_cache_holds_every_document_of_the_cached_students(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    teacher = load_model(next(tiny_run.glob("stages/*-teach/model")), dtype=torch.float32, device="cpu")
    student = context.recipe.students[0]
    cache = open_cache(context, teacher.checkpoint, teacher.chat)
    documents = documents_of(teacher, student_traces(context, student.traces, student.problems))
    assert documents
    assert all(document_key(document.token_ids) in cache for document in documents)
    check = read_json(context.stage("capture").path / "check.json")
    assert check["passed"]
    assert check["num_rows"] > 0


def test_another_teacher_and_a_damaged_file_are_refused_by_name(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    teacher = load_model(next(tiny_run.glob("stages/*-teach/model")), dtype=torch.float32, device="cpu")
    with pytest.raises(CompatibilityError, match="teacher"):
        open_cache(context, teacher.checkpoint.model_copy(update={"digest": "sha256:00"}), teacher.chat)
    copy = tmp_path / "06-capture"
    shutil.copytree(context.stage("capture").path, copy)
    shard = max((path for path in (copy / "cache").iterdir()), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    damaged = replace(context, done=context.done | {"capture": StageDirectory(copy, {})})
    student = context.recipe.students[0]
    documents = documents_of(teacher, student_traces(context, student.traces, student.problems))
    keys = [document_key(document.token_ids) for document in documents]

    def read_all() -> None:
        cache = open_cache(damaged, teacher.checkpoint, teacher.chat)
        for key in keys:
            cache.document(key)

    with pytest.raises(IntegrityError, match=shard.name):
        read_all()
