"""What a file needs of others, told by names: a module that it uses, a procedure or program that it calls.

In: files, each with the names that it gives and takes. Out: those that one of them needs, in the order in which they
are compiled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """A file of code.

    Attributes:
        path: Where it is.
        text: It.
        gives: Names of what others can use of it.
        takes: Names in it that others may give.
    """

    path: Path
    text: str
    gives: frozenset[str]
    takes: frozenset[str]


def needed_files(file: CodeFile, others: Iterable[CodeFile]) -> list[CodeFile]:
    """The files that it needs, each behind those that it needs itself."""
    others = list(others)
    seen = {file.path}
    found: list[CodeFile] = []

    def visit(one: CodeFile) -> None:
        for other in others:
            if other.path not in seen and other.gives & one.takes:
                seen.add(other.path)
                visit(other)
                found.append(other)

    visit(file)
    return found
