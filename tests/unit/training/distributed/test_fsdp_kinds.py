"""Every kind of training comes to the same in two processes as in one, whole models and adapters, ddp and fsdp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from kinds_program import NAMES, STEPS
from places import SUPPORT

TIMES = {"seconds", "tokens_per_s", "feed_seconds"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs, once for all tests of this file."""
    root = tmp_path_factory.mktemp("kinds")
    command = [sys.executable, str(SUPPORT / "kinds_program.py"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-8000:]
    return root


def drawn(place: Path) -> list[list[int]]:
    """The tokens of every answer."""
    lines = [line for path in sorted(place.glob("rounds/round-*.jsonl")) for line in path.read_text().splitlines()]
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return [record["token_ids"] for record in records if "token_ids" in record]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_every_kind_as_one(runs: Path, name: str, mode: str) -> None:
    """To 1e-5 of a loss and 2e-6 of a weight: float32 sums in another order, through two updates.

    What is drawn on the way, and what an evaluation's engine answers, is the same to the token.
    """
    found, expected = runs / f"{name}-{mode}", runs / f"{name}-one"
    mine, theirs = (json.loads((place / "curve.json").read_text()) for place in (found, expected))
    assert len(mine) == len(theirs) == STEPS
    for row, other in zip(mine, theirs, strict=True):
        assert row.keys() == other.keys()
        assert row.get("evaluation") == other.get("evaluation")
        for key in other.keys() - TIMES - {"evaluation"}:
            assert row[key] == pytest.approx(other[key], rel=1e-4, abs=2e-6), key
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5, abs=1e-6)
    assert drawn(found) == drawn(expected)
    assert bool(drawn(expected)) == name.startswith(("on-policy", "reinforce"))
    weights, others = (torch.load(place / "weights.pt") for place in (found, expected))
    start: dict[str, Any] = torch.load(runs / "start.pt")
    assert weights.keys() == others.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(weight, others[key], rtol=0.0, atol=2e-6)
    moved = [key for key, weight in weights.items() if key not in start or not torch.equal(weight, start[key])]
    assert all("lora" in key for key in moved) == name.endswith("lora"), moved
