"""Hidden tests of an exercise: the inputs that notice most faults, out of many.

In: an exercise and a seed. Out: arguments, edge cases among them. Each mutant of the gold solution that the many inputs
tell from it is told from it by at least two of the few, as far as there is room.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from random import Random
from typing import Any, final

from spiritsafe.tasks.code.mutants.mutant import sample
from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.code.templates.inputs import Arguments
from spiritsafe.tasks.code.templates.template import Exercise, signature_of

NUM_HIDDEN = 32
_NUM_MANY = 240
_MOST_MUTANTS = 150
_WANTED = 2  # inputs that notice a mutant
_SLACK = 200  # rounds of loops that a faulty program may make beyond ten times those of the gold solution
_MOST_ENDLESS = 2  # inputs on which a program may run out of rounds before the others are spared


@final
class _TooManyRoundsError(Exception):
    """A faulty program that may never end."""


def hidden_inputs(exercise: Exercise, seed: int, count: int = NUM_HIDDEN) -> list[Arguments]:
    """``count`` different arguments, or as many as there are."""
    many = exercise.inputs(Random(seed), _NUM_MANY)
    mutants = sample(mutants_of(exercise.gold, "python"), _MOST_MUTANTS, seed)
    noticed = [noticed_by(exercise, mutant.source, many) for mutant in mutants]
    chosen: list[int] = []
    missing = {number: min(_WANTED, len(inputs)) for number, inputs in enumerate(noticed) if inputs}
    while missing and len(chosen) < count:
        gains = [0] * len(many)
        for number in missing:
            for index in noticed[number]:
                gains[index] += 1
        for index in chosen:
            gains[index] = 0
        best = max(range(len(many)), key=gains.__getitem__)
        chosen.append(best)
        for number in [number for number in missing if best in noticed[number]]:
            missing[number] -= 1
            if missing[number] == 0:
                del missing[number]
    rest = [index for index in range(len(many)) if index not in set(chosen)]
    return [many[index] for index in sorted([*chosen, *rest[: count - len(chosen)]])]


def noticed_by(exercise: Exercise, source: str, inputs: Sequence[Arguments]) -> set[int]:
    """The places of those inputs for which a faulty program does something else than the gold solution.

    A program that does not come to an end on two of them is not tried on those after them.
    """
    gold, faulty = _Bounded(exercise.gold), _Bounded(source)
    noticed: set[int] = set()
    num_endless = 0
    for index, arguments in enumerate(inputs):
        right = gold.call(arguments, None)
        try:
            given = faulty.call(arguments, 10 * gold.rounds + _SLACK)
        except _TooManyRoundsError:
            noticed.add(index)
            num_endless += 1
            if num_endless == _MOST_ENDLESS:
                break
        except Exception:  # noqa: BLE001  # a mutant of our own code may fail in any way
            noticed.add(index)
        else:
            if type(given) is not type(right) or given != right:
                noticed.add(index)
    return noticed


@final
class _Bounded:
    """The function of a program of ours; the rounds of its loops are counted.

    Attributes:
        rounds: Of all loops of the last call.
    """

    def __init__(self, source: str) -> None:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.While | ast.For):
                node.body.insert(0, ast.Expr(ast.Call(ast.Name("_round", ast.Load()), [], [])))
        space: dict[str, Any] = {"_round": self._count}
        exec(compile(ast.fix_missing_locations(tree), "mutant", "exec"), space)
        self._function = space[signature_of(source).name]
        self._most: int | None = None
        self.rounds = 0

    def call(self, arguments: Arguments, most: int | None) -> Any:
        """What it returns, with at most so many rounds."""
        self.rounds, self._most = 0, most
        return self._function(*[list(value) if isinstance(value, list) else value for value in arguments])

    def _count(self) -> None:
        self.rounds += 1
        if self._most is not None and self.rounds > self._most:
            raise _TooManyRoundsError
