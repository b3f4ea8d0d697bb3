"""Whether a model is computing for a sampler just now, which may compute the same numbers in fewer operations.

In: nothing. Out: yes or no, for this thread. Every other forward pass rounds exactly as training does: a student that
is its teacher then learns nothing from it, where an optimiser would make whole steps of differences in the last bit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_THIS_THREAD = threading.local()


@contextmanager
def sampling_mode() -> Iterator[None]:
    """Inside it no gradient is ever asked for, and what an operation made may be overwritten."""
    before = getattr(_THIS_THREAD, "on", False)
    _THIS_THREAD.on = True
    try:
        yield
    finally:
        _THIS_THREAD.on = before


def is_sampling() -> bool:
    """Whether :func:`sampling_mode` is on and nothing is compiled."""
    return (
        not torch.compiler.is_compiling() and getattr(_THIS_THREAD, "on", False) and torch.is_inference_mode_enabled()
    )
