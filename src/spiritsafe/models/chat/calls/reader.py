"""An answer's text taken apart as it grows: thoughts, text, calls of tools and their arguments.

In: the text of drawn tokens, piece by piece, thoughts in the one form. Out: parts; joined by kind they are the same
however the text was cut. What may still become a marker is held back. A call that was cut off is given as far as it
came; what is only spelled a little like a call is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, final

from spiritsafe.core.serving import Part, PartKind
from spiritsafe.core.text.thoughts import CLOSE, OPEN
from spiritsafe.models.chat.calls.spelling import NAME_CHARACTERS, CallSpelling, Loose
from spiritsafe.models.chat.thoughts import num_begun

_Place = Literal["start", "thought", "break", "text", "name", "middle", "arguments", "behind"]


@final
class AnswerReader:
    """Reads one answer.

    Args:
        spelling: How calls are spelled; None: nothing is a call.
        thinks: A thought may stand in front; else ``<think>`` is a word like others.

    Attributes:
        num_calls: Calls whose name is known.
    """

    def __init__(self, spelling: CallSpelling | None, *, thinks: bool) -> None:
        self._spelling = spelling
        self._thinks = thinks
        self._place: _Place = "start" if thinks else "text"
        self._rest = ""
        self._parts: list[Part] = []
        self._has_text = self._has_thought = self._thought_begun = self._behind_call = False
        self._raw = ""
        self._json = _JsonEnd()
        self.num_calls = 0
        if spelling is not None:
            self._head, self._middle = Loose(spelling.head), Loose(spelling.middle)
            self._gap = None if spelling.gap is None else Loose(spelling.gap)
            self._tail = Loose(spelling.tail)

    @property
    def in_thought(self) -> bool:
        """The newest text belongs to a thought that has not ended."""
        return self._place == "thought"

    def feed(self, text: str) -> tuple[Part, ...]:
        """What more text makes known."""
        self._rest += text
        return self._read(is_last=False)

    def finish(self) -> tuple[Part, ...]:
        """What was held back, when no more text comes."""
        return self._read(is_last=True)

    def _read(self, *, is_last: bool) -> tuple[Part, ...]:
        steps = {
            "start": self._start,
            "thought": self._thought,
            "break": self._start,
            "text": self._text,
            "name": self._read_name,
            "middle": self._read_middle,
            "arguments": self._arguments,
            "behind": self._behind,
        }
        while steps[self._place](is_last):
            pass
        parts, self._parts = self._parts, []
        return tuple(_joined(parts))

    def _give(self, kind: PartKind, text: str) -> None:
        if text:
            self._parts.append(Part(kind=kind, text=text))

    # ---- Each step reads what it can and says whether another may go on.

    def _start(self, is_last: bool) -> bool:
        """In front of the answer, or behind a thought: another thought may begin."""
        stripped = self._rest.lstrip()
        if stripped.startswith(OPEN):
            self._rest = stripped[len(OPEN) :]
            self._give("thought", "\n" if self._has_thought else "")
            self._place, self._has_thought, self._thought_begun = "thought", True, False
            return True
        if not is_last and OPEN.startswith(stripped):
            return False
        if self._place == "break":  # blank lines between thought and answer belong to neither
            self._rest = self._rest.lstrip("\n")
        self._place = "text"
        return True

    def _thought(self, is_last: bool) -> bool:
        if not self._thought_begun:
            self._rest = self._rest.lstrip("\n")
            self._thought_begun = bool(self._rest)
        before, close, after = self._rest.partition(CLOSE)
        if close:
            self._give("thought", before.rstrip("\n"))
            self._rest, self._place = after, "break"
            return True
        num_held = 0 if is_last else num_begun(before, CLOSE)
        sure = before[: len(before) - num_held].rstrip("\n")
        self._give("thought", sure)
        self._rest = "" if is_last else before[len(sure) :]
        return False

    def _text(self, is_last: bool) -> bool:
        if self._behind_call:  # blank lines behind a call are the call's
            self._rest = self._rest.lstrip()
        rest = self._rest
        for place in self._call_places():
            end = self._head.end(rest, place)
            if end is None or (is_last and end > len(rest)):
                continue
            sure = rest[:place].rstrip()
            self._say(sure)
            if end > len(rest):
                self._rest = rest[len(sure) :]
                return False
            self._raw, self._rest, self._place = rest[place:end], rest[end:], "name"
            return True
        # White space in front of a call is the call's.
        sure = rest if is_last or self._spelling is None else rest.rstrip()
        self._say(sure)
        self._rest = rest[len(sure) :]
        return False

    def _call_places(self) -> Iterator[int]:
        """Where a call may begin."""
        if self._spelling is None:
            return
        rest = self._rest
        if not self._spelling.behind_text:
            if not self._has_text:
                yield len(rest) - len(rest.lstrip())
            return
        place = rest.find(self._head.first)
        while place >= 0:
            yield place
            place = rest.find(self._head.first, place + 1)

    def _say(self, text: str) -> None:
        if text:
            self._has_text, self._behind_call = True, False
        self._give("text", text)

    def _read_name(self, is_last: bool) -> bool:
        size = next((i for i, sign in enumerate(self._rest) if sign not in NAME_CHARACTERS), None)
        if size is None and not is_last:
            return False
        if not size:  # cut off within its name, or no name: no call
            self._say(self._raw + self._rest[: size or len(self._rest)])
            self._rest = "" if size is None else self._rest
            self._place = "text"
            return size is not None
        self._give("call", self._rest[:size])
        self.num_calls += 1
        self._rest, self._place = self._rest[size:], "middle"
        return True

    def _read_middle(self, is_last: bool) -> bool:
        end = self._middle.end(self._rest, 0)
        if end is not None and end > len(self._rest):
            self._rest = "" if is_last else self._rest
            return False
        self._rest = self._rest[end or 0 :]
        self._json, self._place = _JsonEnd(), "arguments"
        return True

    def _arguments(self, is_last: bool) -> bool:
        if not self._json.has_begun:
            self._rest = self._rest.lstrip()
        size = self._json.take(self._rest)
        self._give("arguments", self._rest[:size])
        self._rest = self._rest[size:]
        if self._json.has_ended:
            self._place = "behind"
        return self._json.has_ended

    def _behind(self, is_last: bool) -> bool:
        rest = self._rest
        gap = None if self._gap is None else self._gap.end(rest, 0)
        tail = self._tail.end(rest, 0)
        if gap is not None and gap <= len(rest):
            self._raw, self._rest, self._place = rest[:gap], rest[gap:], "name"
            return True
        if gap is not None or (tail is not None and tail > len(rest)):
            if not is_last:
                return False
            tail = len(rest) if tail is None or tail > len(rest) else tail
        self._rest, self._place, self._behind_call = rest[tail or 0 :], "text", True
        return True


@final
class _JsonEnd:
    """Looks for the end of a JSON object; what begins otherwise has none."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = self._is_other = False
        self.has_begun = self.has_ended = False

    def take(self, text: str) -> int:
        """How many characters of more text belong to it."""
        for place, sign in enumerate(text):
            if not self.has_begun:
                self.has_begun, self._is_other = True, sign != "{"
            if self._is_other:
                return len(text)
            if self._in_string:
                self._in_string = self._escaped or sign != '"'
                self._escaped = not self._escaped and sign == "\\"
            elif sign == '"':
                self._in_string = True
            elif sign in "{[":
                self._depth += 1
            elif sign in "}]":
                self._depth -= 1
                if not self._depth:
                    self.has_ended = True
                    return place + 1
        return len(text)


def _joined(parts: Iterable[Part]) -> list[Part]:
    """Neighbours of one kind as one."""
    out: list[Part] = []
    for part in parts:
        if out and out[-1].kind == part.kind != "call":
            out[-1] = Part(kind=part.kind, text=out[-1].text + part.text)
        else:
            out.append(part)
    return out
