"""CUDA graphs of decode steps: one launch for a whole step, sampler included.

In: a step function over fixed tensors, and how many slots and positions it covers. Out: the same step, replayed. One
graph is captured for each bucket of slots and of live positions, and for each way of sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from spiritsafe.models.running.engine.sampler import RowSampling

_WARM_UPS = 2


def bucket(count: int, step: int) -> int:
    """Round up to a multiple of ``step``, or of a quarter of the power of two below, whichever is larger.

    So a bucket wastes at most a quarter, and few sizes exist.
    """
    coarse = max(step, (1 << (count.bit_length() - 1)) // 4)
    return -(-count // coarse) * coarse


@final
class StepGraphs:
    """Captured steps.

    Args:
        step: ``step(num_slots, num_positions, how)``; reads and writes fixed tensors only and never synchronises.
        state: What a step changes besides the cache; capturing leaves it as it was. (What warm-up steps write into
            the cache lies at or beyond each sequence's end, where the next real step writes before reading.)
    """

    def __init__(self, step: Callable[[int, int, RowSampling], None], state: Sequence[Tensor]) -> None:
        self._step = step
        self._state = state
        self._pool: Any = None  # an opaque handle of torch
        self._graphs: dict[tuple[object, ...], torch.cuda.CUDAGraph] = {}

    def replay(self, num_slots: int, num_positions: int, num_steps: int, how: RowSampling) -> None:
        """Run steps; the first of their kind is captured before."""
        key = (num_slots, num_positions, *how.key)
        if key not in self._graphs:
            self._graphs[key] = self._capture(num_slots, num_positions, how)
        graph = self._graphs[key]
        for _ in range(num_steps):
            graph.replay()

    def _capture(self, num_slots: int, num_positions: int, how: RowSampling) -> torch.cuda.CUDAGraph:
        saved = [tensor.clone() for tensor in self._state]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._step(num_slots, num_positions, how)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self._step(num_slots, num_positions, how)
        self._pool = graph.pool()
        for tensor, value in zip(self._state, saved, strict=True):
            tensor.copy_(value)
        return graph
