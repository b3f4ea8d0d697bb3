"""The plan of the house: a folder is one idea, a room is entered by its face, the tests stand as the rooms do."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import spiritsafe

SOURCE = Path(spiritsafe.__file__).parent
TESTS = Path(__file__).parent
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
FOLDERS = sorted({path.parent.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")} - {"."})
FACES = ["exam/records", "tasks/code", *sorted(set(ROOMS) - {"core", "cli"})]  # core has modules, cli is a program
MODULES = sorted(
    path.relative_to(SOURCE).with_suffix("").as_posix()
    for room in ROOMS
    for path in (SOURCE / room).rglob("*.py")
    if path.stem not in ("__init__", "__main__")
)
MOST_ENTRIES = 12
DRAWN_BY_EXAM = "spiritsafe.tasks.exam_bucket"  # no face shows it; import contracts say who may name it


def _imports(module: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse((SOURCE / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield node.module or "", name.name
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, ""


@pytest.mark.parametrize("module", MODULES)
def test_each_module_has_a_test(module: str) -> None:
    room, *folders, name = module.split("/")
    if room == "cli" and not folders and name not in ("terminal", "paths", "stopping"):
        name = "commands"  # the small commands are tested together, as their users meet them
    folder = TESTS.joinpath("unit", room, *folders)
    assert list(folder.glob(f"test_{name}.py")) or list(folder.glob(f"test_{name}_*.py")), (
        f"write {(folder / f'test_{name}.py').relative_to(TESTS.parent)}"
    )


def test_each_folder_of_tests_is_a_folder_of_the_house() -> None:
    unit = TESTS / "unit"
    folders = {path.parent.relative_to(unit).as_posix() for path in unit.rglob("*.py")}
    assert folders <= {*FOLDERS, "."}


@pytest.mark.parametrize("module", MODULES)
def test_each_module_says_what_it_is_for(module: str) -> None:
    tree = ast.parse((SOURCE / f"{module}.py").read_text("utf-8"))
    assert ast.get_docstring(tree), f"{module}: a docstring"
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" not in assigned, f"{module}: only faces say what is public"


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_is_one_idea(folder: str) -> None:
    face = SOURCE / folder / "__init__.py"
    assert ast.get_docstring(ast.parse(face.read_text("utf-8"))), f"{folder}: what it is for, in a line"
    entries = {path.name for path in (SOURCE / folder).iterdir()} - {"__init__.py", "__pycache__"}
    assert len(entries) <= MOST_ENTRIES, f"{folder}: {sorted(entries)}"


@pytest.mark.parametrize("module", MODULES)
def test_other_rooms_are_entered_by_their_faces(module: str) -> None:
    own, *folders = module.split("/")
    if "inside" in folders:
        return  # it runs in a sandbox, where the rooms are not
    past = {
        f"from {source} import {name}"
        for source, name in _imports(module)
        if source.startswith("spiritsafe.") and source.split(".")[1] not in (own, "core", "cli")
        if source != DRAWN_BY_EXAM and source.removeprefix("spiritsafe.").replace(".", "/") not in FACES
    }
    assert past == set(), "import it from the room's face"


@pytest.mark.parametrize("face", FACES)
def test_each_face_shows_what_it_names(face: str) -> None:
    module = importlib.import_module(f"spiritsafe.{face.replace('/', '.')}")
    names = list(module.__all__)
    assert names
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(module, name)] == []
    assert set(names) <= set(dir(module))
    inside = {path.stem for path in (SOURCE / face).iterdir()}
    assert not inside & set(names), "a name and a module of the same name: one would hide the other"


PROTOCOLS = {
    "why_not",
    "open_box",
    "NAME",
    "FAMILY",
    "HACKS",
    "INTERFACE",
    "LANGUAGE",
    "SUFFIXES",
    "SUITE",
    "T",
    "V",
    "build",
    "command",
    "describe",
    "edits_of",
    "export",
    "list_",
    "main",
    "open_subjects",
    "replacement_in",
    "routines_in",
    "show",
}  # each file of a kind


def test_a_public_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for module in [*MODULES, "cli/__init__"]:
        for node in ast.parse((SOURCE / f"{module}.py").read_text("utf-8")).body:
            names = [node.name] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else []
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            for name in set(names):
                places.setdefault(name, []).append(module)
    public = {name: found for name, found in places.items() if not name.startswith("_") and name not in PROTOCOLS}
    assert {name: found for name, found in public.items() if len(found) > 1} == {}
