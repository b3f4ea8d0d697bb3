"""Stop strings: where a completion ends when the end is text, not a token.

In: drawn tokens and the strings. Out: how many tokens were needed and the text before the stop. A stop string may span
tokens, or begin or end inside one.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import final

Decode = Callable[[Sequence[int]], str]


@final
class StopFinder:
    """Looks for stop strings in the newest part of a completion.

    Args:
        decode: Tokens to text.
        stop: The strings; empty ones never match.
        marks: Tokens that may stand for text in a completion although ``decode`` leaves them out.
    """

    def __init__(self, decode: Decode, stop: Sequence[str], marks: Container[int] = ()) -> None:
        self._decode = decode
        self._marks = marks
        self._stop = tuple(text for text in stop if text)
        # Each token holds at least one byte, so this many tokens surely cover the longest stop string.
        self._reach = max((len(text.encode("utf-8")) for text in self._stop), default=0) + 4

    def _contains(self, text: str) -> bool:
        return any(stop in text for stop in self._stop)

    def find(self, token_ids: Sequence[int], num_new: int, whole: Decode | None = None) -> tuple[int, str] | None:
        """The first stop that the newest ``num_new`` tokens complete.

        Args:
            token_ids: All tokens of the completion so far.
            num_new: How many of them were not looked at before.
            whole: All tokens of a completion to its text, where that is more than ``decode`` makes of them.

        Returns:
            How many tokens complete it, and the text before it; None when there is no stop.
        """
        if not self._stop:
            return None
        known = len(token_ids) - num_new
        start = max(0, known - self._reach)
        if not self._contains(self._decode(token_ids[start:])) and not any(
            token in self._marks for token in token_ids[start:]
        ):
            return None
        whole = whole or self._decode
        for count in range(known + 1, len(token_ids) + 1):
            text = whole(token_ids[:count])
            found = [text.index(stop) for stop in self._stop if stop in text]
            if found:
                return count, text[: min(found)]
        return None
