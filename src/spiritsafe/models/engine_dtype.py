"""Which number format a device multiplies best.

In: a device. Out: bfloat16 where the hardware has it, else float32.
"""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["cpu_has_bfloat16", "preferred_dtype"]

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 (AVX512-BF16, AMX, or Arm's bf16); False where nothing tells.

    Args:
        cpuinfo: Linux's description of the processor.
    """
    if not cpuinfo.is_file():
        return False
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return bool(_BFLOAT16_FLAGS & set(value.split()))
    return False


def preferred_dtype(device: torch.device | str) -> torch.dtype:
    """The format in which sampling is fastest on a device: bfloat16, or float32 on CPUs without it."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if kind == "cpu" and cpu_has_bfloat16() else torch.float32
