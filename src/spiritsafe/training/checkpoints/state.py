"""Checkpoints of a run in progress: everything the next step depends on, in one file that is whole or absent.

In: the optimiser, the number of finished steps. Out: ``state.pt`` in the run's directory, the newest only; the file
is replaced by a rename, so a kill at any moment leaves the old or the new one. Its last line is the digest of all
before it: a single changed bit is found when it is read. The data cursor is the step itself, because the plan of
documents is a function of the configuration. The file holds whole tensors; any number of processes goes on from it, as
from the folder that takes its place for large or spread states (:mod:`spiritsafe.training.checkpoints.pieces`).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast, final

import torch
from torch import nn

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import IntegrityError, SourceError, StorageError
from spiritsafe.core.files.atomic import atomic_path, storage_errors, sweep
from spiritsafe.core.process.out_of_memory import is_out_of_memory
from spiritsafe.core.process.platforms import Platform, Platforms, continued, other_text
from spiritsafe.models import QuantisedWeight, lora_config
from spiritsafe.training.checkpoints.pieces import (
    Gather,
    discard_pieces,
    newest_pieces,
    open_pieces,
    read_pieces,
    verify_pieces,
    write_pieces,
)
from spiritsafe.training.optimiser import AdamW, StateRows

STATE_FILE = "state.pt"
_FORMAT = 2
_UNSEALED_FORMAT = 1
"""Of earlier versions: without a digest, and nothing of who computed it."""
_GENERATORS = ("rng", "rng_cuda")
_FINGERPRINT_WEIGHTS = 1 << 16
_SEAL = b"\nspiritsafe state sha256:"
_SEAL_BYTES = len(_SEAL) + 64 + 1
_CHUNK_BYTES = 1 << 24


@final
@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Which run a checkpoint belongs to.

    Attributes:
        fingerprint: Of configuration, documents, objective and starting model, the number format left out.
        unsealed: The same, as earlier versions took it.
        platform: What computes here, and in which number format.
    """

    fingerprint: str
    unsealed: str
    platform: Platform


@torch.no_grad()
def weights_fingerprint(model: nn.Module) -> str:
    """Digest of names, shapes and a spread sample of the values: tells two models apart in milliseconds.

    It guards against mix-ups, not against forgery.
    """
    parameters = list(model.named_parameters())
    stride = max(1, sum(p.numel() for _, p in parameters) // _FINGERPRINT_WEIGHTS) | 1
    text = ";".join(f"{name}{tuple(p.shape)}" for name, p in parameters)
    adapters = lora_config(model)
    if adapters is not None:
        text += f";{adapters.alpha}"  # their scale is in no tensor
    values = torch.cat([p.detach().reshape(-1)[::stride].cpu().to(torch.float64) for _, p in parameters])
    codes = b""
    for name, one in model.named_modules():
        if isinstance(one, QuantisedWeight):
            text += f";{name}:{one.weights}"
            codes += one.codes[::stride].cpu().numpy().tobytes()
    return digest_bytes(text.encode("utf-8") + values.numpy().tobytes() + codes)


@final
@dataclass(frozen=True, kw_only=True)
class Resumed:
    """Where a run goes on.

    Attributes:
        step: Finished steps; 0: there was no checkpoint.
        platforms: That they ran on.
        note: What a reader must know, where this platform is another one.
    """

    step: int = 0
    platforms: Platforms = ()
    note: str | None = None


def snapshot(
    optimiser: AdamW, identity: RunIdentity, *, step: int, before: Platforms = (), copied: bool = False
) -> dict[str, Any]:
    """What ``state.pt`` holds after ``step`` finished steps; all processes must call, one writes it.

    Args:
        before: Platforms that earlier sittings ran on.
        copied: Whether later steps must not change it: 12 bytes a trainable weight, in main memory.
    """
    tensors: dict[str, Any] = {kind: optimiser.whole_state(kind, copied=copied) for kind in optimiser.state_kinds}
    return {**state_head(optimiser, identity, step=step, before=before), **tensors}


def state_head(optimiser: AdamW, identity: RunIdentity, *, step: int, before: Platforms = ()) -> dict[str, Any]:
    """All of a checkpoint that is no tensor of the optimiser; all processes must call."""
    generators = optimiser.parallel.gather(
        (torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None)
    )
    return {
        "format": _FORMAT,
        "fingerprint": identity.fingerprint,
        "platforms": [None if one is None else one.to_json() for one in continued(before, identity.platform)],
        "step": step,
        "num_updates": optimiser.num_updates,
        "names": optimiser.names,
        "rng": [own for own, _ in generators],
        "rng_cuda": [own for _, own in generators],
    }


def write_state(directory: Path, state: Mapping[str, Any], *, is_given_up: Callable[[], bool] = lambda: False) -> None:
    """Write a :func:`snapshot`, whole or not at all; one process writes.

    Args:
        is_given_up: Asked before each piece; the write ends where it says so.

    Raises:
        StorageError: The disk is full or not writable, or it was given up; the previous checkpoint is untouched.
    """
    path = directory / STATE_FILE
    sweep(path)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        sealing = _Sealing(file, is_given_up)
        try:
            torch.save(dict(state), cast(IO[bytes], sealing))
        except RuntimeError as error:  # what torch's zip writer makes of some failed writes, whatever their cause
            if sealing.error is None:
                raise StorageError(
                    f"{path} cannot be written: {error}.", hint="Check the disk, then run the same command again."
                ) from error
        if sealing.error is not None:  # of others it says nothing
            raise sealing.error
        file.write(sealing.seal())
    with storage_errors(path):
        discard_pieces(directory)  # of an earlier sitting that had another limit, or more processes


def write_folder(
    directory: Path,
    head: Mapping[str, Any],
    pieces: Sequence[StateRows],
    *,
    rank: int,
    gather: Gather,
    is_given_up: Callable[[], bool] = lambda: False,
) -> None:
    """Write a :func:`state_head` and this process's pieces into a folder that takes the place of ``state.pt``.

    Args:
        gather: Among the processes that write.
        is_given_up: Asked before each write; it ends where it says so.

    Raises:
        StorageError: The disk is full or not writable, or it was given up; the previous checkpoint is untouched.
    """
    generators = {kind: [_to_hex(own) for own in head[kind]] for kind in _GENERATORS}
    told = {**head, "names": list(head["names"]), **generators}
    write_pieces(directory, head["step"], told, pieces, rank=rank, gather=gather, is_given_up=is_given_up)
    if rank == 0:
        with storage_errors(directory):
            (directory / STATE_FILE).unlink(missing_ok=True)


@final
class _Sealing:
    """A file under a digest; a failed write is kept, for torch drops the reason."""

    def __init__(self, file: BinaryIO, is_given_up: Callable[[], bool]) -> None:
        self._file = file
        self._is_given_up = is_given_up
        self._hasher = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: memoryview | bytes) -> int:
        """Write and digest; 0 when it failed."""
        try:
            if self._is_given_up():
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            written = self._file.write(data)
        except OSError as error:
            self.error = error
            return 0
        self._hasher.update(data)
        return written

    def flush(self) -> None:
        """Nothing: the file is flushed when it is whole."""

    def seal(self) -> bytes:
        """The last line."""
        return _SEAL + self._hasher.hexdigest().encode("ascii") + b"\n"


def _is_sealed(path: Path) -> bool:
    """Whether a digest stands at the end, and is that of all before it.

    Raises:
        IntegrityError: It is another one's.
        SourceError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size - _SEAL_BYTES
            if size <= 0:
                return False
            file.seek(size)
            last = file.read()
            if not last.startswith(_SEAL):
                return False
            file.seek(0)
            hasher = hashlib.sha256()
            while size:
                chunk = file.read(min(size, _CHUNK_BYTES))
                hasher.update(chunk)
                size -= len(chunk)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror or error}.",
            hint="Check the disk, then run the same command again.",
        ) from error
    if last != _SEAL + hasher.hexdigest().encode("ascii") + b"\n":
        raise _damaged(path)
    return True


def _to_hex(numbers: torch.Tensor | None) -> str | None:
    return None if numbers is None else numbers.numpy().tobytes().hex()


def _from_hex(text: str | None) -> torch.Tensor | None:
    return None if text is None else torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def _of_another_run(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path} belongs to another run: configuration, documents, objective or starting model differ.",
        hint="Give this run a directory of its own, or delete the file to start again.",
    )


def _damaged(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path} is damaged: it is not what was written.",
        hint="Delete it; the run then starts again from its first step. If the disk did this, it may do so again.",
    )


@torch.no_grad()
def load_state(directory: Path, optimiser: AdamW, identity: RunIdentity) -> Resumed:
    """Restore the newest checkpoint into the optimiser and the model.

    Every process reads the file and takes its part of it.

    Raises:
        CompatibilityError: The processes do not see the same file, or it was computed in another number format.
        IntegrityError: The file is damaged, or belongs to a run with another configuration, other documents, another
            objective or another starting model.
        SourceError: The file cannot be read.
    """
    path, folder = directory / STATE_FILE, newest_pieces(directory)
    is_there = path.exists()
    found = (is_there, folder and folder.name)
    optimiser.parallel.require_same(found, what=f"which checkpoints {directory} holds")
    if folder is not None and (not is_there or _is_behind(path, open_pieces(folder).step)):
        return _load_folder(folder, optimiser, identity)
    if not is_there:
        return Resumed()
    is_sealed = optimiser.parallel.on_main(lambda: _is_sealed(path))
    try:
        # Mapped, so that a gigabyte of state is copied once, into place.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever an unpickler makes of other bytes: KeyError, OSError, AssertionError…
        if is_out_of_memory(error):
            raise
        raise _damaged(path) from error
    written = state.get("format") if isinstance(state, dict) else None
    if written == _FORMAT and not is_sealed:
        raise _damaged(path)
    if written not in (_FORMAT, _UNSEALED_FORMAT) or state.get("fingerprint") != (
        identity.fingerprint if written == _FORMAT else identity.unsealed
    ):
        raise _of_another_run(path)
    if not (_is_whole(state) and all(optimiser.is_state(kind, state.get(kind)) for kind in optimiser.state_kinds)):
        raise _damaged(path)

    def restore() -> None:
        for kind in optimiser.state_kinds:
            optimiser.restore_state(kind, state[kind])

    return _resumed(path, state, restore, optimiser, identity)


def _is_behind(path: Path, step: int) -> bool:
    """Whether the file is of fewer steps than the folder beside it: a kill came before it was deleted."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(state["step"]) <= step
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _damaged(path) from error


def _load_folder(path: Path, optimiser: AdamW, identity: RunIdentity) -> Resumed:
    parallel = optimiser.parallel
    folder = open_pieces(path)
    if folder.head.get("fingerprint") != identity.fingerprint:
        raise _of_another_run(path)
    verify_pieces(folder, rank=parallel.rank, size=parallel.size, gather=parallel.gather)
    state = {
        **folder.head,
        **{kind: [_from_hex(own) for own in folder.head[kind]] for kind in _GENERATORS},
    }
    return _resumed(path, state, lambda: read_pieces(folder, optimiser.pieces()), optimiser, identity)


def _resumed(
    path: Path, state: Mapping[str, Any], restore: Callable[[], None], optimiser: AdamW, identity: RunIdentity
) -> Resumed:
    """Restore the optimiser's tensors, and all that is none."""
    platforms = tuple(None if one is None else Platform.from_json(one) for one in state.get("platforms", [None]))
    note = other_text(platforms, identity.platform, what=f"The training in {path.parent}", has_setting=True)
    step = int(state["step"])
    optimiser.parallel.require_same(step, what=f"the step of {path}")
    restore()
    optimiser.publish_masters()
    optimiser.set_num_updates(int(state.get("num_updates", step)))  # steps without documents make no update
    _restore_generators(state, optimiser.parallel.rank)
    is_new = continued(platforms, identity.platform) != platforms  # else it was said when it first went on here
    return Resumed(step=step, platforms=platforms, note=note if is_new else None)


def _is_whole(state: Mapping[str, Any]) -> bool:
    """Whether all is there that will be restored beside tensors: of earlier versions' files no digest says so."""
    rng, cuda = state.get("rng"), state.get("rng_cuda")
    return (
        "rng_cuda" in state
        and isinstance(state.get("step"), int)
        and isinstance(state.get("num_updates", 0), int)
        and all(isinstance(one, torch.Tensor) for one in (rng if isinstance(rng, list) and rng else [rng]))
        and (cuda is None or isinstance(cuda, list | torch.Tensor))
    )


def _restore_generators(state: Mapping[str, Any], rank: int) -> None:
    """Each process takes up its own random numbers; one more than there were, those of another."""
    rng: Sequence[torch.Tensor] | torch.Tensor = state["rng"]
    own = [rng] if isinstance(rng, torch.Tensor) else rng
    torch.set_rng_state(own[rank % len(own)])
    cuda = state["rng_cuda"]
    if torch.cuda.is_available() and cuda and cuda[rank % len(cuda)] is not None:
        torch.cuda.set_rng_state(cuda[rank % len(cuda)])


def discard_state(directory: Path) -> None:
    """Delete the checkpoint of a finished run; its weights are saved by then and the state is three times as large."""
    with storage_errors(directory):
        discard_pieces(directory)
        (directory / STATE_FILE).unlink(missing_ok=True)
        sweep(directory / STATE_FILE)
