"""Special tokens that calls are spelled with, shown in an answer's text: ``[TOOL_CALLS]`` leaves no trace otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from spiritsafe.models.chat.thoughts import GrowingText


@final
class MarkedText:
    """Text of tokens in which some special tokens show their names.

    Args:
        plain: Text of the tokens between them; after its ``finish`` it begins anew.
        marks: Names by ids, as :class:`~spiritsafe.models.chat.calls.prompt.ToolPrompt` has them.
    """

    def __init__(self, plain: GrowingText, marks: Mapping[int, str]) -> None:
        self._plain = plain
        self._marks = marks

    def take(self, token_id: int) -> str:
        """What one more token adds."""
        name = self._marks.get(token_id)
        return self._plain.take(token_id) if name is None else self._plain.finish() + name

    def finish(self) -> str:
        """What was held back."""
        return self._plain.finish()
