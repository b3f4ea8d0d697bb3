"""An event sink that keeps warnings and progress, for tests of what a user is told."""

from __future__ import annotations

from spiritsafe.core.canonical import JSON

__all__ = ["Heard"]


class Heard:
    """Warnings that were given, and progress: done, total, unit, note."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.progressed: list[tuple[float, float | None, str, str]] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self.progressed.append((done, total, unit, note))

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        if kind == "warning":
            self.warnings.append(str(values["message"]))
