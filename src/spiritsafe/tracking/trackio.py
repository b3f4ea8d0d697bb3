"""Trackio: a database in ``TRACKIO_DIR`` (default: its cache folder), for ``trackio show``.

It stays on this machine unless ``TRACKIO_SPACE_ID`` or ``TRACKIO_SERVER_URL`` says otherwise. A run that goes on is the
same run there, by its name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, final

from spiritsafe.tracking.registry import Points, TrackedRun, Tracker, register_tracker


@final
@register_tracker("trackio", "trackio")
class TrackioTracker(Tracker):
    """What Trackio prints goes to stderr: stdout may be read as JSON."""

    def __init__(self, run: TrackedRun) -> None:
        with redirect_stdout(sys.stderr):
            import trackio

            self._run: Any = trackio.init(
                project=run.project,
                name=run.name,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, points: Sequence[Points]) -> None:
        """Hand them to Trackio's own thread."""
        for one in points:
            self._run.log(dict(one.values), step=one.step)

    def close(self) -> None:
        """Wait until they are kept."""
        with redirect_stdout(sys.stderr):
            self._run.finish()
