"""What this process takes of the machine's memory: now, at most since a reset, and how much it could take.

In: nothing. Out: bytes. On a CPU the resident set, as the kernel counts it, bounded by free memory and by the control
group that the process runs in, what is free shared with torchrun's other processes; on CUDA the device's free memory
and what torch already holds of it.
"""

from __future__ import annotations

import torch

from spiritsafe.core.process.free_memory import PROC, free_bytes, proc_kilobytes, resident_bytes
from spiritsafe.core.process.limits import most_resident_bytes
from spiritsafe.core.process.torchrun import num_processes_here

PROCESS_BYTES = 450_000_000
"""Interpreter, torch, transformers and the kernels that a step loads, before any weight (torch 2.13 on Linux, CPU)."""

BITSANDBYTES_BYTES = 45_000_000
"""What loading bitsandbytes adds to that (0.50 on Linux, CPU)."""

_CLEAR = PROC / "self/clear_refs"
_STATUS = PROC / "self/status"


def reset_peak() -> bool:
    """Start a new high-water mark; False where the kernel has none to reset (then marks only rise)."""
    try:
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Peak resident bytes since the last reset."""
    found = proc_kilobytes(_STATUS).get("VmHWM")
    return most_resident_bytes() if found is None else found * 1024  # not Linux: the process's own maximum must do


def available_bytes(device: torch.device) -> int | None:
    """Memory that this process could have in all, what it already has included; None where nobody says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device)
    return free_bytes() // num_processes_here() + resident_bytes()
