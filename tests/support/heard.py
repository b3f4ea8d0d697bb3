"""An event sink that keeps warnings, for tests of what a user is told."""

from __future__ import annotations

from spiritsafe.core.canonical import JSON

__all__ = ["Heard"]


class Heard:
    """Warnings that were given."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        pass

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        if kind == "warning":
            self.warnings.append(str(values["message"]))
