from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from parallel_program import DOCUMENTS, RUNS
from places import SUPPORT

from spiritsafe.core.errors import CompatibilityError, ProcedureError, RecipeError
from spiritsafe.training.checkpoints.pieces import newest_pieces
from spiritsafe.training.checkpoints.state import STATE_FILE
from spiritsafe.training.distributed import processes as module
from spiritsafe.training.distributed.processes import Parallel, choose_mode, current_parallel, is_torchrun

PROGRAM = SUPPORT / "parallel_program.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that two processes did, once for all tests of this file."""
    root = tmp_path_factory.mktemp("runs")
    command = [sys.executable, str(PROGRAM), "all", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-8000:]
    return root


def curve(directory: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((directory / "curve.json").read_text())
    return rows


def assert_same_training(found: Path, expected: Path, *, half_precision: bool = False) -> None:
    """Losses and weights to 2e-6 of single precision.

    The processes' sums are the same numbers in another order: float32 rounds them to about 1e-7, and how depends on the
    processor. Adam would divide a gradient that is nearly zero by its own size and so make a step of its rounding; the
    runs' epsilon of 1e-3 leaves steps in proportion to the gradient. In bfloat16 each block's rounding is 4e-3.
    """
    mine, theirs = curve(found), curve(expected)
    assert len(mine) == len(theirs)
    for row, other in zip(mine, theirs, strict=True):
        for name in ("step", "epoch", "tokens", "supervised_tokens", "learning_rate"):
            assert row[name] == other[name]
        assert row["loss"] == pytest.approx(other["loss"], rel=2e-3 if half_precision else 2e-6)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=2e-2 if half_precision else 1e-5)
        assert row["update_ratio"] == pytest.approx(other["update_ratio"], rel=1e-3 if half_precision else 1e-5)
        assert row["changed_share"] == pytest.approx(other["changed_share"], rel=1e-2 if half_precision else 1e-3)
        assert set(row) == set(other)
        for name in {"ce", "forward_kl"} & set(other):
            assert row[name] == pytest.approx(other[name], rel=1e-2 if half_precision else 1e-5)
        if "accuracy" in other:  # a count of tokens: bfloat16 turns one or two of those that are nearly tied
            turned = 2.5 / other["supervised_tokens"] if half_precision else 0.0
            assert row["accuracy"] == pytest.approx(other["accuracy"], rel=1e-5, abs=turned)
        for name in {"entropy", "policy_loss", "ratio", "clipped_share", "gap", "kl_reference"} & set(other):
            assert row[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6)
    weights, others = torch.load(found / "weights.pt"), torch.load(expected / "weights.pt")
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert weight.dtype == others[name].dtype
        torch.testing.assert_close(weight, others[name], rtol=0.0, atol=1e-2 if half_precision else 2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", sorted(RUNS))
def test_two_processes_train_as_one(runs: Path, name: str, mode: str) -> None:
    assert_same_training(runs / f"{name}-{mode}", runs / f"{name}-one", half_precision=name == "bfloat16")


@pytest.mark.parametrize(
    "name", ["one-to-ddp", "one-to-fsdp", "ddp-to-one", "fsdp-to-one", "ddp-to-fsdp", "fsdp-to-ddp"]
)
def test_a_checkpoint_goes_on_with_other_processes_than_wrote_it(runs: Path, name: str) -> None:
    source = name.split("-to-")[0]
    assert_same_training(runs / name, runs / "tied-traces-one")
    # the first three steps are the other processes' own, to the last digit of their seconds
    assert curve(runs / name)[:3] == curve(runs / f"tied-traces-{source}")[:3]
    assert curve(runs / name)[3] != curve(runs / f"tied-traces-{source}")[3]


def test_the_checkpoint_of_two_has_the_form_of_one(runs: Path) -> None:
    two, one = (torch.load(runs / f"tied-traces-{who}" / STATE_FILE, weights_only=True) for who in ("ddp", "one"))
    assert two.keys() == one.keys()
    assert (two["names"], two["fingerprint"], two["step"]) == (one["names"], one["fingerprint"], one["step"])
    for kind in ("masters", "moments", "second_moments"):
        assert [(t.shape, t.dtype, type(t)) for t in two[kind]] == [(t.shape, t.dtype, type(t)) for t in one[kind]]


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_nan_in_one_process_stops_both_with_the_whole_batch_saved(runs: Path, mode: str) -> None:
    directory = runs / f"nan-{mode}"
    saved = json.loads((directory / "bad-step-000003.json").read_text())
    losses = [float(micro["loss"]) for micro in saved["micro_batches"]]
    assert any(math.isnan(loss) for loss in losses)
    assert any(math.isfinite(loss) for loss in losses)
    found = sorted(tuple(d["token_ids"]) for micro in saved["micro_batches"] for d in micro["documents"])
    assert len(set(found)) == len(found)
    assert set(found) <= {d.token_ids for d in DOCUMENTS}
    assert sum(map(len, found)) == curve(runs / "tied-traces-one")[2]["tokens"]
    # the two good steps were kept, and a healthy repetition ended where the unbroken run does
    weights, others = torch.load(directory / "weights.pt"), torch.load(runs / "tied-traces-one" / "weights.pt")
    for name, weight in others.items():
        torch.testing.assert_close(weights[name].detach(), weight, rtol=0.0, atol=2e-6)


def test_of_a_spread_model_each_process_writes_its_own_rows(runs: Path) -> None:
    folder = newest_pieces(runs / "tied-traces-fsdp")
    assert folder is not None
    assert sorted(path.name for path in folder.iterdir()) == ["__0_0.distcp", "__1_0.distcp", "index.json"]
    assert not (runs / "tied-traces-fsdp" / STATE_FILE).exists()
    sizes = [path.stat().st_size for path in sorted(folder.glob("*.distcp"))]
    assert max(sizes) < 1.1 * min(sizes)


@pytest.mark.parametrize("spread", ["", "-spread"])
def test_killed_and_resumed_equals_unbroken_bit_for_bit(runs: Path, spread: str) -> None:
    survivor = (runs / f"killed{spread}.0").read_text()
    assert survivor.startswith("ProcedureError: Another process of this run is gone")
    resumed, unbroken = curve(runs / f"resumed{spread}"), curve(runs / f"unbroken{spread}")
    for row, other in zip(resumed, unbroken, strict=True):
        times = ("seconds", "tokens_per_s")
        assert {k: v for k, v in row.items() if k not in times} == {k: v for k, v in other.items() if k not in times}
    weights, others = (torch.load(runs / which / "weights.pt") for which in (f"resumed{spread}", f"unbroken{spread}"))
    assert all(torch.equal(weights[name], others[name]) for name in others)


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_an_error_in_one_process_reaches_the_other_with_its_message(runs: Path, mode: str) -> None:
    assert (runs / f"failing-{mode}.1").read_text() == "CompatibilityError: the teacher is gone Call it back."
    assert (runs / f"failing-{mode}.0").read_text() == (
        "ProcedureError: Process 1 stopped this run: CompatibilityError: the teacher is gone Call it back."
    )


def test_what_the_main_process_fails_at_alone_reaches_the_other(runs: Path) -> None:
    assert (runs / "evaluating.0").read_text() == "StorageError: the answers cannot be kept Make room."
    assert (runs / "evaluating.1").read_text() == (
        "ProcedureError: Process 0 stopped this run: StorageError: the answers cannot be kept Make room."
    )


def test_processes_that_were_started_differently_are_refused(runs: Path) -> None:
    for rank in (0, 1):
        assert "Processes [1] differ from process 0" in (runs / f"different.{rank}").read_text()


def test_documents_that_the_model_draws_come_from_the_main_process(runs: Path) -> None:
    expected = sum(len(document.token_ids) for document in DOCUMENTS[:6])
    assert [(runs / f"drawn.{rank}").read_text() for rank in (0, 1)] == [str(expected)] * 2


def test_processes_that_all_refuse_stay_together(runs: Path) -> None:
    assert [(runs / f"refused.{rank}").read_text() for rank in (0, 1)] == ["6", "6"]


def test_alone_everything_is_free() -> None:
    alone = current_parallel()
    assert alone == Parallel()
    assert alone.is_main
    assert not is_torchrun()
    value = torch.tensor([1.0, math.inf])
    assert alone.sum_(value) is value
    alone.sum_all_([value])
    assert value.tolist() == [1.0, math.inf]
    assert (alone.gather(3), alone.broadcast(4), alone.on_main(lambda: 5)) == ([3], 4, 5)
    alone.barrier()
    alone.require_same(1, what="nothing")
    with pytest.raises(KeyError), alone.shared_fate():
        raise KeyError
    assert current_parallel() == alone


def test_a_mode_that_cannot_take_effect_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda, two = torch.device("cpu"), torch.device("cuda"), Parallel(rank=1, size=2)
    assert choose_mode("auto", Parallel(), cpu) == "auto"
    with pytest.raises(RecipeError, match="several processes"):
        choose_mode("ddp", Parallel(), cpu)
    monkeypatch.setattr(module, "is_torchrun", lambda: True)  # as torchrun --nproc-per-node 1
    assert choose_mode("fsdp", Parallel(), cpu) == "auto"
    assert (choose_mode("auto", two, cpu), choose_mode("fsdp", two, cpu)) == ("ddp", "fsdp")
    monkeypatch.setattr(module.dist, "get_backend_config", lambda: "cpu:gloo,cuda:gloo")
    with pytest.raises(CompatibilityError, match="share an Apple GPU"):
        choose_mode("auto", two, torch.device("mps"))
    with pytest.raises(CompatibilityError, match="2 processes train on CUDA"):
        choose_mode("auto", two, cuda)


def test_two_models_on_one_gpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"cuda:0": "GPU-a", "cuda:1": "GPU-b"}
    monkeypatch.setattr(
        module.torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=named[str(device)])
    )
    zero, two = torch.device("cuda", 0), Parallel(rank=0, size=2)
    monkeypatch.setattr(Parallel, "gather", lambda self, value: [value, "GPU-b"])
    two.require_own_gpu(zero)
    monkeypatch.setattr(Parallel, "gather", lambda self, value: [value, value])
    with pytest.raises(CompatibilityError, match="processes 0 and 1 are on the same GPU"):
        two.require_own_gpu(zero)
    two.require_own_gpu(torch.device("cpu"))
    Parallel().require_own_gpu(zero)


def test_a_connections_own_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE_S", 0.0)
    monkeypatch.setattr(module, "_SESSION", module._Session())
    with pytest.raises(ProcedureError, match="Duplicate GPU detected"), Parallel(rank=0, size=2).shared_fate():
        raise module.dist.DistBackendError("NCCL error: Duplicate GPU detected\nmore")


def test_a_process_that_was_told_to_stop_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    session = module._Session()
    monkeypatch.setattr(module, "_SESSION", session)
    monkeypatch.setattr(
        session, "failure", lambda: {"rank": 1, "error": "KeyboardInterrupt", "message": "", "hint": ""}
    )
    with pytest.raises(ProcedureError, match="Process 1 was told to stop") as caught, Parallel(size=2).shared_fate():
        raise module.dist.DistNetworkError("closed")
    assert "again" in caught.value.hint


@pytest.mark.parametrize("bucket_bytes", [1, 40, 1 << 20])
def test_gradients_are_summed_whatever_travels_together(monkeypatch: pytest.MonkeyPatch, bucket_bytes: int) -> None:
    calls: list[int] = []

    def as_if_two_held_the_same(tensor: torch.Tensor) -> None:
        calls.append(tensor.numel())
        tensor.mul_(2.0)

    monkeypatch.setattr(module.dist, "all_reduce", as_if_two_held_the_same)
    monkeypatch.setattr(module, "_BUCKET_BYTES", bucket_bytes)
    tensors = [torch.arange(6.0).view(2, 3), torch.arange(4.0).view(2, 2).t(), torch.ones(()), torch.ones(0, 3)]
    expected = [2.0 * tensor for tensor in tensors]
    Parallel(rank=0, size=2).sum_all_(tensors)
    for tensor, wanted in zip(tensors, expected, strict=True):
        assert torch.equal(tensor, wanted)
    # numbers a call; what is not contiguous cannot travel without a copy
    assert calls == {1: [6, 4, 1, 0], 40: [10, 1], 1 << 20: [11]}[bucket_bytes]
