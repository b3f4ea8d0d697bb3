"""Calls that a problem's own words show, such as ``>>> add(2, 3)`` or ``add(2, 3) == 5``.

In: the words. Out: of each call the arguments, and what it is said to give where that stands beside it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

_GIVES = re.compile(r"\s*(?:#\s*)?(?:==>|==|=>|=|-+>|➞|→|⇒|returns?|should return)?\s*(.*)")
_MOST_TEXT = 2000


@final
@dataclass(frozen=True, slots=True)
class ShownCall:
    """A call that is shown.

    Attributes:
        arguments: As values.
        result: What it gives; in a tuple, since that may be None. Empty: it is not said.
    """

    arguments: list[Any]
    result: tuple[Any, ...]


def examples_in(text: str, entry: str) -> Iterator[ShownCall]:
    """The calls of a function that are shown, if their arguments are literals."""
    for found in re.finditer(rf"(?<![\w.]){re.escape(entry)}\(", text):
        rest = text[found.start() : found.start() + _MOST_TEXT]
        if re.search(r"\bdef\s+$", text[: found.start()]):
            continue
        for end in re.finditer(r"\)", rest):
            try:
                call = ast.parse(rest[: end.end()], mode="eval").body
            except (SyntaxError, ValueError):
                continue
            arguments = _literals(call)
            if arguments is not None:
                yield ShownCall(arguments, _result(rest[end.end() :]))
            break


def _literals(call: ast.expr) -> list[Any] | None:
    if not isinstance(call, ast.Call) or call.keywords:
        return None
    try:
        return [ast.literal_eval(each) for each in call.args]
    except ValueError:
        return None


def _result(behind: str) -> tuple[Any, ...]:
    said = _GIVES.match(behind)
    try:
        return (ast.literal_eval(said[1].strip()),) if said is not None else ()
    except (SyntaxError, ValueError):
        return ()
