"""Worked solutions for reasoning-gym's items: short, step by step, in the form that a small model can learn.

In: a family's name and an item with its metadata, as the library made it. Out: a solution that ends in ``####`` and
the answer, or None where the metadata allow none. Runs where the library runs: in the child
(:mod:`spiritsafe.tasks.families.gym.child`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any, final

_MARK = "#### "
_WHOLE = re.compile(r"(?<=\d)\.0(?!\d)")


def worked_solution(name: str, entry: dict[str, Any]) -> str | None:
    """One step a line, then the answer: the item's own, but for countdown, where the steps lead to one of many."""
    make = _MAKERS.get(name)
    lines = make(entry["metadata"], entry) if make else None
    if lines is None:
        return None
    if not lines or not lines[-1].startswith(_MARK):
        lines = [*lines, f"{_MARK}{entry['answer']}"]
    return "\n".join(lines)


def _running_totals(metadata: dict[str, Any], _entry: dict[str, Any]) -> list[str]:
    """Steps of ``a + b - c`` or ``a * b * c``, left to right."""
    tokens = metadata["expression"].split()
    total, lines = int(tokens[0]), []
    for operator, token in zip(tokens[1::2], tokens[2::2], strict=True):
        number = int(token)
        result = {"+": total + number, "-": total - number, "*": total * number}[operator]
        lines.append(f"{total} {operator} {number} = {result}")
        total = result
    return lines


@final
@dataclass(frozen=True, slots=True)
class _Part:
    value: Fraction
    text: str
    rank: int  # 2 a number, 1 a product or quotient, 0 a sum or difference

    def within(self, rank: int) -> str:
        return self.text if self.rank >= rank else f"({self.text})"


def _countdown(metadata: dict[str, Any], _entry: dict[str, Any]) -> list[str] | None:
    """What each operation of the expression gives, innermost first: ``3 * 20 = 60``, ``60 - 14 = 46``.

    Sums begin with what is added (``-14 + 3*20`` becomes ``3 * 20 - 14``): running totals need not be negative.
    """
    lines: list[str] = []
    result = _part(ast.parse(metadata["expression"], mode="eval").body, lines)
    return [*lines, f"{_MARK}{result.text}"] if result.value == metadata["target"] else None


def _part(node: ast.expr, lines: list[str]) -> _Part:
    if isinstance(node, ast.Constant):
        return _Part(Fraction(str(node.value)), str(node.value), 2)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
        left, right = _part(node.left, lines), _part(node.right, lines)
        sign = "*" if isinstance(node.op, ast.Mult) else "/"
        value = left.value * right.value if sign == "*" else left.value / right.value
        lines.append(f"{left.value} {sign} {right.value} = {value}")
        return _Part(value, f"{left.within(1)} {sign} {right.within(2 if sign == '/' else 1)}", 1)
    terms = [(is_added, _part(term, lines)) for is_added, term in _terms(node, is_added=True)]
    (is_added, total), *rest = sorted(terms, key=lambda term: not term[0])
    if not is_added:
        total = _Part(-total.value, f"-{total.within(1)}", 0)
    for is_added, term in rest:
        value = total.value + (term.value if is_added else -term.value)
        sign = "+" if is_added else "-"
        lines.append(f"{total.value} {sign} {term.value} = {value}")
        total = _Part(value, f"{total.text} {sign} {term.within(1)}", 0)
    return total


def _terms(node: ast.expr, *, is_added: bool) -> list[tuple[bool, ast.expr]]:
    """What a sum adds and takes away. Python reads ``-3*20`` as ``(-3)*20``; here it is 3*20, taken away."""
    if isinstance(node, ast.UnaryOp):
        return _terms(node.operand, is_added=not is_added)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        same = isinstance(node.op, ast.Add)
        return _terms(node.left, is_added=is_added) + _terms(node.right, is_added=is_added == same)
    if isinstance(node, ast.BinOp):
        (left_is_added, left), *more = _terms(node.left, is_added=is_added)
        if not more:
            return [(left_is_added, ast.BinOp(left, node.op, node.right))]
    return [(is_added, node)]


def _letters(metadata: dict[str, Any], _entry: dict[str, Any]) -> list[str]:
    """The word's letters apart, then the other way round: tokenizers hide them."""
    return [" ".join(metadata["word"]), " ".join(reversed(metadata["word"]))]


def _word_problem(metadata: dict[str, Any], _entry: dict[str, Any]) -> list[str]:
    """The library's own steps; ``6.0 eggs`` are 6 eggs."""
    lines = str(metadata["answer_cot"]).strip().splitlines()
    return [_WHOLE.sub("", line) for line in lines if line.strip() and not line.startswith("####")]


_UNITS: dict[str, list[tuple[int, int]]] = {
    **{f"row {i + 1}": [(i, j) for j in range(4)] for i in range(4)},
    **{f"column {j + 1}": [(i, j) for i in range(4)] for j in range(4)},
    **{f"box {b + 1}": [(b // 2 * 2 + k // 2, b % 2 * 2 + k % 2) for k in range(4)] for b in range(4)},
}


def _sudoku(metadata: dict[str, Any], _entry: dict[str, Any]) -> list[str] | None:
    """One line an empty cell: ``row 1 lacks 4``, or where no row, column or box lacks just one, ``row 2 column 3: 1``.

    None when that does not solve it, which harder puzzles need more for.
    """
    board = {(i, j): number for i, row in enumerate(metadata["puzzle"]) for j, number in enumerate(row)}
    lines: list[str] = []
    while empty := [cell for cell, number in board.items() if not number]:
        for name, cells in _UNITS.items():
            open_cells = [cell for cell in cells if cell in empty]
            if len(open_cells) == 1:
                (missing,) = {1, 2, 3, 4} - {board[cell] for cell in cells}
                board[open_cells[0]] = missing
                lines.append(f"{name} lacks {missing}")
                break
        else:
            fits = {
                cell: {1, 2, 3, 4} - {board[other] for cells in _UNITS.values() if cell in cells for other in cells}
                for cell in empty
            }
            single = next((cell for cell in empty if len(fits[cell]) == 1), None)
            if single is None:
                return None
            (board[single],) = fits[single]
            lines.append(f"row {single[0] + 1} column {single[1] + 1}: {board[single]}")
    return lines


def _legs(metadata: dict[str, Any], entry: dict[str, Any]) -> list[str] | None:
    from reasoning_gym.arithmetic.leg_counting import ANIMALS as from_library  # an extra: this module loads without it

    animals, total = metadata["animals"], int(entry["answer"])
    lines = [
        f"{count} {animal}: {count} * {from_library[animal]} = {count * from_library[animal]}"
        for animal, count in animals.items()
    ]
    parts = [count * from_library[animal] for animal, count in animals.items()]
    return [*lines, f"{' + '.join(map(str, parts))} = {total}"] if sum(parts) == total else None


def _euclid(metadata: dict[str, Any], _entry: dict[str, Any]) -> list[str]:
    numbers = [int(number) for number in metadata["numbers"]]
    lines, running = [], numbers[0]
    for number in numbers[1:]:
        a, b = max(running, number), min(running, number)
        while b:
            lines.append(f"{a} = {a // b} * {b} + {a % b}")
            a, b = b, a % b
        running = gcd(running, number)
    return lines


_MAKERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], list[str] | None]] = {
    "chain_sum": _running_totals,
    "countdown": _countdown,
    "gcd": _euclid,
    "gsm_symbolic": _word_problem,
    "leg_counting": _legs,
    "mini_sudoku": _sudoku,
    "products": _running_totals,
    "spell_backward": _letters,
}
