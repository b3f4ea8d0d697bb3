"""Which number format a run computes in.

In: the wish of a configuration and a device. Out: a torch dtype. Master weights, gradients and optimiser state stay
float32 whatever is chosen here.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.training.config import ComputeDtype

__all__ = ["choose_dtype", "cpu_multiplies_bfloat16"]

_CPUINFO = Path("/proc/cpuinfo")
_FAST_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""x86 with AVX-512 BF16 or AMX, Arm with BF16; elsewhere bfloat16 products are emulated, slower than float32."""


@lru_cache(maxsize=1)
def cpu_multiplies_bfloat16() -> bool:
    """Whether this machine's processor has bfloat16 multiplication."""
    if not _CPUINFO.exists():
        return False
    for line in _CPUINFO.read_text("utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not _FAST_FLAGS.isdisjoint(value.split())
    return False


def choose_dtype(wish: ComputeDtype, device: torch.device) -> torch.dtype:
    """The format of weights and activations.

    Raises:
        CompatibilityError: bfloat16 was asked of a GPU that does not have it, or the device is neither CPU nor CUDA.
    """
    if device.type not in ("cpu", "cuda"):
        raise CompatibilityError(
            f"Training on {device.type!r} is not supported.", hint="Move the model to the CPU or to a CUDA device."
        )
    fast = cpu_multiplies_bfloat16() if device.type == "cpu" else torch.cuda.is_bf16_supported(False)
    if wish == "auto":
        return torch.bfloat16 if fast else torch.float32
    if wish == "bfloat16" and device.type == "cuda" and not fast:
        raise CompatibilityError(
            "This GPU does not compute in bfloat16.", hint='Set compute_dtype to "float32" or "auto".'
        )
    return torch.float32 if wish == "float32" else torch.bfloat16
