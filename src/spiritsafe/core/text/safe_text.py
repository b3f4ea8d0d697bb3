"""Text that others wrote, made safe to show: in a terminal, in a page, in a log.

In: any text, hostile model output and names in a certificate included. Out: the same without characters that move the
cursor, hide or reorder text. A holder's name with an escape sequence in it could otherwise overwrite the line that says
that a step failed.
"""

from __future__ import annotations

import unicodedata

_JOINERS = frozenset("\u200c\u200d")  # Persian, Indic scripts and emoji are spelled with these two
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, 0xFFA0))
)  # joiners and fillers that are letters, marks or symbols to Unicode, and nothing to the eye
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))  # another look of the character before, or none


def is_hidden(char: str) -> bool:
    """Whether nobody can see this character, or it moves others."""
    number = ord(char)
    return (
        unicodedata.category(char) in _HIDDEN_CATEGORIES
        or char in _BLANK
        or any(number in selectors for selectors in _SELECTORS)
    )


def visible(text: str) -> str:
    """Replace characters that hide or reorder text (controls, bidi overrides, tags, fillers) by their code point.

    A model that prints U+202E could otherwise make a wrong answer read as a right one; a NUL or a lone surrogate could
    not be written at all. Newlines and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join(
        f"⟨U+{ord(char):04X}⟩" if is_hidden(char) and char not in "\n\t" and char not in _JOINERS else char
        for char in text
    )


def hidden_in(text: str) -> str | None:
    """The first character of a program that its reader would not see, or see elsewhere; None: there is none.

    Newlines and tabs are no such characters; joiners are, as no program needs them but in texts, which have escapes.
    """
    return next((char for char in text.replace("\r\n", "\n") if is_hidden(char) and char not in "\n\t"), None)


def one_line(text: str) -> str:
    """The same on one line: nobody's name can start a line of its own."""
    return visible(text).replace("\n", "⟨U+000A⟩").replace("\t", "⟨U+0009⟩")
