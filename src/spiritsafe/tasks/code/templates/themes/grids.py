"""Templates of grids and rows of cells: automata, paths, neighbours, turning; a grid is a list, row after row."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

from spiritsafe.tasks.code.templates.inputs import Arguments, rows, whole
from spiritsafe.tasks.code.templates.template import Exercise, asking, scaled, shifted, template
from spiritsafe.tasks.code.templates.themes.phrases import CONDITIONS, condition_code, condition_words, numbers_near

_GRID = (
    "The list holds the cells of a grid row by row, from the top; each row has width cells, and the last row is "
    "complete."
)


def _whole_rows(cells: list[int], width: int, *others: Any) -> Arguments:
    """A grid of at least one row: the cells are cut or repeated until they fill it."""
    height = max(1, len(cells) // width)
    source = cells or [0]
    return [source[i % len(source)] for i in range(width * height)], width, *others


def _rows_or_nothing(cells: list[int], width: int, *others: Any) -> Arguments:
    return ([], width, *others) if not cells else _whole_rows(cells, width, *others)


def _is_rich(s: dict[str, Any]) -> dict[str, Any] | None:
    """Settings whose first rule yields all patterns, so that each bit of the second rule matters."""
    first = s["first"]
    seen = set()
    for cells in product((0, 1), repeat=5):
        after = [first >> (4 * cells[i] + 2 * cells[i + 1] + cells[i + 2]) & 1 for i in range(3)]
        seen.add(tuple(after))
    return s if len(seen) == 8 else None


def _bits(rule: int) -> str:
    return ", ".join(str(rule >> i & 1) for i in range(8))


def _patterns(rule: int) -> str:
    return ", ".join(f"{i:03b} to {rule >> i & 1}" for i in range(8))


@template(level=5, settle=_is_rich, first=range(256), second=range(256), border=("0", "1", "ring"))
def _cells(first: int, second: int, border: str) -> Exercise:
    if border == "ring":
        sides = "            left = cells[(i - 1) % n]\n            right = cells[(i + 1) % n]\n"
        outside = "the first and the last cell are neighbours (a lone cell is its own neighbour on both sides)"
    else:
        sides = (
            f"            left = {border}\n            right = {border}\n            if i > 0:\n                left "
            "= cells[i - 1]\n            if i < n - 1:\n                right = cells[i + 1]\n"
        )
        outside = f"beyond both ends there is always {border}"
    return Exercise(
        gold=f"""\
def evolve(cells: list[int], steps: int) -> list[int]:
    odd = [{_bits(first)}]
    even = [{_bits(second)}]
    n = len(cells)
    for step in range(1, steps + 1):
        following = [0] * n
        for i in range(n):
{sides}            pattern = left * 4 + cells[i] * 2 + right
            if step % 2 == 1:
                following[i] = odd[pattern]
            else:
                following[i] = even[pattern]
        cells = following
    return cells
""",
        wordings=(
            "In a row of cells, each 0 or 1, every step changes all cells at once by what the left neighbour, the "
            f"cell and the right neighbour are, written in this order; {outside}. In steps 1, 3, 5 and so on: "
            f"{_patterns(first)}. In steps 2, 4, 6 and so on: {_patterns(second)}. Return the cells after the steps.",
            "Evolve a cellular automaton. Number the patterns (left, cell, right) as binary numbers from 000 to 111; "
            f"{outside}. Odd steps (the first one is odd) use these new values: {_patterns(first)}; even steps use "
            f"these: {_patterns(second)}. All cells change at the same time. Return the row after all steps.",
        ),
        notes="The number of steps is not negative; there may be no cells.",
        supplies=(rows(whole(0, 1), most=14), whole(0, 7, 3)),
    )


_SETS = tuple("".join(digits) for count in range(1, 5) for digits in combinations("012345678", count))


@template(
    level=5, settle=lambda s: None if "0" in s["born"] else s, born=_SETS, survive=_SETS, asked=("alive", "cells")
)
def _colony(born: str, survive: str, asked: str) -> Exercise:
    result = "how many cells are alive then" if asked == "alive" else "the grid after that, as a list of the same form"
    return Exercise(
        gold=f"""\
def colony(cells: list[int], width: int, steps: int) -> {"int" if asked == "alive" else "list[int]"}:
    born = [{", ".join("1" if str(n) in born else "0" for n in range(9))}]
    survive = [{", ".join("1" if str(n) in survive else "0" for n in range(9))}]
    height = len(cells) // width
    for step in range(steps):
        following = [0] * len(cells)
        for row in range(height):
            for column in range(width):
                count = -cells[row * width + column]
                for r in range(max(row - 1, 0), min(row + 2, height)):
                    for c in range(max(column - 1, 0), min(column + 2, width)):
                        count += cells[r * width + c]
                place = row * width + column
                if cells[place] == 1:
                    following[place] = survive[count]
                else:
                    following[place] = born[count]
        cells = following
    return {"sum(cells)" if asked == "alive" else "cells"}
""",
        wordings=(
            "In a grid of cells, 1 for alive and 0 for dead, a step changes all cells at once: a dead cell comes "
            "alive if the number of its living neighbours (of up to 8: beside, above, below, diagonal) is one of "
            f"{', '.join(born)}; a living cell stays alive if that number is one of {', '.join(survive)}, else it "
            f"dies. Outside the grid nothing lives. Do the given number of steps and return {result}.",
            f"Play a game of life with other rules: birth with {' or '.join(born)} living neighbours, survival with "
            f"{' or '.join(survive)}, death otherwise; neighbours are the up to eight cells around a cell, none "
            f"beyond the edges. All cells change at the same time. After the given number of steps, return {result}.",
        ),
        notes=f"{_GRID} The number of steps is not negative; there is at least one row.",
        supplies=(rows(whole(0, 1), least=1, most=36), whole(1, 7, 3, 5), whole(0, 4, 1)),
        fit=_whole_rows,
    )


@template(
    level=3,
    settle=lambda s: s if s["asked"] == "place" else s | {"is_last": False},
    condition=CONDITIONS,
    is_row=(True, False),
    is_greatest=(True, False),
    is_last=(False, True),
    asked=("place", "best"),
)
def _best_line(condition: str, is_row: bool, is_greatest: bool, is_last: bool, asked: str) -> Exercise:
    line = "row" if is_row else "column"
    side = "greatest" if is_greatest else "smallest"
    which = "last" if is_last else "first"
    sign = (">" if is_greatest else "<") + ("=" if is_last else "")
    outer, inner = ("height", "width") if is_row else ("width", "height")
    place = "i * width + j" if is_row else "j * width + i"
    result = (
        f"the number of the {line} (counted from 0) whose sum is {side}; if there are several, the {which} of them"
        if asked == "place"
        else f"the {side} sum of a {line}"
    )
    return Exercise(
        gold=asking(
            f"""\
def best_line(cells: list[int], width: int) -> int:
    height = len(cells) // width
    place = 0  # place
    best = 0
    for i in range({outer}):
        total = 0
        for j in range({inner}):
            x = cells[{place}]
            if {condition_code(condition, "x")}:
                total += x
        if i == 0 or total {sign} best:
            best = total
            place = i  # place
    return {asked}
""",
            asked,
        ),
        wordings=(
            f"For each {line} of the grid, add up its numbers {condition_words(condition)} (0 if there are none). "
            f"Return {result}.",
            f"In every {line} only the numbers {condition_words(condition)} count; a {line} without any has the sum "
            f"0. Return {result}.",
        ),
        notes=f"{_GRID} There is at least one row.",
        supplies=(rows(whole(-60, 60, *numbers_near(condition)), least=1, most=20), whole(1, 5, 3)),
        fit=_whole_rows,
    )


@template(level=5, right=range(10), down=range(10), diagonal=range(-1, 10), limit=range(10, 61), is_count=(False, True))
def _cheapest_path(right: int, down: int, diagonal: int, limit: int, is_count: bool) -> Exercise:
    ways = [f"to the right costs {right} more", f"down costs {down} more"]
    ways += [f"diagonally to the right and down costs {diagonal} more"] if diagonal >= 0 else []
    corner = (
        f"""\
            if row > 0 and column > 0 and cost[place - width - 1] >= 0:
                step = cost[place - width - 1] + {diagonal}
                if best < 0 or step < best:
                    best = step
"""
        if diagonal >= 0
        else ""
    )
    value = "cells[place] * 2" if is_count else "cells[place]"
    weight = "twice its number" if is_count else "its number"
    return Exercise(
        gold=f"""\
def cheapest(cells: list[int], width: int) -> int:
    cost = [-1] * len(cells)
    for row in range(len(cells) // width):
        for column in range(width):
            place = row * width + column
            if cells[place] > {limit}:
                continue
            best = -1
            if place == 0:
                best = 0
            if column > 0 and cost[place - 1] >= 0:
                best = cost[place - 1] + {right}
            if row > 0 and cost[place - width] >= 0:
                step = cost[place - width] + {down}
                if best < 0 or step < best:
                    best = step
{corner}            if best >= 0:
                cost[place] = best + {value}
    return cost[-1]
""",
        wordings=(
            "Find the cheapest way from the top left to the bottom right cell of a grid. Every cell on the way, "
            f"first and last included, costs {weight}; a step {', a step '.join(ways)}; there are no other steps. "
            f"Cells with numbers greater than {limit} must not be entered (nor be the first one). Return the cost, "
            f"or "
            "-1 if there is no way.",
            "A path starts in the first cell of a grid and ends in the last one. Its steps: a step "
            f"{'; a step '.join(ways)}. It may not touch a cell whose number is above {limit}. The cost is the sum "
            f"of "
            f"the steps' costs and of {weight} for each cell of the path, both ends included. Return the least cost, "
            "-1 if no path exists.",
        ),
        notes=f"{_GRID} There is at least one row, and no number is negative.",
        supplies=(rows(whole(0, 70, limit, 1, 5), least=1, most=20), whole(1, 5, 3)),
        fit=lambda cells, width: _whole_rows([x % (limit + 2) if sum(cells) % 4 else x for x in cells], width),
    )


_TURNS = {
    "turn by 90 degrees to the right": ("new_row", "(height - 1 - column) * width + row"),
    "turn by 90 degrees to the left": ("new_row", "column * width + width - 1 - row"),
    "turn by 180 degrees": ("row", "(height - 1 - row) * width + width - 1 - column"),
    "mirror so that left and right change places": ("row", "row * width + width - 1 - column"),
    "mirror so that top and bottom change places": ("row", "(height - 1 - row) * width + column"),
    "mirror so that rows become columns (the first row becomes the first column)": ("new_row", "column * width + row"),
}


@template(
    level=3,
    settle=lambda s: s if s["r"] < s["m"] and (s["a"], s["b"]) != (1, 0) else None,
    turn=tuple(_TURNS),
    m=range(2, 6),
    r=range(5),
    a=(*range(-3, 0), *range(1, 6)),
    b=range(-9, 10),
)
def _turned_grid(turn: str, m: int, r: int, a: int, b: int) -> Exercise:
    kind, source = _TURNS[turn]
    outer, inner = ("width", "height") if kind == "new_row" else ("height", "width")
    return Exercise(
        gold=f"""\
def turn(cells: list[int], width: int) -> list[int]:
    height = len(cells) // width
    turned = []
    for row in range({outer}):
        for column in range({inner}):
            x = cells[{source}]
            if (row + column) % {m} == {r}:
                x = {scaled("x", a)}{shifted(b)}
            turned.append(x)
    return turned
""",
        wordings=(
            f"First {turn.replace('turn', 'turn the grid', 1).replace('mirror', 'mirror the grid', 1)}. Then change "
            f"each number x in the new grid whose row number plus column number (both from 0) leaves remainder {r} "
            f"when divided by {m} to {a} * x{shifted(b)}. Return the new grid row by row.",
            f"Return, row by row, the grid that comes out of two steps: (1) {turn} (2) where (row + column) modulo "
            f"{m} is {r}, rows and columns of the new grid counted from 0, replace x by {a} * x{shifted(b)}.",
        ),
        notes=f"{_GRID} An empty list stays empty.",
        supplies=(rows(whole(-60, 60), most=24), whole(1, 6, 3)),
        fit=_rows_or_nothing,
    )


def _with_close_cells(cells: list[int], k: int) -> list[int]:
    """Many grids get only cells that differ by nothing, by k, or by a little more, many or few of them."""
    kinds = [(), (), (0, k, k + 1, k), (0, *[k + 1] * 4, k), (0, *[-k - 1] * 4, -k), (0, *[k + 1] * 6)]
    chosen = kinds[sum(cells) % len(kinds)]
    return [chosen[(5 * i + x) % len(chosen)] for i, x in enumerate(cells)] if chosen else cells


@template(
    level=4,
    settle=lambda s: s if s["is_eight"] or s["least"] < 4 else None,
    is_eight=(True, False),
    k=range(-10, 26),
    is_higher=(True, False),
    least=range(1, 7),
    asked=("number", "sum"),
)
def _neighbourhood(is_eight: bool, k: int, is_higher: bool, least: int, asked: str) -> Exercise:
    difference = "cells[r * width + c] - x" if is_higher else "x - cells[r * width + c]"
    cross = "" if is_eight else " and (r == row or c == column)"
    around = "beside, above, below and diagonally, up to 8" if is_eight else "beside, above and below, up to 4"
    word = "the neighbour minus the cell" if is_higher else "the cell minus the neighbour"
    result = "the number of such cells" if asked == "number" else "the sum of the numbers in such cells"
    return Exercise(
        gold=f"""\
def count_cells(cells: list[int], width: int) -> int:
    height = len(cells) // width
    total = 0
    for row in range(height):
        for column in range(width):
            x = cells[row * width + column]
            count = 0
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(column - 1, 0), min(column + 2, width)):
                    is_self = r == row and c == column
                    if not is_self{cross} and {difference} > {k}:
                        count += 1
            if count >= {least}:
                total += {"1" if asked == "number" else "x"}
    return total
""",
        wordings=(
            f"A cell of the grid counts if it has at least {least} neighbour{'s' if least > 1 else ''} ({around}) "
            f"for "
            f"which {word} is more than {k}. Return {result}.",
            f"Compare every cell with its neighbours ({around}; fewer at the edges), taking {word}. If the "
            f"difference "
            f"is greater than {k} for {least} or more of them, the cell is chosen. Return "
            f"{result.replace('such', 'chosen')}.",
        ),
        notes=f"{_GRID} There may be no cells; the result is then 0.",
        supplies=(rows(whole(-15, 30, k, 0, -k), most=30), whole(1, 6, 3, 5)),
        fit=lambda cells, width: _rows_or_nothing(_with_close_cells(cells, k), width),
    )
