"""Tracking: a run's curves in experiment trackers of others, where the user asks for it. One file a tracker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.tracking.registry import Points, TrackedRun, Tracker, register_tracker, tracker_names
    from spiritsafe.tracking.run import Tracking
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = ["Points", "TrackedRun", "Tracker", "Tracking", "register_tracker", "tracker_names"]
