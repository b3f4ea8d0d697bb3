"""Text that others wrote, made safe to show: in a terminal, in a page, in a log.

In: any text, hostile model output and names in a certificate included. Out: the same without characters that move the
cursor, hide or reorder text. A holder's name with an escape sequence in it could otherwise overwrite the line that says
that a step failed. Exercised by ``pytest tests/unit/core/test_printing.py``.
"""

from __future__ import annotations

import unicodedata

__all__ = ["one_line", "visible"]

_JOINERS = frozenset("\u200c\u200d")  # Persian, Indic scripts and emoji are spelled with these two
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str) -> str:
    """Replace characters that hide or reorder text (controls, bidi overrides, tag characters) by their code point.

    A model that prints U+202E could otherwise make a wrong answer read as a right one; a NUL or a lone surrogate could
    not be written at all. Newlines and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join(
        f"⟨U+{ord(char):04X}⟩"
        if unicodedata.category(char) in _HIDDEN_CATEGORIES and char not in "\n\t" and char not in _JOINERS
        else char
        for char in text
    )


def one_line(text: str) -> str:
    """The same on one line: nobody's name can start a line of its own."""
    return visible(text).replace("\n", "⟨U+000A⟩").replace("\t", "⟨U+0009⟩")
