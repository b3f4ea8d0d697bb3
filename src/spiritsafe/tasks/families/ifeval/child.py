"""Checks instructions inside a child process, under the limits of :mod:`spiritsafe.core.process.children.pool`."""

from __future__ import annotations

from functools import cache
from typing import Any, final

from spiritsafe.tasks.families.ifeval.compose import composed
from spiritsafe.tasks.families.ifeval.instructions import followed
from spiritsafe.tasks.families.ifeval.reading import Reader


@cache
def _reader() -> Reader:
    """With its libraries' models loaded, which takes a second."""
    reader = Reader()
    reader.language("This sentence loads the profiles.")
    reader.num_sentences("This sentence loads the model.", 1)
    return reader


@final
class InstructionHandler:
    """Answers ``{"instructions": […], "text": …, "loose": …}`` with a list of yes and no."""

    def __init__(self) -> None:
        self._reader = _reader()

    def __call__(self, payload: dict[str, Any]) -> list[bool]:
        """Which instructions the text follows."""
        return followed(payload["instructions"], payload["text"], self._reader, loose=payload["loose"])


@final
class ExampleHandler:
    """Answers ``{"instructions": […]}`` with a text that follows them, or None."""

    def __init__(self) -> None:
        self._reader = _reader()

    def __call__(self, payload: dict[str, Any]) -> str | None:
        """A text that follows the instructions."""
        return composed(payload["instructions"], self._reader)
