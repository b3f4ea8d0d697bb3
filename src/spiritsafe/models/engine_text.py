"""Stop strings: where a completion ends when the end is text, not a token.

In: drawn tokens and the strings. Out: how many tokens were needed and the text before the stop. A stop string may span
tokens, or begin or end inside one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

__all__ = ["StopFinder"]

Decode = Callable[[Sequence[int]], str]


@final
class StopFinder:
    """Looks for stop strings in the newest part of a completion.

    Args:
        decode: Tokens to text.
        stop: The strings; empty ones never match.
    """

    def __init__(self, decode: Decode, stop: Sequence[str]) -> None:
        self._decode = decode
        self._stop = tuple(text for text in stop if text)
        # Each token holds at least one byte, so this many tokens surely cover the longest stop string.
        self._reach = max((len(text.encode("utf-8")) for text in self._stop), default=0) + 4

    def _contains(self, text: str) -> bool:
        return any(stop in text for stop in self._stop)

    def find(self, token_ids: Sequence[int], num_new: int) -> tuple[int, str] | None:
        """The first stop that the newest ``num_new`` tokens complete.

        Returns:
            How many tokens complete it, and the text before it; None when there is no stop.
        """
        if not self._stop:
            return None
        known = len(token_ids) - num_new
        start = max(0, known - self._reach)
        if not self._contains(self._decode(token_ids[start:])):
            return None
        for count in range(known + 1, len(token_ids) + 1):
            text = self._decode(token_ids[:count])
            found = [text.index(stop) for stop in self._stop if stop in text]
            if found:
                return count, text[: min(found)]
        return None
