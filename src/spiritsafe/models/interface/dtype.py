"""Which number format a device multiplies best: the one place that decides whether a CPU computes in bfloat16.

In: a device, and the variable ``SPIRITSAFE_BF16`` ("on", "off") where a user wants a CPU to compute as another one
does. Out: bfloat16 where the hardware has it, else float32.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from spiritsafe.core.errors import RecipeError

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
_WISH = "SPIRITSAFE_BF16"


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 (AVX512-BF16, AMX, or Arm's bf16) and torch lets it.

    False where nothing tells, and where a variable such as ``ONEDNN_MAX_CPU_ISA`` keeps torch's products from it.

    Args:
        cpuinfo: Linux's description of the processor.
    """
    if not cpuinfo.is_file():
        return False
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return bool(_BFLOAT16_FLAGS & set(value.split())) and _is_used()
    return False


def _is_used() -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def has_float64(device: torch.device | str) -> bool:
    """Whether a device computes in float64; Apple's GPUs do not."""
    return torch.device(device).type != "mps"


def preferred_dtype(device: torch.device | str) -> torch.dtype:
    """The format in which sampling is fastest on a device: bfloat16, or float32 on CPUs without it.

    Raises:
        RecipeError: ``SPIRITSAFE_BF16`` is neither "on" nor "off".
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if kind == "cpu" and _cpu_uses_bfloat16() else torch.float32


def _cpu_uses_bfloat16() -> bool:
    wish = os.environ.get(_WISH, "")
    if wish not in ("", "on", "off"):
        raise RecipeError(f"{_WISH} is {wish!r}.", hint='Set it to "on" or "off", or not at all.')
    return wish == "on" if wish else cpu_has_bfloat16()
