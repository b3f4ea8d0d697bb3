"""Keeps freed memory inside the process while a CPU run lasts.

A training step allocates and frees the same gigabytes again and again. The C library gives large blocks back to the
operating system at once, which then clears every page anew: on the machines we measured that took up to a fifth of a
step. Inside :func:`kept_memory` blocks are reused; at its end what is free goes back.
"""

from __future__ import annotations

import ctypes
import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import preferred_dtype
from spiritsafe.training.config import ComputeDtype

# Options of the GNU C library's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_KEEP = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20))
# Setting any option ends the library's own growing of the thresholds, so they are left where that ends: at their most.
_RELEASE = ((_M_MMAP_MAX, 65536), (_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 64 << 20), (_M_TOP_PAD, 128 << 10))


def give_back_memory() -> None:
    """Collect what nothing refers to any more, cycles included, and return free blocks to the operating system.

    Models and engines hold references to each other; without this the last stage's weights lie beside the next one's.
    """
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Reuse freed blocks while the block runs; yields whether this C library can (the GNU one on Linux)."""
    if platform.libc_ver()[0] != "glibc":
        yield False
        return
    library = ctypes.CDLL(None)
    for option, value in _KEEP:
        library.mallopt(option, value)
    try:
        yield True
    finally:
        for option, value in _RELEASE:
            library.mallopt(option, value)
        library.malloc_trim(0)


def choose_dtype(wish: ComputeDtype, device: torch.device) -> torch.dtype:
    """The format of weights and activations.

    Raises:
        CompatibilityError: bfloat16 was asked of a GPU that does not have it, or is not used by us (mps); or the
            device is of another kind.
    """
    if device.type not in ("cpu", "cuda", "mps"):
        raise CompatibilityError(
            f"Training on {device.type!r} is not supported.", hint="Move the model to the CPU, CUDA or mps."
        )
    if wish == "float32" or (wish == "auto" and device.type == "mps"):
        return torch.float32
    if device.type == "mps":
        raise CompatibilityError(
            "Training on an Apple GPU is in float32.", hint='Set compute_dtype to "float32" or "auto".'
        )
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        if wish == "auto":
            return torch.float32
        raise CompatibilityError(
            "This GPU does not compute in bfloat16.", hint='Set compute_dtype to "float32" or "auto".'
        )
    return torch.bfloat16 if wish == "bfloat16" else preferred_dtype(device)
