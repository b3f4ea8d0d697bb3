from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finished_run import make_context
from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.records import Message, Problem
from spiritsafe.pipeline.context import Trace, read_traces, write_traces


def test_seeds_are_named(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    assert context.seed("a") == context.seed("a") != context.seed("b")
    assert make_context(tmp_path, "seed=8").seed("a") != context.seed("a")


def test_traces_survive_the_disk(tmp_path: Path) -> None:
    problem = Problem(task="t", canonical_text="1+1", messages=(Message(role="user", content="1+1?"),))
    traces = [Trace(problem=problem, text="2 \u2028 'ü'"), Trace(problem=problem, text="3", token_ids=(1, 2))]
    write_traces(tmp_path / "traces.jsonl", traces)
    assert read_traces(tmp_path / "traces.jsonl") == traces


def test_damaged_traces_are_named(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text('{"text": "no problem"}\n')
    with pytest.raises(SourceError, match="traces"):
        read_traces(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error of a machine without CUDA")
def test_asking_for_cuda_without_a_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError):
        _ = make_context(tmp_path, 'engine.device="cuda"').device
