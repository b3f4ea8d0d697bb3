"""Adapters in the training loop: what is updated, what is kept, killed runs, two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lora_program import CONFIG, DOCUMENTS, LORA, adapted, run
from places import SUPPORT
from tiny_training import tiny_decoder
from torch import Tensor

from spiritsafe.core.errors import IntegrityError
from spiritsafe.models.interface.batch import pack_documents
from spiritsafe.models.lora.adapters import LoraBase, lora_state, num_trainable
from spiritsafe.models.lora.decoder_adapters import num_lora_parameters
from spiritsafe.training.checkpoints.state import STATE_FILE, weights_fingerprint
from spiritsafe.training.objective import TracesObjective
from spiritsafe.training.optimiser import AdamW

PROGRAM = SUPPORT / "lora_program.py"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def program(what: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), what, str(directory)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_adapters_learn_and_the_weights_stay(tmp_path: Path) -> None:
    model, result = run(tmp_path, learning_rate=3e-2)
    untouched = dict(tiny_decoder().named_parameters())
    for name, parameter in model.named_parameters():
        if name in untouched:
            assert torch.equal(parameter, untouched[name])
            assert parameter.grad is None
    assert all(bool(tensor.any()) for tensor in lora_state(model).values())
    assert result.curve[-1]["loss"] < 0.85 * result.curve[0]["loss"]
    assert result.curve[-1]["changed_share"] > 0.97


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masters_and_moments_are_the_adapters_only(dtype: torch.dtype) -> None:
    model = adapted()
    count = num_lora_parameters(model.config, LORA)
    optimiser = AdamW(model, CONFIG, dtype)
    for kind in (optimiser.masters, optimiser.gradients, optimiser.moments, optimiser.second_moments):
        assert sum(tensor.numel() for tensor in kind) == count == num_trainable(model)
        assert {tensor.dtype for tensor in kind} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert all(name.startswith("blocks.") and ".lora." in name for name in optimiser.names)


def test_bfloat16_adapters_learn_from_float32_masters(tmp_path: Path) -> None:
    model, result = run(tmp_path, compute_dtype="bfloat16", learning_rate=3e-2)
    assert result.curve[-1]["loss"] < 0.85 * result.curve[0]["loss"]
    adapters = lora_state(model).values()
    assert {tensor.dtype for tensor in adapters} == {torch.float32}
    assert not all(torch.equal(tensor, tensor.bfloat16().float()) for tensor in adapters)  # they are the masters
    before = {name: p for name, p in adapted().named_parameters() if ".lora." not in name}
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)


def test_a_frozen_head_costs_no_weight_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tensor] = []
    monkeypatch.setattr(
        "spiritsafe.training.chunked_head.add_weight_gradient", lambda buffer, *factors: calls.append(buffer)
    )
    batch = pack_documents(DOCUMENTS[:4])
    model = adapted()
    TracesObjective()(model, batch, 10.0)
    assert calls == []
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {
        name for name, p in model.named_parameters() if ".lora." in name
    }
    TracesObjective()(plain := tiny_decoder(), batch, 10.0)
    assert [buffer.shape for buffer in calls] == [plain.head().weight_VH.shape]


def test_killed_and_resumed_equals_unbroken_bit_for_bit(tmp_path: Path) -> None:
    killed = program("killed", tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = torch.load(tmp_path / "killed" / STATE_FILE, weights_only=True)
    assert state["step"] == 4
    assert all(".lora." in name for name in state["names"])
    assert sum(tensor.numel() for tensor in state["masters"]) == num_trainable(adapted())
    resumed, result = run(tmp_path / "killed")
    unbroken, expected = run(tmp_path / "unbroken")
    assert [row["loss"] for row in result.curve] == [row["loss"] for row in expected.curve]
    for mine, theirs in zip(resumed.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("change", [{"alpha": 9.0}, {"seed": 4}, {"rank": 5}, {"targets": ("q", "k")}])
def test_a_run_with_other_adapters_is_another_run(change: dict[str, object], tmp_path: Path) -> None:
    run(tmp_path, max_steps=2)
    other = adapted(LORA.model_copy(update=change))
    assert weights_fingerprint(other) != weights_fingerprint(adapted()) != weights_fingerprint(tiny_decoder())
    with pytest.raises(IntegrityError, match="another run"):
        run(tmp_path, other, max_steps=2)


def test_the_base_under_adapters_is_told_by_its_own_weights() -> None:
    model = adapted()
    before = weights_fingerprint(LoraBase(model))
    for tensor in lora_state(model).values():
        tensor.add_(1.0)
    assert weights_fingerprint(LoraBase(model)) == before == weights_fingerprint(tiny_decoder())


def test_two_processes_train_adapters_as_one(tmp_path: Path) -> None:
    done = program("pair", tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    alone, _ = run(tmp_path / "alone")
    for mode in ("ddp", "fsdp"):
        together = torch.load(tmp_path / f"{mode}.pt")
        for name, parameter in alone.named_parameters():  # the same sums in another order
            torch.testing.assert_close(together[name], parameter, rtol=0.0, atol=5e-5)
