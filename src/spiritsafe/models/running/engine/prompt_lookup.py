"""Drafts for free: what followed the last time that the newest tokens stood in the prompt or the answer.

In: a sequence as it grows. Out: a guess at its next tokens, which a step of several tokens may confirm. (Saxena,
"Prompt lookup decoding", 2023.) A sequence whose guesses fail is left alone for longer and longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

_LONGEST, _SHORTEST = 3, 2
"""Tokens of which the newest must agree with an earlier place."""
_MOST_REST = 32
"""Most steps without a guess after one that failed."""


@final
class PromptLookup:
    """Looks for the newest tokens in all that stands before them.

    Args:
        token_ids: The prompt.
    """

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}
        self._rest, self._next_rest = 0, 1
        self.extend(token_ids)

    def extend(self, token_ids: Sequence[int]) -> None:
        """Add tokens to the sequence."""
        for token in token_ids:
            for size in range(_SHORTEST, _LONGEST + 1):  # what ends here is behind the place before the new token
                if len(self._ids) >= size:
                    self._behind[tuple(self._ids[-size:])] = len(self._ids)
            self._ids.append(token)

    def guess(self, count: int) -> list[int]:
        """Up to ``count`` tokens that may come next; none while it rests."""
        if self._rest:
            self._rest -= 1
            return []
        for size in range(_LONGEST, _SHORTEST - 1, -1):
            place = self._behind.get(tuple(self._ids[-size:]))
            if place is not None:
                return self._ids[place : place + count]
        return []

    def learn(self, num_confirmed: int) -> None:
        """Take note of how much of the last guess came true."""
        if num_confirmed:
            self._next_rest = 1
        else:
            self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, _MOST_REST)
