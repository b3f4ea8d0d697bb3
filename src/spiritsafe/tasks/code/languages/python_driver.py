"""Runs inside a sandbox: ``solution.py`` on the inputs of standard input, with Python's own library alone.

In: a line of JSON with the mark, the function's name, the type of its result and the inputs. Out: see
:mod:`~spiritsafe.tasks.code.languages.trial`. The solution shares this process and may change what modules hold, be it
by accident; so what is needed after it has begun is held here before.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MOST_DIGITS = 40
_MOST_TEXT = 100_000
_TYPES = {"int": int, "bool": bool, "str": str, "ints": list}


def _line(result: Any, kind: str) -> str:
    """A result, of exactly the type that is wanted: truth is no number, and neither is a tuple a list."""
    own = type(result)
    if own is not _TYPES[kind]:
        return f"!nonsense a result of type {own.__name__}, not {_TYPES[kind].__name__}"
    if kind == "bool":
        return "1" if result else "0"
    if kind == "str":
        if len(result) > _MOST_TEXT or not result.isascii():
            return f"!nonsense {result[:60]!a}"
        return f"{len(result)} {result}"
    numbers = [result] if kind == "int" else result
    for number in numbers:
        if type(number) is not int:
            return f"!nonsense a list with an item of type {type(number).__name__}"
        if abs(number) >= 10**_MOST_DIGITS:
            return "!nonsense a number of too many digits"
    return " ".join(map(str, numbers if kind == "int" else [len(result), *result]))


def _call(function: Callable[..., Any], values: list[Any], kind: str) -> str:
    try:
        return _line(function(*values), kind)
    except BaseException as error:  # noqa: BLE001  whatever a solution raises, SystemExit too
        return f"!crash {_told(error)}"


def _told(error: BaseException) -> str:
    try:
        return " ".join(f"{type(error).__name__}: {error}".split())[:500]
    except BaseException:  # noqa: BLE001  its own text raises
        return type(error).__name__


def main() -> None:
    """Load the solution and call it once for each input."""
    write = os.write
    given = json.loads(sys.stdin.buffer.readline())
    kind, failure, function = given["result"], "", None
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    try:
        code = compile(Path("solution.py").read_bytes(), "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        failure = f"!compile {_told(error)}"
    else:
        try:
            exec(code, vars(module))
            function = vars(module).get(given["name"])
        except BaseException as error:  # noqa: BLE001  as above
            failure = f"!crash when it is loaded: {_told(error)}"
    if not failure and not callable(function):
        failure = f"!compile it has no function {given['name']}"
    for number, values in enumerate(given["inputs"]):
        line = failure or _call(function, values, kind)  # type: ignore[arg-type]  # it is callable
        rest = f"{given['mark']} {number} {line}\n".encode("ascii", "replace")
        while rest:
            rest = rest[write(1, rest) :]


if __name__ == "__main__":
    main()
