"""The tree of tests mirrors the tree of rooms, and each room exports what it says it exports."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import spiritsafe

SOURCE = Path(spiritsafe.__file__).parent
TESTS = Path(__file__).parent
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
MODULES = sorted(
    path.relative_to(SOURCE).with_suffix("").as_posix()
    for room in ROOMS
    for path in (SOURCE / room).rglob("*.py")
    if path.stem not in ("__init__", "__main__")
)


@pytest.mark.parametrize("module", MODULES)
def test_each_module_has_a_test(module: str) -> None:
    room, *folders, name = module.split("/")
    if room == "cli" and name not in ("exam", "progress"):
        name = "commands"  # the small commands are tested together, as their users meet them
    path = TESTS.joinpath("unit", room, *folders, f"test_{name}.py")
    assert path.exists(), f"write {path.relative_to(TESTS.parent)}"


@pytest.mark.parametrize("module", MODULES)
def test_each_module_says_what_it_is_for_and_what_is_public(module: str) -> None:
    tree = ast.parse((SOURCE / f"{module}.py").read_text("utf-8"))
    assert ast.get_docstring(tree), f"{module}: a docstring"
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" in assigned, f"{module}: __all__"


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_exports_what_it_names(room: str) -> None:
    module = importlib.import_module(f"spiritsafe.{room}")
    names = list(getattr(module, "__all__", []))
    assert len(set(names)) == len(names)
    missing = [name for name in names if not hasattr(module, name)]
    assert missing == []
    if room not in ("core", "cli"):  # core is named by module, cli is a program
        assert names


def test_no_test_directory_is_without_a_room() -> None:
    directories = {path.name for path in (TESTS / "unit").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert directories <= set(ROOMS)
