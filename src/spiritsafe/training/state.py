"""Checkpoints of a run in progress: everything the next step depends on, in one file that is whole or absent.

In: the optimiser, the number of finished steps. Out: ``state.pt`` in the run's directory, the newest only; the file
is replaced by a rename, so a kill at any moment leaves the old or the new one. The data cursor is the step itself,
because the plan of documents is a function of the configuration. The file holds whole tensors, however many processes
wrote it and however they shared the model; any number of processes goes on from it.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import IntegrityError, StorageError
from spiritsafe.core.files import atomic_path
from spiritsafe.models.lora import lora_config
from spiritsafe.training.optimiser import STATE_KINDS, AdamW

__all__ = ["STATE_FILE", "discard_state", "load_state", "save_state", "weights_fingerprint"]

STATE_FILE = "state.pt"
_FORMAT = 1
_FINGERPRINT_WEIGHTS = 1 << 16


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
    values = torch.cat([p.detach().reshape(-1)[::stride].to(torch.float64).cpu() for _, p in parameters])
    return digest_bytes(text.encode("utf-8") + values.numpy().tobytes())


def save_state(directory: Path, optimiser: AdamW, *, step: int, fingerprint: str) -> None:
    """Write the checkpoint after ``step`` finished steps; the main process writes, all must call.

    Raises:
        StorageError: The disk is full or not writable; the previous checkpoint is untouched.
    """
    state: dict[str, Any] = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "step": step,
        "num_updates": optimiser.num_updates,
        "names": optimiser.names,
        **{kind: optimiser.gather_state(kind) for kind in STATE_KINDS},
        "rng": torch.get_rng_state(),
        "rng_cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }
    if not optimiser.parallel.is_main:
        return
    path = directory / STATE_FILE
    _sweep(directory)
    with atomic_path(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # what torch's zip writer makes of a failed write, whatever its cause
            raise StorageError(
                f"{path} cannot be written: {error}.",
                hint="The disk is probably full: free some space and run the same command again; nothing is lost.",
            ) from error


@torch.no_grad()
def load_state(directory: Path, optimiser: AdamW, *, fingerprint: str) -> int:
    """Restore the newest checkpoint into the optimiser and the model; return its number of finished steps (0: none).

    Every process reads the file and takes its part of it.

    Raises:
        CompatibilityError: The processes do not see the same file.
        IntegrityError: The file is damaged, or belongs to a run with another configuration, other documents, another
            objective or another starting model.
    """
    path = directory / STATE_FILE
    is_there = path.exists()
    optimiser.parallel.require_same(is_there, what=f"whether {path} exists")
    if not is_there:
        return 0
    try:
        # Mapped, so that a gigabyte of state is copied once, into place.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise IntegrityError(
            f"{path} is not a readable checkpoint.", hint="Delete it; the run then starts again from its first step."
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT or state.get("fingerprint") != fingerprint:
        raise IntegrityError(
            f"{path} belongs to another run: configuration, documents, objective or starting model differ.",
            hint="Give this run a directory of its own, or delete the file to start again.",
        )
    step = int(state["step"])
    optimiser.parallel.require_same(step, what=f"the step of {path}")
    for kind in STATE_KINDS:
        optimiser.restore_state(kind, state[kind])
    optimiser.publish_masters()
    optimiser.set_num_updates(int(state.get("num_updates", step)))  # steps without documents make no update
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and state["rng_cuda"]:
        torch.cuda.set_rng_state(state["rng_cuda"][0])
    return step


def discard_state(directory: Path) -> None:
    """Delete the checkpoint of a finished run; its weights are saved by then and the state is three times as large."""
    (directory / STATE_FILE).unlink(missing_ok=True)
    _sweep(directory)


def _sweep(directory: Path) -> None:
    """Delete what a process that was killed while it wrote has left; only one process writes."""
    for stale in directory.glob(f".{STATE_FILE}.*.tmp"):
        stale.unlink(missing_ok=True)
