"""How much of a Python program tests run: told beside what they kill, and never rewarded.

In: a program that nobody hostile wrote, and the lines that were run. Out: the share of the lines inside functions.
Tests that run every line and hold nothing have full coverage, so it says little of tests that is good.
"""

from __future__ import annotations

import types
from collections.abc import Iterable


def executable_lines(source: str) -> frozenset[int]:
    """Numbers of the lines in functions that can be run.

    Raises:
        SyntaxError: It is not Python.
    """
    return frozenset(_lines(compile(source, "program", "exec"), is_function=False))


def _lines(code: types.CodeType, *, is_function: bool) -> Iterable[int]:
    if is_function:
        heading = code.co_firstlineno
        yield from (line for _, _, line in code.co_lines() if line is not None and line != heading)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _lines(constant, is_function=constant.co_name != "<module>")


def line_coverage(source: str, run: Iterable[int] | None) -> float | None:
    """The share of its lines in functions that were run; None: nothing is known, or there are none."""
    can_run = executable_lines(source)
    return len(can_run.intersection(run)) / len(can_run) if can_run and run is not None else None
