"""Hidden tests of an exercise: the inputs that notice most faults, out of many.

In: an exercise and a seed. Out: arguments, edge cases among them. Each mutant of the gold solution that the many inputs
tell from it is told from it by at least two of the few, as far as there is room.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from operator import add, lshift, mul
from random import Random
from typing import Any, final

from spiritsafe.tasks.code.mutants.mutant import sample_mutants
from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.code.templates.inputs import Arguments
from spiritsafe.tasks.code.templates.template import Exercise, signature_of

NUM_HIDDEN = 32
_NUM_MANY = 96
_MOST_MUTANTS = 100
_WANTED = 2  # inputs that notice a mutant
_TRIED = 8  # of the inputs that notice a mutant: to choose among
_SLACK = 200  # rounds of loops that a faulty program may make beyond ten times those of the gold solution
_MOST_ITEMS = 10_000  # of a list, and characters of a text; golds make a few hundred
_MOST_BITS = 2_000  # of a number; golds make less than 64
_OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {"Add": add, "Mult": mul, "Pow": pow, "LShift": lshift}
_MOST_RUNAWAYS = 2  # inputs on which a program may run away before the others are spared


@final
class _RunawayError(Exception):
    """A faulty program that may never end, or that makes ever larger values."""


def hidden_inputs(exercise: Exercise, seed: int, count: int = NUM_HIDDEN) -> list[Arguments]:
    """``count`` different arguments, or as many as there are."""
    many = exercise.inputs(Random(seed), _NUM_MANY)
    mutants = sample_mutants(mutants_of(exercise.gold, "python"), _MOST_MUTANTS, seed)
    expected = _expected(exercise, many)
    noticed = [_noticed(mutant.source, many, expected, _TRIED) for mutant in mutants]
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
    rest = sorted(set(range(len(many))) - set(chosen))
    others = Random(seed).sample(rest, min(count - len(chosen), len(rest)))
    return [many[index] for index in sorted([*chosen, *others])]


def noticed_by(exercise: Exercise, source: str, inputs: Sequence[Arguments]) -> set[int]:
    """The places of those inputs for which a faulty program does something else than the gold solution.

    A program that runs away on two of them is not tried on those after them.
    """
    return _noticed(source, inputs, _expected(exercise, inputs), len(inputs))


def _expected(exercise: Exercise, inputs: Sequence[Arguments]) -> list[tuple[Any, int]]:
    """What the gold solution returns, and the rounds of loops that it takes."""
    gold = _Bounded(exercise.gold)
    return [(gold.call(arguments, None), gold.rounds) for arguments in inputs]


def _noticed(source: str, inputs: Sequence[Arguments], expected: Sequence[tuple[Any, int]], enough: int) -> set[int]:
    """The places of the first inputs that notice a faulty program, not more than are enough."""
    faulty = _Bounded(source)
    noticed: set[int] = set()
    num_runaways = 0
    for index, (arguments, (right, rounds)) in enumerate(zip(inputs, expected, strict=True)):
        if len(noticed) >= enough:
            break
        try:
            given = faulty.call(arguments, 10 * rounds + _SLACK)
        except _RunawayError:
            noticed.add(index)
            num_runaways += 1
            if num_runaways == _MOST_RUNAWAYS:
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
        tree = _Guarded().visit(ast.parse(source))
        space: dict[str, Any] = {"_round": self._count, "_grow": _grow}
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
            raise _RunawayError


@final
class _Guarded(ast.NodeTransformer):
    """Counts the rounds of loops, and looks at values before they grow by leaps: doubled lists soon fill a machine."""

    def visit_While(self, node: ast.While) -> ast.AST:
        return self._counted(node)

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._counted(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        return _growing(node.left, node.op, node.right) or node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        old = ast.parse(ast.unparse(node.target), mode="eval").body
        value = _growing(old, node.op, node.value)
        return ast.Assign([node.target], value) if value else node

    def _counted(self, node: ast.While | ast.For) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(ast.Call(ast.Name("_round", ast.Load()), [], [])))
        return node


def _growing(left: ast.expr, operator: ast.operator, right: ast.expr) -> ast.expr | None:
    """A call in place of an operation that can make values much larger than they were."""
    if not isinstance(operator, ast.Add | ast.Mult | ast.Pow | ast.LShift):
        return None
    name = ast.Constant(type(operator).__name__)
    return ast.Call(ast.Name("_grow", ast.Load()), [name, left, right], [])


def _grow(operator: str, left: Any, right: Any) -> Any:
    """The operation, unless what it makes is larger than any gold solution's values."""
    if isinstance(left, list | str) or isinstance(right, list | str):
        sizes = [len(value) if isinstance(value, list | str) else value for value in (left, right)]
        if (sum(sizes) if operator == "Add" else sizes[0] * sizes[1]) > _MOST_ITEMS:
            raise _RunawayError
    elif operator != "Add" and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "Pow" else left.bit_length() + right.bit_length()
        if (bits if operator != "LShift" else left.bit_length() + right) > _MOST_BITS:
            raise _RunawayError
    return _OPERATIONS[operator](left, right)
