"""Parts of a text that are taken out with the lines on which they stand.

In: a text and places in it. Out: the text without them, its other lines as they were.
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
