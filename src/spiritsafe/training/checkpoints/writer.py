"""Checkpoints that are written while training goes on, and take a bounded share of its time.

In: the optimiser, and when to look at the clock. Out: ``state.pt``, which one process writes, or a folder to which each
writes its own, see :mod:`spiritsafe.training.checkpoints.state`. A save copies what is written (12 bytes a trainable
weight, in main memory) and a thread writes, digests and syncs the copy; one at a time. Where so much memory is not
free, nothing is copied and training waits for the write. A write that failed is raised in training, at the next step;
the checkpoint before is whole until the new one is.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, final

import torch.distributed as dist

from spiritsafe.core.process.free_memory import free_bytes
from spiritsafe.core.process.platforms import Platforms
from spiritsafe.training.checkpoints.state import RunIdentity, snapshot, state_head, write_folder, write_state
from spiritsafe.training.optimiser import AdamW

_LOG = logging.getLogger(__name__)
_SPARE = 1.25
"""The copy leaves a quarter of itself free. What a step takes beside it is this process's already."""

Clock = Callable[[], float]


def fits_twice(num_bytes: int) -> bool:
    """Whether a copy of so many bytes fits beside what this process has."""
    free = free_bytes()
    return free is not None and free >= num_bytes * _SPARE


@final
class Cadence:
    """When the clock asks for a checkpoint: not before ``every_s``, and never for more than a share of the time.

    Args:
        every_s: Least seconds between the beginnings of two; None: the clock asks for none.
        max_share: Most of the time that saving may take, if the next takes as long as the last.
        clock: Seconds that only grow.
    """

    def __init__(self, every_s: float | None, max_share: float, clock: Clock) -> None:
        self._every_s = every_s
        self._max_share = max_share
        self._clock = clock
        self._begun_at = clock()
        self._cost_s = 0.0

    def is_due(self) -> bool:
        """Whether it is time."""
        if self._every_s is None:
            return False
        return self._clock() - self._begun_at >= max(self._every_s, self._cost_s / self._max_share)

    def begin(self) -> None:
        """A save begins."""
        self._begun_at = self._clock()

    def end(self) -> None:
        """It is on disk: what it took is what the next is expected to take."""
        self._cost_s = self._clock() - self._begun_at


@final
class CheckpointWriter:
    """Saves a run's state; all processes make one and call it alike.

    Args:
        directory: Where it goes.
        before: Platforms that earlier sittings ran on.
        cadence: Told what saving takes.
        file_bytes: Largest state that is one file.
    """

    def __init__(
        self,
        directory: Path,
        optimiser: AdamW,
        identity: RunIdentity,
        *,
        before: Platforms,
        cadence: Cadence,
        file_bytes: int = 4_000_000_000,
    ) -> None:
        self._directory = directory
        self._optimiser = optimiser
        self._identity = identity
        self._before = before
        self._cadence = cadence
        self._copied_bytes = 0
        self._is_folder = optimiser.is_sharded or optimiser.state_bytes > file_bytes
        # What threads say to each other must not meet what training says.
        self._group = dist.new_group(backend="gloo") if self._is_folder and optimiser.parallel.size > 1 else None
        # The thread's own join is not enough: where Ctrl-C breaks it off, the thread counts as ended and still writes.
        self._thread: threading.Thread | None = None
        self._is_idle = threading.Event()
        self._is_idle.set()
        self._is_given_up = threading.Event()
        self._error: Exception | None = None

    @property
    def is_writing(self) -> bool:
        """Whether a save is under way."""
        return not self._is_idle.is_set()

    @property
    def copied_bytes(self) -> int:
        """Memory that a save took beside training; 0 until one is copied."""
        return self._copied_bytes

    def save(self, step: int) -> None:
        """Begin to save the state after ``step`` finished steps; waits for the save before, if it is under way.

        Raises:
            StorageError: That one, or this where it is written at once, failed.
        """
        self.finish()
        self._cadence.begin()
        write, num_bytes = self._folder(step) if self._is_folder else self._file(step)
        if write is None:
            return
        if not num_bytes:
            self._write(write)
            self.check()
            return
        self._copied_bytes = num_bytes
        self._is_idle.clear()
        self._thread = threading.Thread(target=self._write, args=(write,), name="checkpoint")
        self._thread.start()

    def _file(self, step: int) -> tuple[Callable[[], None] | None, int]:
        """What writes the file, on the main process, and how much was copied for it."""
        num_bytes = self._optimiser.state_bytes
        is_copied = fits_twice(num_bytes)
        state = snapshot(self._optimiser, self._identity, step=step, before=self._before, copied=is_copied)
        if not self._optimiser.parallel.is_main:
            return None, 0
        given_up = self._is_given_up.is_set
        # by its name in this module, which tests and benches replace
        return lambda: write_state(self._directory, state, is_given_up=given_up), num_bytes if is_copied else 0

    def _folder(self, step: int) -> tuple[Callable[[], None], int]:
        """What writes this process's part of the folder, and how much was copied for it."""
        parallel = self._optimiser.parallel
        num_bytes = sum(piece.rows.nbytes for piece in self._optimiser.pieces(shared=True))
        num_here = int(os.environ.get("LOCAL_WORLD_SIZE", parallel.size))  # all of one machine copy at once
        is_copied = all(parallel.gather(fits_twice(num_bytes * num_here)))
        head = state_head(self._optimiser, self._identity, step=step, before=self._before)
        pieces = self._optimiser.pieces(shared=True, copied=is_copied)
        write = partial(
            write_folder,
            self._directory,
            head,
            pieces,
            rank=parallel.rank,
            gather=self._gather,
            is_given_up=self._is_given_up.is_set,
        )
        return write, num_bytes if is_copied else 0

    def _gather(self, value: Any) -> list[Any]:
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self._optimiser.parallel.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
            self._cadence.end()
        except Exception as error:  # noqa: BLE001  the thread's boundary: training raises it
            self._error = error
        finally:
            self._is_idle.set()

    def check(self) -> None:
        """Raise what a write ended in, if one failed since the last look.

        Raises:
            StorageError: The disk is full or not writable; the checkpoint before is untouched.
        """
        if self._error is not None and not self.is_writing:
            error, self._error = self._error, None
            raise error

    def finish(self) -> None:
        """Wait until nothing is under way.

        Raises:
            StorageError: What was under way failed.
        """
        self._is_idle.wait()
        if self._thread is not None:
            self._thread.join()  # it has nothing left to do
            self._thread = None
        self.check()

    def close(self) -> None:
        """Wait until nothing is under way; for a run that ends by another error, so a failure is only logged.

        Who interrupts the wait, with a second Ctrl-C, wants to leave: what is under way is given up, and the checkpoint
        before stays.
        """
        try:
            self.finish()
        except Exception as error:  # noqa: BLE001  the run's own error is what is raised
            _LOG.warning("the last checkpoint was not written: %s", error)
        except BaseException:
            self._is_given_up.set()
            raise
        else:
            if self._group is not None and dist.is_initialized():
                dist.destroy_process_group(self._group)
