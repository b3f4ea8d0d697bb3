"""What computes here, as plain data that other rooms can keep beside what was computed.

In: a device and the number format that was chosen for it. Out: a :class:`~spiritsafe.core.process.platforms.Platform`.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from spiritsafe.core.process.platforms import Platform
from spiritsafe.models.decoder.cpu.threads import can_loop
from spiritsafe.models.interface.dtype import cpu_has_bfloat16

_CPUINFO = Path("/proc/cpuinfo")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Variables by which the libraries of matrix products use less of a processor than it has."""


def this_platform(device: torch.device | str, compute_dtype: torch.dtype | None = None) -> Platform:
    """What computes on a device of this machine, now."""
    device = torch.device(device)
    dtype = "" if compute_dtype is None else str(compute_dtype).removeprefix("torch.")
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return Platform(
            device=torch.cuda.get_device_name(device),
            instructions=f"compute capability {major}.{minor}",
            torch=torch.__version__,
            compute_dtype=dtype,
        )
    return Platform(
        device=device.type,
        processor=_processor(),
        instructions=_instructions() if device.type == "cpu" else "",
        threads=torch.get_num_threads() if device.type == "cpu" else 0,
        torch=torch.__version__,
        compute_dtype=dtype,
    )


def _processor() -> str:
    name = platform.processor() or platform.machine()
    if not _CPUINFO.is_file():
        return name
    for line in _CPUINFO.read_text("utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()[:200]
    return name[:200]


def _instructions() -> str:
    capability = str(torch.backends.cpu.get_cpu_capability()) + (" with bfloat16" if cpu_has_bfloat16() else "")
    loops = [f"numba {version('numba')}"] if can_loop() else []
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)]
    return " ".join((capability, *loops, *limits))[:200]
