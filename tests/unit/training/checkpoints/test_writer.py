from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from places import SUPPORT
from tiny_training import tiny_decoder

from spiritsafe.core.errors import StorageError
from spiritsafe.core.process.platforms import Platform
from spiritsafe.training.checkpoints import writer as module
from spiritsafe.training.checkpoints.state import STATE_FILE, RunIdentity, load_state, write_state
from spiritsafe.training.checkpoints.writer import Cadence, CheckpointWriter, fits_twice
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.optimiser import AdamW

CONFIG = TrainConfig(learning_rate=1e-2, tokens_per_step=1, micro_batch_tokens=1, max_steps=1)
RUN = RunIdentity(fingerprint="f", unsealed="old", platform=Platform(device="cpu", torch="2"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_clock_asks_when_enough_time_has_passed_and_saving_takes_its_share_only() -> None:
    clock = Clock()
    cadence = Cadence(60.0, 0.05, clock)
    clock.now += 59.0
    assert not cadence.is_due()
    clock.now += 1.0
    assert cadence.is_due()  # the first one costs nothing that is known
    cadence.begin()
    clock.now += 100.0
    cadence.end()
    clock.now += 1899.0
    assert not cadence.is_due()  # 1,999 s since the beginning of one that took 100 s
    clock.now += 1.0
    assert cadence.is_due()
    cadence.begin()
    clock.now += 1.0
    cadence.end()  # a faster disk: the least time rules again
    clock.now += 59.0
    assert cadence.is_due()


def test_a_clock_that_is_not_asked_says_nothing() -> None:
    clock = Clock()
    cadence = Cadence(None, 0.05, clock)
    clock.now += 1e9
    assert not cadence.is_due()


class Gate:
    """Holds a write until it is let go; then writes, or fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, error: Exception | None = None) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.error = error
        self.threads: list[threading.Thread] = []
        monkeypatch.setattr(module, "write_state", self.write)

    def write(self, directory: Path, state: Any, **more: Any) -> None:
        self.threads.append(threading.current_thread())
        self.begun.set()
        assert self.go.wait(60)
        if self.error is not None:
            raise self.error
        write_state(directory, state, **more)


def make(directory: Path, clock: Clock | None = None) -> tuple[AdamW, CheckpointWriter, Cadence]:
    optimiser = AdamW(tiny_decoder(), CONFIG, torch.float32)
    cadence = Cadence(1.0, 0.5, clock or Clock())
    return optimiser, CheckpointWriter(directory, optimiser, RUN, before=(), cadence=cadence), cadence


def test_training_goes_on_while_a_copy_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fits_twice", lambda num_bytes: True)
    gate = Gate(monkeypatch)
    clock = Clock()
    optimiser, writer, cadence = make(tmp_path, clock)
    before = [master.clone() for master in optimiser.masters]
    writer.save(7)
    assert gate.begun.wait(60)
    assert writer.is_writing
    assert writer.copied_bytes == optimiser.state_bytes
    writer.check()
    for gradient in optimiser.gradients:
        gradient.fill_(1.0)
    optimiser.update(1e-2, 1.0)  # training goes on
    clock.now += 30.0
    gate.go.set()
    writer.finish()
    assert not writer.is_writing
    clock.now += 29.0
    assert not cadence.is_due()  # it took 30 s: a second one would begin after 60
    clock.now += 1.0
    assert cadence.is_due()
    assert gate.threads[0] is not threading.current_thread()
    other = AdamW(tiny_decoder(seed=1), CONFIG, torch.float32)
    assert load_state(tmp_path, other, RUN).step == 7
    assert all(torch.equal(a, b) for a, b in zip(before, other.masters, strict=True))


def test_no_more_than_one_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fits_twice", lambda num_bytes: True)
    gate = Gate(monkeypatch)
    _, writer, _ = make(tmp_path)
    writer.save(1)
    assert gate.begun.wait(60)
    second = threading.Thread(target=writer.save, args=(2,))
    second.start()
    assert len(gate.threads) == 1  # it waits for the first
    gate.go.set()
    second.join()
    writer.finish()
    assert len(gate.threads) == 2
    assert torch.load(tmp_path / STATE_FILE, weights_only=True)["step"] == 2


def test_without_room_for_a_copy_training_waits_and_nothing_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda: 1)
    gate = Gate(monkeypatch)
    gate.go.set()
    optimiser, writer, _ = make(tmp_path)
    copies: list[bool] = []
    gather = optimiser.whole_state
    monkeypatch.setattr(
        optimiser, "whole_state", lambda kind, *, copied: copies.append(copied) or gather(kind, copied=copied)
    )
    writer.save(3)
    assert not writer.is_writing
    assert gate.threads == [threading.current_thread()]
    assert copies == [False] * 3
    assert torch.load(tmp_path / STATE_FILE, weights_only=True)["step"] == 3


@pytest.mark.parametrize("is_copied", [True, False])
def test_a_failed_write_is_raised_in_training_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_copied: bool
) -> None:
    monkeypatch.setattr(module, "fits_twice", lambda num_bytes: is_copied)
    _, writer, _ = make(tmp_path)
    writer.save(1)
    writer.finish()
    before = (tmp_path / STATE_FILE).read_bytes()
    gate = Gate(monkeypatch, error=StorageError("the disk is full", hint="Make room."))
    gate.go.set()
    if is_copied:
        writer.save(2)
        with pytest.raises(StorageError, match="the disk is full"):
            writer.finish()
    else:
        with pytest.raises(StorageError, match="the disk is full"):
            writer.save(2)
    writer.check()  # it is said once
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_closing_waits_and_does_not_hide_the_error_that_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "fits_twice", lambda num_bytes: True)
    gate = Gate(monkeypatch, error=StorageError("the disk is full", hint="Make room."))
    _, writer, _ = make(tmp_path)
    writer.save(1)
    gate.go.set()
    with caplog.at_level(logging.WARNING):
        writer.close()
    assert not writer.is_writing
    assert "the disk is full" in caplog.text


def test_a_copy_fits_where_it_leaves_a_quarter_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda: 1250)
    assert fits_twice(1000)
    assert not fits_twice(1001)
    monkeypatch.setattr(module, "free_bytes", lambda: None)
    assert not fits_twice(1)


def test_who_interrupts_the_wait_leaves_at_once_and_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fits_twice", lambda num_bytes: True)
    _, writer, _ = make(tmp_path)
    writer.save(1)
    writer.finish()
    before = (tmp_path / STATE_FILE).read_bytes()
    gate = Gate(monkeypatch)
    writer.save(2)
    assert gate.begun.wait(60)
    wait = writer._is_idle.wait

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer._is_idle, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    assert writer.is_writing  # it is not taken for ended: another writer would sweep its file away
    gate.go.set()
    assert wait(60)
    gate.threads[0].join()
    with pytest.raises(StorageError, match="canceled"):
        writer.check()
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]
    assert (tmp_path / STATE_FILE).read_bytes() == before


PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from spiritsafe.training import TracesObjective, TrainConfig, train
from spiritsafe.training.checkpoints import state, writer as checkpoint_writer
from tiny_training import counting_documents, tiny_decoder

begun, waits = threading.Event(), threading.Event()
write, close = state._Sealing.write, checkpoint_writer.CheckpointWriter.close

def slow(self, data):  # the first piece is under way until both interrupts were sent
    begun.set()
    assert waits.wait(600)
    return write(self, data)

class Waiting(threading.Event().__class__):
    def wait(self, timeout=None):
        if begun.is_set() and sys.exc_info()[0] is KeyboardInterrupt:
            waits.set()
            signal.raise_signal(signal.SIGINT)  # the second, in the wait for the write
        return super().wait(timeout)

def closing(self):
    idle, self._is_idle = self._is_idle, Waiting()
    assert not idle.is_set()
    return close(self)

state._Sealing.write = slow
checkpoint_writer.CheckpointWriter.close = closing
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
main = threading.main_thread().ident
threading.Thread(target=lambda: begun.wait() and signal.pthread_kill(main, signal.SIGINT), daemon=True).start()
config = TrainConfig(
    learning_rate=1e-2, tokens_per_step=50, micro_batch_tokens=60, max_steps=1000, checkpoint_every_s=1e-3
)
try:
    train(tiny_decoder(), counting_documents(40), TracesObjective(), config, directory=Path(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_program_that_is_interrupted_twice_ends_without_a_crash(tmp_path: Path) -> None:
    """A thread that the interpreter does not wait for dies inside torch's writer, and takes the process with it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
    assert not list((tmp_path / "run").glob(".*.tmp"))
