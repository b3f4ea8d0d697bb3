"""Training whose checkpoints are folders, by one process; distributed/test_processes.py has two."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from places import SUPPORT
from tiny_training import counting_documents, one_thread, tiny_decoder

from spiritsafe.core.errors import IntegrityError, StorageError
from spiritsafe.models import Decoder
from spiritsafe.training.checkpoints import pieces as module
from spiritsafe.training.checkpoints import writer as checkpoint_writer
from spiritsafe.training.checkpoints.pieces import newest_pieces
from spiritsafe.training.checkpoints.state import STATE_FILE, discard_state
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.loop import METRICS_FILE, TrainResult, train
from spiritsafe.training.objective import TracesObjective

CONFIG = TrainConfig(
    learning_rate=1e-2,
    tokens_per_step=40,
    micro_batch_tokens=60,
    max_steps=7,
    checkpoint_every_steps=3,
    checkpoint_every_s=None,
    checkpoint_file_bytes=0,
    compute_dtype="float32",
    moments="8bit",
)
DOCUMENTS = counting_documents(40)


@pytest.fixture(autouse=True)
def _thread() -> Iterator[None]:
    with one_thread():
        yield


def wide() -> Decoder:
    return tiny_decoder(hidden=256, head_dim=16)


def run(directory: Path, **changes: Any) -> tuple[Decoder, TrainResult]:
    model = wide()
    config = CONFIG.model_copy(update=changes)
    return model, train(model, DOCUMENTS, TracesObjective(), config, directory=directory)


def same_run(a: tuple[Decoder, TrainResult], b: tuple[Decoder, TrainResult]) -> bool:
    times = ("seconds", "tokens_per_s")
    curves = [[{k: v for k, v in row.items() if k not in times} for row in one[1].curve] for one in (a, b)]
    return curves[0] == curves[1] and all(
        torch.equal(p, q) for p, q in zip(a[0].parameters(), b[0].parameters(), strict=True)
    )


def stopped_after(directory: Path, steps: int, **changes: Any) -> None:
    """A sitting that ends by an error in the step after."""
    objective = TracesObjective()
    done: list[int] = []

    class Ending:
        shares_prefixes = objective.shares_prefixes
        describe = staticmethod(objective.describe)

        def at_step(self, step: int, num_steps: int) -> None:
            if step == steps:
                raise StorageError("enough", hint="Go on.")
            done.append(step)

        def __call__(self, *given: Any) -> Any:
            return objective(*given)

    with pytest.raises(StorageError, match="enough"):
        train(wide(), DOCUMENTS, Ending(), CONFIG.model_copy(update=changes), directory=directory)
    assert len(done) == steps


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from tiny_training import counting_documents, tiny_decoder
from spiritsafe.training import TracesObjective, TrainConfig, train
from spiritsafe.training.checkpoints import pieces, writer

def sitting(where, directory):
    writer.fits_twice = lambda num_bytes: "thread" in where
    def die():
        os.kill(os.getpid(), signal.SIGKILL)
    write, seal, discard, saves, left = pieces._Stream.write, pieces.write_json, pieces.discard_pieces, [], [40]
    def dying_write(self, data):
        left[0] -= len(saves) == 1 and "write" in where
        if left[0]:
            return write(self, data)
        write(self, data[: len(data) // 2])
        self.flush()
        die()
    def dying_seal(path, value):
        if len(saves) == 1 and "index" in where:
            die()
        seal(path, value)
        if len(saves) == 1 and "before the rename" in where:
            die()
        saves.append(path)
    def dying_discard(*given, **named):
        if len(saves) == 2 and "after the rename" in where:
            die()
        discard(*given, **named)
    pieces._Stream.write, pieces.write_json, pieces.discard_pieces = dying_write, dying_seal, dying_discard
    config = TrainConfig.model_validate_json({config!r})
    train(tiny_decoder(hidden=256, head_dim=16), counting_documents(40), TracesObjective(), config, directory=directory)

for where in {places!r}:
    process = os.fork()
    if process == 0:
        sitting(where, Path({directory!r}) / where)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""
PLACES = ["at a write", "in the thread, at a write", "before the index", "before the rename", "after the rename"]


def test_killed_at_any_moment_and_resumed_equals_unbroken_bit_for_bit(tmp_path: Path) -> None:
    code = KILLED.format(
        tests=str(SUPPORT), places=PLACES, config=CONFIG.model_dump_json(exclude_unset=True), directory=str(tmp_path)
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert killed.stdout.split() == [str(-signal.SIGKILL)] * len(PLACES), killed.stderr
    unbroken = run(tmp_path / "unbroken")
    for place in PLACES:
        found = newest_pieces(tmp_path / place)
        assert found is not None
        assert found.name == ("state-00000006" if place == "after the rename" else "state-00000003")
        lines = [json.loads(line) for line in (tmp_path / place / METRICS_FILE).read_text().splitlines()]
        resumed = run(tmp_path / place)
        assert same_run(resumed, unbroken)
        assert list(resumed[1].curve[:3]) == lines[:3]  # what was saved is not done again
        assert sorted(path.name for path in (tmp_path / place).iterdir()) == [METRICS_FILE, "state-00000007"]
        discard_state(tmp_path / place)
        assert sorted(path.name for path in (tmp_path / place).iterdir()) == [METRICS_FILE]


@pytest.mark.parametrize(("before", "after"), [(0, 4_000_000_000), (4_000_000_000, 0)])
def test_a_sitting_with_another_limit_goes_on_and_leaves_its_own_form(tmp_path: Path, before: int, after: int) -> None:
    unbroken = run(tmp_path / "unbroken", checkpoint_every_steps=None)
    stopped_after(tmp_path / "a", 4, checkpoint_file_bytes=before)
    of_three = tmp_path / "of-three"
    shutil.copytree(tmp_path / "a", of_three)
    assert same_run(run(tmp_path / "a", checkpoint_file_bytes=after), unbroken)
    form = STATE_FILE if after else "state-00000007"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [METRICS_FILE, form]
    # killed before the earlier form was deleted: the one of more steps counts, and nothing is left to do
    for path in of_three.glob("state*"):
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, tmp_path / "a" / path.name)
    curve = (tmp_path / "a" / METRICS_FILE).read_text()
    assert same_run(run(tmp_path / "a", checkpoint_file_bytes=after), unbroken)
    assert (tmp_path / "a" / METRICS_FILE).read_text() == curve


def test_a_full_disk_stops_training_and_the_folder_before_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_writer, "fits_twice", lambda num_bytes: True)
    write = module._Stream.write
    full: list[bool] = []

    def writes(self: Any, data: Any) -> int:
        if (tmp_path / "a" / "state-00000003").exists() and not full:
            self.error = OSError(28, "No space left on device")
            return 0
        return write(self, data)

    monkeypatch.setattr(module._Stream, "write", writes)
    with pytest.raises(StorageError, match="No space left") as caught:
        run(tmp_path / "a")
    assert "disk is full" in caught.value.hint
    full.append(True)
    assert same_run(run(tmp_path / "a"), run(tmp_path / "unbroken"))


def test_what_a_stranger_does_to_a_folder_is_told(tmp_path: Path) -> None:
    run(tmp_path / "a", max_steps=3)
    folder = newest_pieces(tmp_path / "a")
    assert folder is not None
    with pytest.raises(IntegrityError, match="belongs to another run"):
        run(tmp_path / "a", max_steps=3, learning_rate=2e-2)
    with pytest.raises(IntegrityError, match="belongs to another run"):
        run(tmp_path / "a", max_steps=3, moments="float32")
    (folder / "__0_0.distcp").unlink()  # as a tool that copies no hidden files, or deletes large ones, leaves it
    with pytest.raises(IntegrityError, match="is damaged") as caught:
        run(tmp_path / "a", max_steps=3)
    assert "Delete the folder" in caught.value.hint
    shutil.rmtree(folder)
    assert run(tmp_path / "a", max_steps=3)[1].steps == 3
