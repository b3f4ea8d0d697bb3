from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from places import SUPPORT
from torch import Tensor

from spiritsafe.core.errors import IntegrityError, StorageError
from spiritsafe.training.checkpoints.pieces import (
    INDEX_FILE,
    discard_pieces,
    newest_pieces,
    open_pieces,
    read_pieces,
    verify_pieces,
    write_pieces,
)
from spiritsafe.training.optimiser import StateRows

SHAPES = {"masters/a": (7, 5), "masters/b": (3,), "moments/a": (7, 5), "codes": (40, 3, 2)}


def whole(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return made | {"codes": (made["codes"] * 50).to(torch.uint8)}


def pieces_of(tensors: dict[str, Tensor], rank: int = 0, size: int = 1) -> list[StateRows]:
    """Rows of each tensor as a process holds them: none at all where there are fewer rows than processes."""
    found = []
    for name, tensor in tensors.items():
        step = -(-len(tensor) // size)
        first = min(len(tensor), rank * step)
        rows = tensor[first : first + step]
        found.append(StateRows(name=name, rows=rows, first=first, shape=tuple(tensor.shape)))
    return found


class Processes:
    """Threads that gather what each of them brings, as processes do."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size)
        self._values: list[Any] = [None] * size
        self.errors: list[BaseException | None] = [None] * size

    def gather(self, rank: int) -> Callable[[Any], Sequence[Any]]:
        def gathered(value: Any) -> list[Any]:
            self._values[rank] = value
            self._barrier.wait(60)
            values = list(self._values)
            self._barrier.wait(60)
            return values

        return gathered

    def run(self, work: Callable[[int, Callable[[Any], Sequence[Any]]], None]) -> None:
        def one(rank: int) -> None:
            try:
                work(rank, self.gather(rank))
            except Exception as error:  # noqa: BLE001  told to the test
                self.errors[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(self.errors))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def alone(value: Any) -> list[Any]:
    return [value]


def save(directory: Path, tensors: dict[str, Tensor], *, step: int = 3, size: int = 1, **more: Any) -> Processes:
    processes = Processes(size)
    processes.run(
        lambda rank, gather: write_pieces(
            directory, step, {"step": step}, pieces_of(tensors, rank, size), rank=rank, gather=gather, **more
        )
    )
    return processes


def load(directory: Path, *, rank: int = 0, size: int = 1) -> list[StateRows]:
    path = newest_pieces(directory)
    assert path is not None
    folder = open_pieces(path)
    verify_pieces(folder, rank=0, size=1, gather=alone)
    empty = pieces_of({name: torch.zeros_like(tensor) for name, tensor in whole().items()}, rank, size)
    read_pieces(folder, empty)
    return empty


@pytest.mark.parametrize(("wrote", "reads"), [(1, 1), (1, 2), (2, 1), (2, 3), (4, 2)])
def test_rows_come_back_to_any_number_of_processes(tmp_path: Path, wrote: int, reads: int) -> None:
    processes = save(tmp_path, whole(), size=wrote)
    assert processes.errors == [None] * wrote
    assert len(list((tmp_path / "state-00000003").glob("*.distcp"))) == wrote
    for rank in range(reads):
        for found, wanted in zip(load(tmp_path, rank=rank, size=reads), pieces_of(whole(), rank, reads), strict=True):
            assert torch.equal(found.rows, wanted.rows)


def test_the_newest_is_kept_and_all_can_be_deleted(tmp_path: Path) -> None:
    save(tmp_path, whole(), step=3)
    (tmp_path / ".state-00000004.partial").mkdir()  # of a process that was killed
    save(tmp_path, whole(1), step=5)
    assert [path.name for path in tmp_path.iterdir()] == ["state-00000005"]
    assert torch.equal(load(tmp_path)[0].rows, whole(1)["masters/a"])
    (tmp_path / ".state-00000006.partial").mkdir()
    discard_pieces(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert newest_pieces(tmp_path) is None


@pytest.mark.parametrize("name", ["__0_0.distcp", "__1_0.distcp", INDEX_FILE])
@pytest.mark.parametrize("is_gone", [True, False])
def test_a_changed_bit_and_a_missing_file_are_found_before_anything_is_read(
    tmp_path: Path, name: str, is_gone: bool
) -> None:
    save(tmp_path, whole(), size=2)
    path = tmp_path / "state-00000003" / name
    content = bytearray(path.read_bytes())
    places = [0] if is_gone else range(0, len(content), max(1, len(content) // 40))
    for place in places:
        changed = content.copy()
        changed[place] ^= 1
        path.unlink()
        if not is_gone:
            path.write_bytes(changed)
        with pytest.raises(IntegrityError, match="is damaged"):
            load(tmp_path)


def test_tensors_of_another_shape_are_refused(tmp_path: Path) -> None:
    save(tmp_path, whole())
    path = newest_pieces(tmp_path)
    assert path is not None
    other = [StateRows(name="masters/a", rows=torch.zeros(7, 6), first=0, shape=(7, 6))]
    with pytest.raises(IntegrityError, match="is damaged"):
        read_pieces(open_pieces(path), other)


def test_what_was_given_up_leaves_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, whole(), step=3)
    asked: list[None] = []
    failed = save(tmp_path, whole(1), step=5, size=2, is_given_up=lambda: asked.append(None) or len(asked) > 3)
    assert [type(error) for error in failed.errors] == [StorageError] * 2  # both are told
    assert torch.equal(load(tmp_path)[0].rows, whole()["masters/a"])
    assert save(tmp_path, whole(2), step=6, size=2).errors == [None, None]
    assert torch.equal(load(tmp_path)[0].rows, whole(2)["masters/a"])
    assert [path.name for path in tmp_path.iterdir()] == ["state-00000006"]


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
from spiritsafe.core.errors import StorageError
from spiritsafe.training.checkpoints.pieces import write_pieces
from spiritsafe.training.optimiser import StateRows
pieces = [StateRows(name="a", rows=torch.zeros(64, 64), first=0, shape=(64, 64))]
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    write_pieces(Path({directory!r}), 5, {{}}, pieces, rank=0, gather=lambda value: [value])
except StorageError as error:
    print(type(error).__name__, error.diagnostics())
"""


def test_a_full_disk_is_told_and_leaves_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, whole(), step=3)
    code = FULL.format(tests=str(SUPPORT), directory=str(tmp_path))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("StorageError"), done.stderr
    assert "File too large" in done.stdout
    assert torch.equal(load(tmp_path)[0].rows, whole()["masters/a"])


def test_an_index_that_names_other_places_is_no_index(tmp_path: Path) -> None:
    save(tmp_path, whole())
    path = tmp_path / "state-00000003" / INDEX_FILE
    index = json.loads(path.read_text())
    index["content"]["tensors"]["masters/a"]["parts"][0][2] = "../../elsewhere"
    path.write_text(json.dumps(index))
    with pytest.raises(IntegrityError, match="is damaged"):
        load(tmp_path)
