"""Fifty steps of a 2-layer model, against the curve that is kept beside this file.

A refactor leaves the curve as it is. A wanted change writes it anew with ``python tests/golden/test_tiny_training.py``
in a commit that says why. Numbers agree to a relative 1e-3: processors round their sums differently.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from places import SUPPORT

sys.path.insert(0, str(SUPPORT))  # so that the file also runs as a script

from tiny_training import counting_documents, one_thread, tiny_decoder

from spiritsafe.distil import DistilObjective, LiveTeacher, LossMix
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.training import Objective, TracesObjective, TrainConfig, TrainResult, train

GOLDEN = Path(__file__).parent
DOCUMENTS = counting_documents(48, seed=3)
CONFIG = TrainConfig(
    learning_rate=5e-3,
    tokens_per_step=200,
    micro_batch_tokens=200,
    max_steps=50,
    weight_decay=0.1,
    compute_dtype="float32",
    checkpoint_every_s=None,
)
KEPT = ("loss", "grad_norm", "learning_rate", "tokens", "supervised_tokens")


def objective(name: str) -> Objective:
    if name == "traces":
        return TracesObjective()
    teacher = LiveTeacher(tiny_decoder(seed=11, hidden=48))
    return DistilObjective(teacher, LossMix(forward_kl=0.75, ce=0.25, temperature=1.5))


def run(name: str, directory: Path, **changes: object) -> tuple[Decoder, TrainResult]:
    model = tiny_decoder(seed=5)
    config = CONFIG.model_copy(update=changes)
    with one_thread():
        return model, train(model, DOCUMENTS, objective(name), config, directory=directory)


def curve(result: TrainResult) -> list[dict[str, float]]:
    return [{key: row[key] for key in KEPT} for row in result.curve]


@pytest.mark.parametrize("name", ["traces", "forward_kl"])
def test_curve_is_the_kept_one(name: str, tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / f"tiny_{name}.json").read_text("utf-8"))
    _, result = run(name, tmp_path)
    assert len(expected) == 50
    for mine, kept in zip(curve(result), expected, strict=True):
        assert mine == pytest.approx(kept, rel=1e-3)


@pytest.mark.parametrize("name", ["traces", "forward_kl"])
def test_accumulating_eight_micro_batches_equals_one(name: str, tmp_path: Path) -> None:
    one, reference = run(name, tmp_path / "1", micro_batch_tokens=1000, max_steps=20)
    eight, result = run(name, tmp_path / "8", micro_batch_tokens=32, max_steps=20)
    for mine, kept in zip(curve(result), curve(reference), strict=True):
        assert mine == pytest.approx(kept, rel=1e-3)
    for p, q in zip(one.parameters(), eight.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", ["traces", "forward_kl"])
def test_resumed_equals_unbroken_to_the_bit(name: str, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(model: object, step: int) -> dict[str, float]:
        if step == 33:
            raise Stopped
        return {}

    unbroken, reference = run(name, tmp_path / "a")
    often = CONFIG.model_copy(update={"checkpoint_every_steps": 10, "eval_every": 1})
    with pytest.raises(Stopped), one_thread():
        train(tiny_decoder(seed=5), DOCUMENTS, objective(name), often, directory=tmp_path / "b", evaluate=stop)
    resumed, result = run(name, tmp_path / "b")
    assert curve(result) == curve(reference)
    assert all(torch.equal(p, q) for p, q in zip(unbroken.parameters(), resumed.parameters(), strict=True))


def write() -> None:
    """Write both curves anew."""
    for name in ("traces", "forward_kl"):
        with tempfile.TemporaryDirectory() as directory:
            rows = curve(run(name, Path(directory))[1])
        lines = ",\n".join(json.dumps(row, sort_keys=True) for row in rows)
        (GOLDEN / f"tiny_{name}.json").write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    write()
