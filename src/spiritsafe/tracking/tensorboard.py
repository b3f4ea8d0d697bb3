"""TensorBoard: event files in the run's folder ``tensorboard``, for ``tensorboard --logdir <folder>``.

Written by torch's own writer, which needs the package ``tensorboard``. A run that goes on writes one file more, which
TensorBoard shows as the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from spiritsafe.tracking.registry import Points, TrackedRun, Tracker, register_tracker


@final
@register_tracker("tensorboard", "tensorboard")
class TensorBoardTracker(Tracker):
    """Scalars in event files. Steps and values are float32 there, as TensorBoard keeps them."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.directory / "tensorboard"))

    def log(self, points: Sequence[Points]) -> None:
        """Append them."""
        for one in points:
            for name, value in one.values.items():
                self._writer.add_scalar(name, value, one.step, walltime=one.time)
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()
