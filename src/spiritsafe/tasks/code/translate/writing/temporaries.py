"""Variables that a writer needs beside the program's own: each statement's are free again after it.

In: kinds, and names that would be good. Out: names, and what has to be declared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from spiritsafe.tasks.code.translate.writing.layout import CodeBlock, Names


@final
class Temporaries:
    """The variables of one function.

    Args:
        names: What is called how.
        parts: By kinds, what a variable's name gets added in names of its parts.

    Attributes:
        declared: Names and kinds, in the order in which they were needed.
    """

    def __init__(self, names: Names, parts: dict[str, tuple[str, ...]] | None = None) -> None:
        self.declared: list[tuple[str, str]] = []
        self._names = names
        self._parts = parts or {}
        self._free: list[tuple[str, str, str]] = []
        self._used: list[tuple[str, str, str]] = []

    def declare(self, wanted: str, kind: str) -> str:
        """A variable of its own, for the whole function."""
        name = self._names.give(wanted, self._parts.get(kind, ("",)))
        self.declared.append((name, kind))
        return name

    def take(self, wanted: str, kind: str) -> str:
        """One that is free again at the end of the statement."""
        for free in self._free:
            if free[1:] == (wanted, kind):
                self._free.remove(free)
                self._used.append(free)
                return free[0]
        name = self.declare(wanted, kind)
        self._used.append((name, wanted, kind))
        return name

    @contextmanager
    def statement(self) -> Iterator[None]:
        """What is taken meanwhile is free afterwards."""
        before = len(self._used)
        yield
        self._free = sorted([*self._free, *self._used[before:]])
        del self._used[before:]

    @contextmanager
    def tried(self, block: CodeBlock) -> Iterator[list[tuple[int, str]]]:
        """What is written and taken meanwhile never was; its lines."""
        names, kept = self._names.copy(), (list(self.declared), list(self._free), list(self._used))
        with block.aside() as lines:
            yield lines
        self._names.restore(names)
        self.declared[:], self._free[:], self._used[:] = kept
