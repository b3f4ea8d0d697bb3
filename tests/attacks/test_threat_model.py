"""The threat model's table and this suite name each other: no row without its attack, no attack without its row."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "threat-model.md"
_NAME = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    """Cells of the table's rows; the table is the one whose last column is headed "Attack tests"."""
    found, inside = [], False
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[-1] == "Attack tests":
            inside = True
        elif inside and not set(line) <= set("|-: "):
            found.append(cells)
    return found


def attacks_here() -> set[tuple[str, str]]:
    return {
        (path.name, node.name)
        for path in HERE.glob("test_*.py")
        if path.name != Path(__file__).name
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_has_all_its_cells_and_names_an_attack() -> None:
    table = rows()
    assert len(table) >= 20
    for cells in table:
        assert len(cells) == 5, cells
        assert all(cells), cells
        assert _NAME.search(cells[-1]), f"no test in the row: {cells[1]}"


def test_every_named_attack_exists_and_every_attack_is_named_once() -> None:
    named = Counter(match for cells in rows() for match in _NAME.findall(cells[-1]))
    assert set(named) - attacks_here() == set(), "named, but not there"
    assert attacks_here() - set(named) == set(), "there, but in no row"
    assert [name for name, times in named.items() if times > 1] == []
