"""The routines of a program, in any language that has a file in ``languages/``.

In: a program. Out: its routines, with their places. A language's file has ``routines_in`` and ``replacement_in``; a
language without one has no routines that are known.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Any, final

from spiritsafe.assist.routines import languages


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    """A function, a method, a subroutine.

    Attributes:
        name: Its name, a method's with that of its class in front: ``Stack.push``.
        start: Where it begins, in characters of the program.
        end: Where it ends.
        heading: What a caller sees of it, as code.
        about: What its author says of it.
        gone: What stands for it when it is taken away: whoever calls it notices.
        is_whole: Whether it can be exchanged by itself, as a function can and a method cannot.
    """

    name: str
    start: int
    end: int
    heading: str
    about: str = ""
    gone: str
    is_whole: bool = True

    def exchanged(self, program: str, code: str) -> str:
        """The program with other code in the routine's place."""
        return f"{program[: self.start]}{code}{program[self.end :]}"


@cache
def _languages() -> frozenset[str]:
    return frozenset(found.name for found in pkgutil.iter_modules(languages.__path__))


def routines_of(program: str, language: str) -> list[Routine]:
    """The routines of a program, in order; none where they cannot be told."""
    if language not in _languages():
        return []
    found: list[Routine] = _module(language).routines_in(program)
    return found


def rebuilt_in(program: str, code: str, language: str, name: str) -> str | None:
    """What some code has to stand for a routine of a program; None: it has none of that name."""
    found: str | None = _module(language).replacement_in(program, code, name)
    return found


def _module(language: str) -> Any:
    return importlib.import_module(f"{languages.__name__}.{language}")
