"""An answer's text as it grows, up to a stop string.

In: drawn tokens, one by one. Out: what each adds to the text; no character of it is ever taken back. What may still
become part of a stop string, of a character or of a marker is held back until it is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from spiritsafe.models.chat.thoughts import GrowingText, num_begun


@final
class AnswerText:
    """The text of one answer.

    Args:
        growing: Tokens to text.
        stop: Strings that end it and are not part of it; empty ones never match.

    Attributes:
        stopped_by: The stop string that ended it. It takes no more tokens then.
    """

    def __init__(self, growing: GrowingText, stop: Sequence[str] = ()) -> None:
        self._growing = growing
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self.stopped_by: str | None = None

    def take(self, token_id: int) -> str:
        """What one more token adds for sure."""
        return self._released(self._growing.take(token_id))

    def finish(self) -> str:
        """What was held back, when no more tokens come; a stop string may still stand in it."""
        if self.stopped_by is not None:
            return ""
        text = self._released(self._growing.finish())
        text, self._held = text + self._held, ""
        return text

    def _released(self, more: str) -> str:
        if not self._stop or not more:
            return more
        text = self._held + more
        found = [(place, stop) for stop in self._stop if (place := text.find(stop)) >= 0]
        if found:
            place, self.stopped_by = min(found, key=lambda one: one[0])
            self._held = ""
            return text[:place]
        sure = len(text) - max(num_begun(text, stop) for stop in self._stop)
        self._held = text[sure:]
        return text[:sure]
