"""The code in an answer.

In: what a model wrote behind its thoughts. Out: the program that it stands for, or None: no code is to be found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import final

from spiritsafe.tasks.code.languages.language import Language, language_of_fence

_FENCE = re.compile(r"^([ \t]*+)(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]*+)[^\n`]*+$", re.MULTILINE)
"""Nothing in it is tried twice: a line can have a million characters."""


@final
@dataclass(frozen=True, slots=True)
class FencedBlock:
    """A fenced part of a text.

    Attributes:
        word: What its fence says, in lower case.
        code: What stands in it.
        start: Where its fence begins.
        end: Where the closing one ends.
    """

    word: str
    code: str
    start: int
    end: int


def fenced_blocks(text: str) -> list[FencedBlock]:
    """All of them; the last one may lack its end, as where an answer was cut."""
    blocks, opened = [], None
    for mark in _FENCE.finditer(text):
        if opened is None:
            opened = mark
        elif mark[2][0] == opened[2][0] and len(mark[2]) >= len(opened[2]) and not mark[3]:
            blocks.append(_block(text, opened, mark.start(), mark.end()))
            opened = None
    if opened is not None:
        blocks.append(_block(text, opened, len(text), len(text)))
    return blocks


def _block(text: str, opened: re.Match[str], code_end: int, end: int) -> FencedBlock:
    code = text[opened.end() + 1 : code_end]
    lines = code.splitlines(keepends=True)
    if all(line.startswith(opened[1]) or not line.strip() for line in lines):  # as in a list: indented like the fence
        code = "".join(line.removeprefix(opened[1]) for line in lines)
    return FencedBlock(opened[3].lower(), code, opened.start(), end)


def code_in(text: str, language: Language, wanted: re.Pattern[str] | None = None) -> str | None:
    """The code of a language in an answer.

    Of several blocks it is the last that holds what is wanted; where none does, the last. Blocks of other languages are
    none. A text without any block is code as it stands where it holds what is wanted.

    Args:
        text: The answer.
        language: Whose code it is.
        wanted: What the code must hold, such as a function's heading.

    Returns:
        None: there is no code.
    """
    blocks = fenced_blocks(text)
    codes = [one.code for one in blocks if not one.word or language_of_fence(one.word) is language]
    holding = [code for code in codes if wanted is None or wanted.search(code)]
    if holding or codes:
        return (holding or codes)[-1]
    return text if not blocks and wanted is not None and wanted.search(text) else None
