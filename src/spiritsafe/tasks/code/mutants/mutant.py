"""One mutant: a program with one small fault; and a fair choice among many.

In: the faults of a program. Out: a sample that is spread over its lines and over the kinds of fault.
"""

from __future__ import annotations

import heapq
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

_LINE_END = re.compile(r"\r\n|\r|\n")
_SHOWN = 60


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of a text.

    Attributes:
        operator: The kind of fault.
        start: Where the old text begins, in characters of the program.
        end: Where it ends.
        new: What stands there instead.
        shown: What a reader is told, before and after, where old and new text hold more than the fault.
    """

    operator: str
    start: int
    end: int
    new: str
    shown: tuple[str, str] | None = None


@final
@dataclass(frozen=True, slots=True)
class Mutant:
    """A program with one fault. It keeps the original and the edit, so that thousands of them cost little memory.

    Attributes:
        original: The program without the fault.
        edit: The fault.
    """

    original: str
    edit: Edit

    @property
    def operator(self) -> str:
        """The kind of fault: ``compare``, ``number``, ``delete``."""
        return self.edit.operator

    @property
    def source(self) -> str:
        """The whole program with the fault."""
        return self.original[: self.edit.start] + self.edit.new + self.original[self.edit.end :]

    @property
    def line(self) -> int:
        """The line where the fault begins, from 1, in the original."""
        return len(_LINE_END.findall(self.original, 0, self.edit.start)) + 1

    @property
    def column(self) -> int:
        """The column where it begins, from 1, in characters."""
        return self.edit.start - _line_start(self.original, self.edit.start) + 1

    @property
    def before(self) -> str:
        """What was there."""
        return self.edit.shown[0] if self.edit.shown else self.original[self.edit.start : self.edit.end]

    @property
    def after(self) -> str:
        """What is there instead."""
        return self.edit.shown[1] if self.edit.shown else self.edit.new

    @property
    def name(self) -> str:
        """In one line, such as ``L12 compare: < -> <=``."""
        return f"L{self.line} {self.operator}: {self._change}"

    @property
    def describe(self) -> str:
        """For whoever shall write a test that notices it: the line as it was, and as it is."""
        start, end, new = self.edit.start, self.edit.end, self.edit.new
        head = self.original[_line_start(self.original, start) : start]
        tail = _LINE_END.split(self.original[end:], maxsplit=1)[0]
        was = f"{head}{self.original[start:end]}{tail}".strip()
        now = f"{head}{new}{tail}".strip()
        return f"Line {self.line}, {self.operator} ({self._change}):\n- {was}\n+ {now}"

    @property
    def _change(self) -> str:
        return f"{_short(self.before) or 'nothing'} -> {_short(self.after) or 'nothing'}"


def _line_start(text: str, place: int) -> int:
    return max(text.rfind("\n", 0, place), text.rfind("\r", 0, place)) + 1


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 1]}…"


def sample_mutants(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many of them, in order: no line is taken from again while another has been less used, nor is an operator.

    All of them where there are no more. The same seed gives the same choice.
    """
    draw = random.Random(seed)
    lines: Counter[int] = Counter()
    operators: Counter[str] = Counter()
    places = [mutant.line for mutant in mutants]
    waiting = [(0, 0, draw.random(), index) for index in range(len(mutants))]
    heapq.heapify(waiting)
    chosen: list[int] = []
    while waiting and len(chosen) < count:
        *_, tie, index = waiting[0]
        line, operator = places[index], mutants[index].operator
        now = (lines[line], operators[operator], tie, index)
        if now != waiting[0]:  # lines and operators are only used more and more, so the rest can wait
            heapq.heapreplace(waiting, now)
            continue
        heapq.heappop(waiting)
        chosen.append(index)
        lines[line] += 1
        operators[operator] += 1
    return [mutants[index] for index in sorted(chosen)]
