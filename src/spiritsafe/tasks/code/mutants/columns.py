"""Changes of programs whose lines have a last column.

In: a program and what shall stand where in it. Out: one change that keeps each line within its columns, and what stands
behind them where it stood; None where there is no room.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from spiritsafe.tasks.code.mutants.mutant import Edit

_LINE_END = re.compile(r"\r\n|\r|\n|\Z")
CARD = 72
"""The last column of the code in fixed form; behind it stands what compilers ignore."""

Splice = tuple[int, int, str]
"""Where the old text begins and ends, and the new text."""


@final
@dataclass(frozen=True, slots=True)
class Columns:
    """The form of a program's lines.

    Attributes:
        last: The last column of the code; None: there is none.
        has_margin: Whether text may follow behind the last column, which is no code.
    """

    last: int | None
    has_margin: bool

    def edit(
        self, operator: str, source: str, splices: Sequence[Splice], shown: tuple[str, str] | None = None
    ) -> Edit | None:
        """One edit of one or more splices, in order of place; None: a line would run past its last column."""
        text = source
        for start, end, new in reversed(splices):
            changed = self._spliced(text, start, end, new)
            if changed is None:
                return None
            text = changed
        first, last = splices[0][0], splices[-1][1]
        if self.has_margin:
            last = _line_end(source, last)
        new = text[first : last + len(text) - len(source)]
        if shown is None and len(splices) == 1:
            start, end, put = splices[0]
            shown = (source[start:end], put)
        return Edit(operator=operator, start=first, end=last, new=new, shown=shown)

    def _spliced(self, text: str, start: int, end: int, new: str) -> str | None:
        first = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
        final = max(text.rfind("\n", 0, end), text.rfind("\r", 0, end)) + 1
        line_end = _line_end(text, end)
        code_end = min(line_end, final + self.last) if self.has_margin and self.last is not None else line_end
        line, margin = text[first:start] + new + text[end:code_end], text[code_end:line_end]
        if self.has_margin:
            line = line.rstrip()
        if self.last is not None:
            if len(line) > max(self.last, 0 if self.has_margin else code_end - final):
                return None
            line = line.ljust(self.last) if margin else line
        return text[:first] + line + margin + text[line_end:]


@final
@dataclass(frozen=True, slots=True)
class ProgramWord:
    """A word of a program.

    Attributes:
        kind: What it is, in its language's own terms.
        text: It, as it is written.
        start: Where it begins, in characters of the program.
        end: Where it ends.
    """

    kind: str
    text: str
    start: int
    end: int

    @property
    def low(self) -> str:
        """In small letters."""
        return self.text.lower()

    @property
    def up(self) -> str:
        """In capitals."""
        return self.text.upper()


def written(source: str, words: Sequence[ProgramWord]) -> str:
    """Words in one line, with the gaps that they have in the program, without what stands between its lines."""
    parts = [words[0].text]
    for left, right in pairwise(words):
        gap = source[left.end : right.start]
        parts += [gap if gap.strip(" \t") == "" else " ", right.text]
    return "".join(parts)


def _line_end(text: str, place: int) -> int:
    found = _LINE_END.search(text, place)
    assert found is not None
    return found.start()
