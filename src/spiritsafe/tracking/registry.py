"""Experiment trackers by the names that a recipe gives them, and what one must be able to do.

In: the files of this folder, read when the first name is asked for. Out: classes of :class:`Tracker`. One that stands
elsewhere plugs in with :func:`register_tracker`, before recipes are read.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, final

from spiritsafe.core.errors import CompatibilityError

_FILES = "spiritsafe.tracking"


@final
@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What a tracker is told of a run.

    Attributes:
        name: The recipe's name and the first digits of the run's hash.
        id: The run's hash, 64 hexadecimal digits: the same whenever the run goes on.
        project: Under which the tracker files it.
        directory: The run's own; a tracker that keeps files may make a folder of its name there.
    """

    name: str
    id: str
    project: str
    directory: Path


@final
@dataclass(frozen=True, kw_only=True)
class Points:
    """One step of some curves.

    Attributes:
        axis: What the step counts: the stage, or the rounds inside it.
        step: On that axis.
        values: By the curve's name, which begins with the stage's.
        time: When it was told, in seconds since 1970.
    """

    axis: str
    step: int
    values: Mapping[str, float]
    time: float


class Tracker(ABC):
    """One run in a tracker, opened when it is made; a run that goes on opens it again.

    Whatever a method raises ends the tracker and not the run. All are called in one thread of the tracker's own.
    """

    @abstractmethod
    def __init__(self, run: TrackedRun) -> None: ...

    @abstractmethod
    def log(self, points: Sequence[Points]) -> None:
        """Take points that came since the last call."""

    @abstractmethod
    def close(self) -> None:
        """No more points will come; returns when they are kept."""


@final
@dataclass(frozen=True, kw_only=True)
class _Registered:
    tracker: type[Tracker]
    module: str


_TRACKERS: dict[str, _Registered] = {}

TrackerT = TypeVar("TrackerT", bound=type[Tracker])


@final
@dataclass(frozen=True)
class register_tracker:  # it is a decorator
    """Make a class the tracker of a name.

    Attributes:
        name: In recipes, and of the extra of this package that installs its library.
        module: The module that its library is imported by.
    """

    name: str
    module: str

    def __call__(self, tracker: TrackerT) -> TrackerT:
        """Register."""
        _TRACKERS[self.name] = _Registered(tracker=tracker, module=self.module)
        return tracker


def tracker_names() -> list[str]:
    """All that are known."""
    for file in pkgutil.iter_modules(importlib.import_module(_FILES).__path__, f"{_FILES}."):
        importlib.import_module(file.name)
    return sorted(_TRACKERS)


def tracker_of(name: str) -> type[Tracker]:
    """The tracker of a name.

    Raises:
        CompatibilityError: Its library is not installed.
        KeyError: There is no such tracker.
    """
    tracker_names()
    found = _TRACKERS[name]
    if importlib.util.find_spec(found.module) is None:
        raise CompatibilityError(
            f"The tracker {name!r} needs the Python package {found.module}, which is not installed.",
            hint=f"Install it with: pip install 'spiritsafe[{name}]', or run without this tracker.",
        )
    return found.tracker
