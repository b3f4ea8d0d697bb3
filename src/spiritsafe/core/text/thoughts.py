r"""Thoughts in an answer: one spelling for all that are kept, and one reading for all that are graded or trained on.

In: what a model thought and what it answered; or a text that holds both. Out: the text, or its parts. The spelling is
that of DeepSeek-R1's and Qwen3's chat templates, ``<think>\nthought\n</think>\n\nanswer``; a thought that was cut off
has no ``</think>``. Markers are read whatever their case; the channels of gpt-oss, spelled out, are markers too.
"""

from __future__ import annotations

import re
from typing import NamedTuple, final

OPEN = "<think>"
CLOSE = "</think>"

_MARK = re.compile(
    r"(?P<close></think>|<\|channel\|>\s*final\b.{0,80}?<\|message\|>)"
    r"|(?P<open><think>|<\|channel\|>\s*(?:analysis|commentary)\b.{0,80}?<\|message\|>)",
    re.IGNORECASE,
)


@final
class Parts(NamedTuple):
    """A text, taken apart.

    Attributes:
        thought: What stands in front of the answer; "" where nothing was thought.
        answer: What stands behind the last thought; "" while it has not ended.
        closed: No thought was left open. True of a text without any.
    """

    thought: str
    answer: str
    closed: bool


def wrap(thought: str, answer: str) -> str:
    """The text of an answer behind a thought that ended, blank lines between them as templates write them."""
    stripped = thought.strip("\n")
    return f"{OPEN}\n{stripped}\n{CLOSE}\n\n{answer.lstrip(chr(10))}"


def unfinished(thought: str) -> str:
    """The text of a thought that was cut off: no answer came."""
    return f"{OPEN}\n{thought.lstrip(chr(10))}"


def has_marks(text: str) -> bool:
    """Whether a thought begins or ends in it."""
    return _MARK.search(text) is not None


def _last_mark(text: str) -> tuple[int, bool]:
    """Where the text behind the last thought begins, and whether no thought was left open there."""
    begin, closed = 0, True
    for mark in _MARK.finditer(text):
        if mark["close"]:
            begin, closed = mark.end(), True
        else:
            closed = False
    return begin, closed


def split(text: str) -> Parts:
    """Thought and answer of a text, without the markers around them and the blank lines between them.

    A text that closes a thought without opening one began inside it (templates put ``<think>`` into the prompt).
    Several thoughts count as one, with what stands between them.
    """
    begin, closed = _last_mark(text)
    if closed and not begin:
        return Parts("", text, True)
    thought = text[:begin] if closed else text
    first = _MARK.match(thought.lstrip())
    if first and first["open"]:
        thought = thought.lstrip()[first.end() :]
    if closed:
        thought = thought[: max(mark.start() for mark in _MARK.finditer(thought) if mark["close"])]
    return Parts(thought.strip("\n"), text[begin:].lstrip("\n") if closed else "", closed)


def end_of(text: str, start: int) -> tuple[int, str]:
    """The end of a text from a place on, with an opening in front where a thought is open there.

    Returns:
        The place, before a ``<think>`` or ``</think>`` that it would have cut in two; and the end.
    """
    closed = True
    for mark in _MARK.finditer(text):
        if mark.start() >= start:
            break
        if mark.end() > start and len(mark[0]) <= len(CLOSE):
            start = mark.start()
            break
        closed = bool(mark["close"])
    return start, text[start:] if closed else f"{OPEN}\n{text[start:]}"


def completed(text: str) -> str:
    """A text that closes a thought which it never opened, with the opening in front; others as they are."""
    first = _MARK.search(text)
    if first is None or not first["close"] or first[0].lower() != CLOSE:
        return text
    return wrap(text[: first.start()], text[first.end() :])
