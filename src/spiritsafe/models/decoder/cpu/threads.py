"""Compiled loops on a CPU, in torch's own threads; and whether there can be any.

In: a loop of :mod:`~spiritsafe.models.decoder.cpu.kernels` and its job. Out: the job is done. Loops need numba (the
extra `fast`); without it the module's own operations compute the same.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch


@cache
def has_numba() -> bool:
    """Whether the extra `fast` is installed, fits the other libraries, and may compile."""
    try:
        numba = importlib.import_module("numba")
    except ImportError:  # also where NumPy is newer than it knows
        return False
    return not numba.config.DISABLE_JIT


@cache
def _parallel() -> Any:
    """How a loop is begun in each of torch's threads; None: this system's have no such door.

    It is that of GNU's OpenMP, which torch brings for Linux. Threads of our own and torch's would wait busily for each
    other.
    """
    try:
        door = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    door.argtypes, door.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return door


def can_loop() -> bool:
    """Whether loops run here, in as many threads as torch's operations do."""
    return has_numba() and (torch.get_num_threads() == 1 or _parallel() is not None)


@cache
def has_bfloat16_products() -> bool:
    """Whether the processor multiplies vectors of bfloat16, and has no units for matrices, which would be faster.

    Asked only where :func:`can_loop`. A compiler that is told of another processor does not know such products.
    """
    config = importlib.import_module("numba").config
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None or not config.ENABLE_AVX:
        return False
    return bool(torch.cpu._is_avx512_bf16_supported()) and not torch.cpu._is_amx_tile_supported()


def run_loop(loop: Any, job: Sequence[int]) -> None:
    """Do a job in all of torch's threads: each takes parts of it until none is left.

    Args:
        loop: Compiled by numba as a C function of an address.
        job: What the loop says; its first number counts the parts that were taken.
    """
    numbers = (ctypes.c_int64 * len(job))(*job)
    threads = torch.get_num_threads()
    if threads == 1 or _parallel() is None:
        loop.ctypes(numbers)
    else:
        _parallel()(loop.address, ctypes.addressof(numbers), threads, 0)
