from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from cache_parts import tiny_documents, tiny_teacher

from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.distil.cache import CaptureConfig, capture, self_test


@pytest.mark.parametrize("config", [CaptureConfig(threshold=0.05), CaptureConfig(num_head=8, num_draws=4)])
def test_a_sound_cache_passes_and_says_how_well(tmp_path: Path, config: CaptureConfig) -> None:
    documents = tiny_documents(30)
    capture(tiny_teacher(), documents, config, tmp_path)
    report = self_test(tmp_path, tiny_teacher(), documents, num_documents=10)
    assert report.passed
    assert report.num_documents == 10
    assert report.mean_kl < 1e-4
    assert report.head_error < 0.02
    assert report.entropy_error < 5e-3
    assert report.largest_z is not None
    assert report.largest_z < 5
    assert "passed" in report.text()
    assert report == self_test(tmp_path, tiny_teacher(), documents, num_documents=10)


def test_a_cache_that_says_something_else_is_refused(tmp_path: Path) -> None:
    documents, teacher = tiny_documents(10), tiny_teacher()
    weight = teacher.model.head().weight_VH
    with torch.no_grad():
        before = weight.clone()
        weight.mul_(1.5)  # other weights under the same digest: what only a re-scoring can notice
        capture(teacher, documents, CaptureConfig(threshold=0.05), tmp_path)
        weight.copy_(before)
    with pytest.raises(IntegrityError, match="does not say what its teacher says"):
        self_test(tmp_path, teacher, documents)


def test_draws_that_favour_some_ids_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("spiritsafe.distil.cache.writer")
    documents = tiny_documents(60)
    honest = module.draw_offsets
    monkeypatch.setattr(module, "draw_offsets", lambda *args: honest(*args) * 0.02)  # always the first of each stretch
    capture(tiny_teacher(), documents, CaptureConfig(num_head=1, num_draws=1), tmp_path)
    with pytest.raises(IntegrityError, match="unbiasedness"):
        self_test(tmp_path, tiny_teacher(), documents, num_documents=60)


def test_other_documents_cannot_be_compared(tmp_path: Path) -> None:
    documents = tiny_documents(8)
    capture(tiny_teacher(), documents[:4], CaptureConfig(threshold=0.05), tmp_path)
    assert self_test(tmp_path, tiny_teacher(), documents).num_documents == 4
    with pytest.raises(CompatibilityError, match="None of the 4"):
        self_test(tmp_path, tiny_teacher(), documents[4:])
