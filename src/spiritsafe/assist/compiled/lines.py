"""The lines on which parts of a text stand.

In: a text and places in it. Out: their numbers; or the text without them, its other lines as they were.
"""

from __future__ import annotations


def without_lines(text: str, start: int, end: int) -> str:
    """The text without all lines from one place to another, and without the blank lines behind them."""
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    rest = text[last + 1 :] if last >= 0 else ""
    while rest and not (line := rest.partition("\n"))[0].strip() and line[1]:
        rest = line[2]
    return text[:first] + rest


def line_numbers(text: str, start: int, end: int) -> frozenset[int]:
    """Of all lines from one place to another; the first of the text is 1."""
    return frozenset(range(text.count("\n", 0, start) + 1, text.count("\n", 0, end) + 2))
