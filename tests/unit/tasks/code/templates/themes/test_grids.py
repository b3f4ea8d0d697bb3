"""Golds of grids agree with a second reading of their statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from code_templates import changed, check_theme, follows

from spiritsafe.tasks.code.templates.themes import grids


def _grid(cells: list[int], width: int) -> list[list[int]]:
    return [cells[i : i + width] for i in range(0, len(cells), width)]


def _cells(s: Any, cells: list[int], steps: int) -> list[int]:
    row = list(cells)
    for step in range(steps):
        rule = f"{s.second if step % 2 else s.first:08b}"[::-1]
        outer = [row[-1:], row[:1]] if s.border == "ring" else [[int(s.border)], [int(s.border)]]
        padded = outer[0] + row + outer[1]
        row = [int(rule[int("".join(map(str, padded[i : i + 3])), 2)]) for i in range(len(row))]
    return row


def _around(height: int, width: int, row: int, column: int) -> list[tuple[int, int]]:
    places = [(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
    return [(r, c) for r, c in places if 0 <= r < height and 0 <= c < width]


def _colony(s: Any, cells: list[int], width: int, steps: int) -> int | list[int]:
    height = len(cells) // width
    alive = {divmod(i, width) for i, cell in enumerate(cells) if cell}
    for _ in range(steps):
        following = set()
        for row in range(height):
            for column in range(width):
                count = sum(place in alive for place in _around(height, width, row, column))
                if str(count) in (s.survive if (row, column) in alive else s.born):
                    following.add((row, column))
        alive = following
    return len(alive) if s.asked == "alive" else [int(divmod(i, width) in alive) for i in range(len(cells))]


def _best_line(s: Any, cells: list[int], width: int) -> int:
    grid = _grid(cells, width)
    lines = grid if s.is_row else [list(column) for column in zip(*grid, strict=True)]
    sums = [sum(x for x in line if follows(s.condition, x)) for line in lines]
    best = max(sums) if s.is_greatest else min(sums)
    places = [i for i, total in enumerate(sums) if total == best]
    return best if s.asked == "best" else places[-1 if s.is_last else 0]


def _cheapest_path(s: Any, cells: list[int], width: int) -> int:
    grid = _grid(cells, width)
    steps = {(0, 1): s.right, (1, 0): s.down} | ({(1, 1): s.diagonal} if s.diagonal >= 0 else {})
    costs: dict[tuple[int, int], int] = {}
    for row, line in enumerate(grid):
        for column, x in enumerate(line):
            ways = [
                costs[row - r, column - c] + more for (r, c), more in steps.items() if (row - r, column - c) in costs
            ]
            if x <= s.limit and (ways or (row, column) == (0, 0)):
                costs[row, column] = min(ways, default=0) + x * (2 if s.is_count else 1)
    return costs.get((len(grid) - 1, width - 1), -1)


def _turned_grid(s: Any, cells: list[int], width: int) -> list[int]:
    grid: list[Any] = _grid(cells, width)
    if s.turn.endswith("to the right"):
        grid = list(zip(*grid[::-1], strict=True))
    elif s.turn.endswith("to the left"):
        grid = list(zip(*grid, strict=True))[::-1]
    elif s.turn.endswith("180 degrees"):
        grid = [row[::-1] for row in grid[::-1]]
    elif "left and right" in s.turn:
        grid = [row[::-1] for row in grid]
    elif "top and bottom" in s.turn:
        grid = grid[::-1]
    else:
        grid = list(zip(*grid, strict=True))
    change = f"times {s.a} plus {s.b}"
    return [changed(change, x) if (i + j) % s.m == s.r else x for i, row in enumerate(grid) for j, x in enumerate(row)]


def _neighbourhood(s: Any, cells: list[int], width: int) -> int:
    grid = _grid(cells, width)
    chosen = []
    for row, line in enumerate(grid):
        for column, x in enumerate(line):
            places = _around(len(grid), width, row, column)
            others = [grid[r][c] for r, c in places if s.is_eight or r == row or c == column]
            if sum((y - x if s.is_higher else x - y) > s.k for y in others) >= s.least:
                chosen.append(x)
    return len(chosen) if s.asked == "number" else sum(chosen)


REFERENCES: dict[str, Callable[..., Any]] = {
    "cells": _cells,
    "colony": _colony,
    "best_line": _best_line,
    "cheapest_path": _cheapest_path,
    "turned_grid": _turned_grid,
    "neighbourhood": _neighbourhood,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(grids, REFERENCES)
