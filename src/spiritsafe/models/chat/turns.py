"""Where in a rendered conversation an assistant's turn stands, so that it can be learnt beside the last one.

In: a conversation and what renders it. Out: the part of the text that the assistant wrote, its end token included. How
it is known: the turn is replaced by a word of our own, and what the text before the word and behind the end token then
reads is what the conversation itself must begin and end with; so the turn is what stands between, whatever the template
trimmed, left out or wrote around it. Where that does not hold, the turn is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.models.chat.markers import Marked

Render = Callable[[Sequence[Message], bool], Marked]
"""A conversation as text, with the header of a next turn or without."""

_WORD = "spiritsafeturn"


@final
@dataclass(frozen=True, slots=True)
class Span:
    """An assistant's turn in a text.

    Attributes:
        start: Where begins what it writes.
        stop: Where that ends.
        end: Name of the end token behind, "" where the template writes none.
    """

    start: int
    stop: int
    end: str

    @property
    def behind(self) -> int:
        """Where the text goes on behind the end token."""
        return self.stop + len(self.end)


@final
class TurnFinder:
    """Finds turns.

    Args:
        special: Names of special tokens and markers, one of which ends a turn.
        thoughts: Names of the markers around a thought, if there are such.
        where: The model directory, for messages.
    """

    def __init__(self, render: Render, special: Collection[str], thoughts: Collection[str], where: object) -> None:
        self._render = render
        self._where = where
        names = "|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)"
        self._end = re.compile(rf"\s*({names})")
        self._last = re.compile(rf"\s*({names})\s*\Z")
        marks = "|".join(map(re.escape, sorted(thoughts, key=len, reverse=True))) or "(?!)"
        self._no_thought = re.compile(rf"(?:{marks})\s*(?:{marks})\s*\Z")
        self._asked_to_think = re.compile(rf"(?:{marks})\s*\Z")

    def spans(
        self, messages: Sequence[Message], turns: Collection[int], whole: Marked, *, generation: bool
    ) -> list[Span]:
        """Where turns stand, in their order.

        Args:
            turns: Places of turns of the assistant among the messages.
            whole: The conversation as it is rendered.
            generation: Whether with the header of a next turn.

        Raises:
            CompatibilityError: There is no such turn, or it cannot be told from what stands around it.
        """
        found: list[Span] = []
        for turn in sorted(set(turns)):
            if not 0 <= turn < len(messages) or messages[turn].role != "assistant":
                raise CompatibilityError(
                    f"Message {turn + 1} of this conversation is no turn of the assistant.",
                    hint="Name such turns only.",
                )
            span = self._by_word(messages, turn, whole, generation) or self._by_end(messages, turn, whole)
            if span is None or (found and span.start < found[-1].behind):
                raise CompatibilityError(
                    f"The chat template of {self._where} shows turn {turn + 1} of a conversation so that it cannot be "
                    "told from what stands around it: it cannot be learnt.",
                    hint='Mark that turn "train": false, or learn from the last turns only.',
                )
            found.append(span)
        return found

    def _asked(self, messages: Sequence[Message], turn: int) -> str | None:
        """What a model is asked with for that turn."""
        try:
            return self._render(messages[:turn], True).plain
        except CompatibilityError:
            return None

    def _by_word(self, messages: Sequence[Message], turn: int, whole: Marked, generation: bool) -> Span | None:
        word = _WORD
        while word in whole.plain:
            word += "x"
        other = [*messages[:turn], self._worded(messages[turn], word), *messages[turn + 1 :]]
        try:
            shown = self._render(other, generation)
        except CompatibilityError:
            return None
        if shown.plain.count(word) != 1:
            return None
        place = shown.plain.index(word)
        end = self._end.match(shown.text, place + len(word))  # in the text with stand-ins, names are the template's
        rest = shown.plain[end.end() if end else place + len(word) :]
        behind = len(whole.plain) - len(rest)
        start = self._start(shown.plain[:place], whole.plain, self._asked(messages, turn))
        if start is None or behind < start or not whole.plain.endswith(rest):
            return None
        if end is None:
            return Span(start, behind, "")
        return self._ended(whole, start, behind)

    def _worded(self, message: Message, word: str) -> Message:
        return Message(role="assistant", content=word, tools=message.tools)

    def _start(self, before: str, whole: str, asked: str | None) -> int | None:
        """Where a turn begins that is shown behind ``before`` where it is one word."""
        header = self._no_thought.sub("", before)
        thinks = asked is not None and self._asked_to_think.search(asked) is not None
        if thinks and header != before and whole.startswith(before):
            return len(before)  # it is asked behind a mark of thoughts, so an empty thought is nothing that it writes
        if asked is not None and whole.startswith(asked) and (before.startswith(asked) or asked.startswith(header)):
            return len(asked)
        return len(header) if whole.startswith(header) else None

    def _by_end(self, messages: Sequence[Message], turn: int, whole: Marked) -> Span | None:
        """Where the turn, as the last one, is shown as it is among others: for calls that must have their results."""
        asked = self._asked(messages, turn)
        try:
            last = self._render(messages[: turn + 1], False).plain.rstrip()
        except CompatibilityError:
            return None
        if asked is None or not last.startswith(asked) or not whole.plain.startswith(last):
            return None
        return self._ended(whole, len(asked), len(last))

    def _ended(self, whole: Marked, start: int, behind: int) -> Span | None:
        end = self._last.search(whole.text, start, behind)
        if end is None or end.end() != behind:
            return None
        return Span(start, end.start(1), end[1])
