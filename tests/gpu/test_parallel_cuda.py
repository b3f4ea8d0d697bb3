"""Two processes on two GPUs against one process on one. Run ``pytest tests/gpu -m gpu`` where there are two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from parallel_program import RUNS
from places import SUPPORT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]

PROGRAM = SUPPORT / "parallel_program.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    for command in ([sys.executable], [*torchrun, "2"]):
        done = subprocess.run(
            [*command, str(PROGRAM), "cuda", str(root)], capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0, done.stderr[-8000:]
    return root


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", sorted(RUNS))
def test_two_gpus_train_as_one(runs: Path, name: str, mode: str) -> None:
    found, expected = (json.loads((runs / f"{name}-{who}" / "curve.json").read_text()) for who in (mode, "one"))
    tolerance = 5e-3 if name == "bfloat16" else 1e-4
    for row, other in zip(found, expected, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=tolerance)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=10 * tolerance)


@pytest.mark.parametrize("name", ["one-to-ddp", "one-to-fsdp", "ddp-to-fsdp", "fsdp-to-ddp"])
def test_checkpoints_go_on_on_other_gpus(runs: Path, name: str) -> None:
    found, expected = (json.loads((runs / who / "curve.json").read_text()) for who in (name, "tied-traces-one"))
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=1e-4)
