"""Lines of code as they are written: indented blocks, names that are free, and long lines that go on.

In: lines, one after the other. Out: text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import final

_WIDTH = 100


@final
class CodeBlock:
    """Lines that grow; each knows how deep it stands.

    Args:
        step: Spaces for each step further in.

    Attributes:
        depth: Of the next line.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self.depth = 0
        self.lines: list[tuple[int, str]] = []

    def add(self, text: str) -> None:
        """One more line, or several with line ends between."""
        self.lines += [(self.depth, line) for line in text.split("\n")]

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """What is added meanwhile stands one step further in."""
        self.depth += 1
        yield
        self.depth -= 1

    @contextmanager
    def aside(self) -> Iterator[list[tuple[int, str]]]:
        """What is added meanwhile goes into a list of its own."""
        kept, self.lines = self.lines, []
        found = self.lines
        try:
            yield found
        finally:
            self.lines = kept

    def insert(self, lines: Iterable[tuple[int, str]], *, by: int = 0) -> None:
        """Lines that were made aside, moved further in."""
        self.lines += [(depth + by, line) for depth, line in lines]

    def text(self, *, more: str = "") -> str:
        """All of it.

        Args:
            more: What stands at the end of a line that goes on in the next one.
        """
        return "\n".join(line for depth, text in self.lines for line in _broken(text, " " * self._step * depth, more))


def _broken(text: str, indent: str, more: str) -> Iterator[str]:
    while len(indent) + len(text) > _WIDTH:
        place = _gap(text, _WIDTH - len(indent) - len(more))
        if place is None:
            break
        yield indent + text[:place] + more
        text = "    " + text[place + 1 :]
    yield indent + text


def _gap(text: str, most: int) -> int | None:
    """The space at which a line is best broken: not in a text, in few parentheses, and where words join conditions."""
    quote, depth = "", 0
    found: list[tuple[int, int, int]] = []
    for place, character in enumerate(text[:most]):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == " " and place >= most * _LEAST and text[:place].strip():
            found.append((3 * depth + _worth(text, place), -place, place))
    return min(found)[2] if found else None


_LEAST = 0.4
"""Of a line is filled in any case."""


def _worth(text: str, place: int) -> int:
    if any(text.startswith(word, place) for word in (" AND ", " OR ", " .and. ", " .or. ")):
        return 0
    return 1 if text[place - 1] == "," or text[place + 1 : place + 2] in "+-*/" else 2


@final
class Names:
    """What is called how: each name is given once.

    Args:
        taken: Names that cannot be given.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {name.lower() for name in taken}

    def copy(self) -> Names:
        """Another one that may give the same names again."""
        return Names(self._taken)

    def restore(self, names: Names) -> None:
        """As it was when a copy was made."""
        self._taken = set(names._taken)

    def give(self, wanted: str, parts: tuple[str, ...] = ("",)) -> str:
        """The wanted name, or one like it; with each of the parts at its end it is nobody else's."""
        name, count = wanted, 1
        while any((name + part).lower() in self._taken for part in parts):
            count += 1
            name = f"{wanted}{'_' if wanted.islower() else '-'}{count}"
        self._taken |= {(name + part).lower() for part in parts}
        return name


def plain_name(name: str) -> str:
    """A name of Python's as other languages can have it."""
    plain = "_".join(part for part in name.lower().split("_") if part)
    return plain or "turn"
