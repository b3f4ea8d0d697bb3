"""Harmony, the format of gpt-oss: messages on channels, all of whose markers are special tokens.

``<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>`` is
``<think>…</think>…`` in the one form. What is said on another channel than "final" (commentary, calls of tools) is put
aside as thoughts are. A call ends a turn as ``<|return|>`` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self, final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.text.thoughts import CLOSE, OPEN
from spiritsafe.models.chat.markers import Piece
from spiritsafe.models.chat.thoughts import GrowingText, Placed, TemplateProbe, Use, is_open, split_thought

_START, _CHANNEL, _MESSAGE, _END = "<|start|>", "<|channel|>", "<|message|>", "<|end|>"
_CALL = "<|call|>"
_THINKS = f"{_CHANNEL}analysis{_MESSAGE}"
_ANSWERS = f"{_CHANNEL}final{_MESSAGE}"
_NEXT = f"{_END}{_START}assistant"
_THOUGHT = re.compile(rf"\s*{OPEN}(.*?)({CLOSE}|\Z)", re.DOTALL)


def _behind_newlines(text: str, place: int) -> int:
    while text.startswith("\n", place):
        place += 1
    return place


@final
class _Whole:
    """Text of tokens, given when they end."""

    def __init__(self, probe: TemplateProbe) -> None:
        self._probe = probe
        self._kept: list[int] = []

    def take(self, token_id: int) -> str:
        self._kept.append(token_id)
        return ""

    def finish(self) -> str:
        kept, self._kept = self._kept, []
        return self._probe.decode(kept)


@final
class _Reader:
    """Reads tokens message by message.

    Args:
        plain: Text of a message's tokens.
    """

    def __init__(self, plain: GrowingText, probe: TemplateProbe, names: Mapping[int, str], prefix: str | None) -> None:
        self._plain = plain
        self._names = names
        self._head = _Whole(probe)
        self._place: Literal["start", "header", "channel", "thought", "answer"] = "start"
        if prefix:
            self._place = "thought" if is_open(prefix) else "answer"

    def take(self, token_id: int) -> str:
        name = self._names.get(token_id)
        is_head = self._place in ("start", "header")
        if name is None:
            # Words at the start may be a header or the answer itself: what comes behind them says.
            return self._head.take(token_id) if is_head or self._place == "channel" else self._plain.take(token_id)
        if name == _CHANNEL and is_head:
            self._head.finish()
            self._place = "channel"
        elif name == _MESSAGE and (is_head or self._place == "channel"):
            words = self._head.finish().split()
            is_answer = self._place == "channel" and words[:1] == ["final"]
            self._place = "answer" if is_answer else "thought"
            return "" if is_answer else OPEN
        elif name not in (_CHANNEL, _MESSAGE):  # the end of a message, or the start of the next
            text = self.finish() + (CLOSE if self._place == "thought" else "")
            self._place = "header"
            return text
        return ""

    def finish(self) -> str:
        """What was read since the last marker, unless it is a header."""
        head = self._head.finish()
        if self._place in ("thought", "answer"):
            return self._plain.finish()
        return head if self._place == "start" else ""


@final
class Harmony:
    """See the module.

    Args:
        probe: What the template does.

    Raises:
        CompatibilityError: The template writes an answer in another way.
    """

    inner: frozenset[str] = frozenset()
    note = ""
    thinks: bool = True
    tags: tuple[str, str] | None = None

    def __init__(self, probe: TemplateProbe) -> None:
        self._probe = probe
        self.ends: tuple[str, ...] = (_CALL,) if _CALL in probe.ids else ()
        self._names = {probe.ids[name]: name for name in (_START, _CHANNEL, _MESSAGE, _END, probe.end, *self.ends)}
        if probe.before != probe.prompt + _ANSWERS or probe.after:
            raise CompatibilityError(
                f"The chat template of {probe.where} has harmony's channels, and writes "
                f"{probe.before[-60:]!r} before an answer and {probe.prompt[-60:]!r} where it asks for one.",
                hint="Use the template that gpt-oss was published with.",
            )

    @classmethod
    def detect(cls, probe: TemplateProbe) -> Self | None:
        """Where the markers are tokens and the template writes them."""
        speaks = all(name in probe.ids and name in probe.template for name in (_START, _CHANNEL, _MESSAGE, _END))
        return cls(probe) if speaks else None

    def fields(self, text: str) -> dict[str, str]:
        """Thought and answer apart."""
        thought, answer = split_thought(text)
        if thought is None:
            return {"content": answer}
        thought = thought.replace(OPEN, "\n").replace(CLOSE, "").strip("\n")
        return {"content": answer.lstrip("\n"), "thinking": thought, "reasoning_content": thought}

    def place(self, text: str, use: Use = "learn") -> Placed:
        """See :class:`~spiritsafe.models.chat.thoughts.ThoughtFormat`; a channel is always named."""
        if CLOSE in text and OPEN not in text.partition(CLOSE)[0]:
            text = OPEN + text
        pieces: list[Piece] = []
        place = 0
        while found := _THOUGHT.match(text, place):
            thought, close, place = found[1], found[2], found.end()
            if thought.startswith("\n") and close:  # as models with tags set it
                thought, place = thought.strip("\n"), _behind_newlines(text, place)
            pieces += [(_THINKS, True), (thought, False)]
            if not close:
                return Placed(tuple(pieces))
            pieces.append((_NEXT, True))
        text = text[place:]
        if use == "align" and not pieces:
            return Placed(((text, False),), header=_ANSWERS)
        return Placed((*pieces, (_ANSWERS, True), (text, False)))

    def text(self, token_ids: Sequence[int], *, prefix: str | None) -> str:
        """See :class:`~spiritsafe.models.chat.thoughts.ThoughtFormat`."""
        reader = _Reader(_Whole(self._probe), self._probe, self._names, prefix)
        return "".join([reader.take(token) for token in token_ids]) + reader.finish()

    def growing(self, plain: GrowingText, *, prefix: str | None) -> GrowingText:
        """See :class:`~spiritsafe.models.chat.thoughts.ThoughtFormat`."""
        return _Reader(plain, self._probe, self._names, prefix)

    def lead(self, spell: Callable[[str], str]) -> str:
        """See :class:`~spiritsafe.models.chat.thoughts.ThoughtFormat`; calls of tools are not among it."""
        return (
            f'lead: thought* {spell(_CHANNEL)} "final" {spell(_MESSAGE)}\n'
            f'thought: {spell(_CHANNEL)} ("analysis" | "commentary") {spell(_MESSAGE)} THOUGHT {spell(_NEXT)}\n'
            "THOUGHT: /(?s:.*)/\n"
        )
