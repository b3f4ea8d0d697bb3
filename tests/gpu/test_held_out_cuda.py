"""Held-out sums on a GPU: half precision there against float32 here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_student import sums_problems, tiny_student, worked_documents

from spiritsafe.distil.evaluation.held_out import held_out
from spiritsafe.models import load_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 3e-2)])
def test_sums_are_those_of_the_cpu(dtype: torch.dtype, tolerance: float, tmp_path: Path) -> None:
    student, teacher = tiny_student(tmp_path), tiny_student(tmp_path, seed=2)
    documents = worked_documents(student, sums_problems(5))
    here = held_out(student, documents, teacher=teacher)
    there = held_out(
        load_model(student.directory, dtype=dtype, device="cuda"),
        documents,
        teacher=load_model(teacher.directory, dtype=dtype, device="cuda"),
    )
    assert there.nll == pytest.approx(here.nll, rel=tolerance)
    assert there.kl == pytest.approx(here.kl, rel=10 * tolerance)
    assert (there.num_tokens, there.num_bytes) == (here.num_tokens, here.num_bytes)
