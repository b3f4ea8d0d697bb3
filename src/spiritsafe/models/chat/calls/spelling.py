r"""How a model spells calls of tools: ``<tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call>``, or another way.

In: turns with one call, with two, and with text in front, as a chat template shows them. Out: what stands before a
name, between name and arguments, between two calls and behind the last one. A template that spells arguments in another
way than as JSON, or a call in a way that cannot be told from text, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message, ToolCall
from spiritsafe.models.chat.tools import PROBE_TOOL

ID_SLOT = "\0"
"""Stands in a spelling where the call's id stands."""

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
"""What names of tools are made of, as in OpenAI's interface."""

_NAMES = ("spiritsafe_first", "spiritsafe_second")
_IDS = ("spirit123", "spirit456")  # nine letters and digits: Mistral's templates take no other
_WORDS = "spiritsafe words"
_PUNCTUATION = frozenset('{}[]:,"')

TurnText = Callable[[Sequence[Message]], str]
"""What a template shows of the turn that is the last of a conversation."""


@final
class Loose:
    """A literal whose white space may be more or less: JSON is the same with any.

    Args:
        literal: :data:`ID_SLOT` in it stands for any word.
    """

    def __init__(self, literal: str) -> None:
        self._signs: list[tuple[str, bool]] = []
        space, before = False, ""
        for sign in literal:
            if sign.isspace():
                space = True
                continue
            self._signs.append((sign, space or before in _PUNCTUATION - {'"'} or sign in _PUNCTUATION - {'"'}))
            space, before = False, sign
        self.is_empty = not self._signs

    def end(self, text: str, start: int) -> int | None:
        """Where it ends if it stands at ``start``; the text's length + 1 if more text may complete it; else None."""
        place = start
        for sign, space in self._signs:
            while space and place < len(text) and text[place].isspace():
                place += 1
            if sign == ID_SLOT:
                while place < len(text) and text[place] in NAME_CHARACTERS:
                    place += 1
                if place == len(text):
                    return len(text) + 1
                continue
            if place == len(text):
                return len(text) + 1
            if text[place] != sign:
                return None
            place += 1
        return place

    @property
    def first(self) -> str:
        """Its first sign; "" where it has none."""
        return self._signs[0][0] if self._signs else ""

    @property
    def regex(self) -> str:
        """The same as a regular expression."""
        return "".join(r"\s*" * space + re.escape(sign) for sign, space in self._signs)


@final
@dataclass(frozen=True, kw_only=True)
class CallSpelling:
    """How calls are spelled: head, name, middle, arguments, then gap, name, middle, arguments…, then tail.

    Attributes:
        trigger: What no text may hold without being a call: the head's first marker or word, or all of it.
        head: Before the first name.
        middle: Between a name and its arguments.
        gap: Between arguments and the next name; None: the template shows one call in a turn only.
        tail: Behind the last arguments.
        behind_text: Text may stand before the calls.
    """

    trigger: str
    head: str
    middle: str
    gap: str | None
    tail: str
    behind_text: bool

    @classmethod
    def of(
        cls, turn_text: TurnText, tags: tuple[str, str] | None, added: Collection[str], where: object
    ) -> CallSpelling:
        """What a template does.

        Args:
            tags: Markers around the thought that the turn may begin with; None: the model has channels.
            added: Names of added tokens.
            where: The model directory, for messages.

        Raises:
            CompatibilityError: Its calls cannot be read.
        """
        if tags is None:
            raise _unreadable(where, "puts calls of tools on channels of their own")

        def shown(text: str, calls: Sequence[ToolCall]) -> str:
            asked = Message(role="user", content="?", tools=(PROBE_TOOL,))
            turn = Message(role="assistant", content=text, tool_calls=tuple(calls))
            return turn_text((asked, turn)).rpartition(tags[1])[2]

        calls = [
            ToolCall(name=name, arguments=json.dumps({"spot": name[::-1]}), id=id_)
            for name, id_ in zip(_NAMES, _IDS, strict=True)
        ]
        head, middle, tail = _parts(shown("", calls[:1]), calls[0], where)
        gap = None
        try:
            two = shown("", calls)
            _, _, rest = _parts(two, calls[0], where)
            gap, again, _ = _parts(rest, calls[1], where)
        except CompatibilityError:
            again = middle  # one call only
        if again != middle or not head.strip() or middle.strip()[:1] in {*NAME_CHARACTERS, ""}:
            raise _unreadable(where, "writes calls that cannot be told from text")
        trigger = _trigger(head, added)
        try:
            behind_text = trigger in shown(_WORDS, calls[:1]).partition(_WORDS)[2]
        except CompatibilityError:
            behind_text = False
        return cls(trigger=trigger, head=head.lstrip(), middle=middle, gap=gap, tail=tail, behind_text=behind_text)

    @property
    def after_trigger(self) -> str:
        """The head without its trigger."""
        return self.head[len(self.trigger) :]

    def names_in(self, names: Collection[str]) -> list[str]:
        """Those of some names of tokens that a call is spelled with."""
        parts = (self.head, self.middle, self.gap or "", self.tail)
        return [name for name in names if any(name in part for part in parts)]


HERMES = CallSpelling(
    trigger="<tool_call>",
    head='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    gap='}\n</tool_call>\n<tool_call>\n{"name": "',
    tail="}\n</tool_call>",
    behind_text=True,
)
"""The spelling of Hermes and Qwen, for models whose templates have none."""


def _unreadable(where: object, what: str) -> CompatibilityError:
    return CompatibilityError(
        f"The chat template of {where} {what}: tools cannot be served with it.",
        hint='Ask without tools or with tool_choice "none", or use a model whose template writes calls as JSON.',
    )


def _parts(text: str, call: ToolCall, where: object) -> tuple[str, str, str]:
    """What stands before the name, between name and arguments, and behind."""
    head, name, rest = text.partition(call.name)
    start = rest.find("{")
    if not name or start < 0:
        raise _unreadable(where, "writes the arguments of calls otherwise than as JSON")
    try:
        value, end = json.JSONDecoder().raw_decode(rest, start)
    except ValueError:
        value, end = None, 0
    if value != json.loads(call.arguments):
        raise _unreadable(where, "writes the arguments of calls otherwise than as JSON")
    slots = (head, rest[:start], rest[end:])
    head, middle, tail = (part.replace(call.id or ID_SLOT, ID_SLOT) for part in slots)
    return head, middle, tail


def _trigger(head: str, added: Collection[str]) -> str:
    head = head.lstrip()
    marker = max((name for name in added if head.startswith(name)), key=len, default="")
    word = re.match(r"[^\s{}\"]*", head)
    return marker or (word[0] if word else "") or head
