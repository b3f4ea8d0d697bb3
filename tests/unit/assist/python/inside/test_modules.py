from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spiritsafe.assist.python.inside.modules import ProjectFinder, forget_modules, loaded_sources

TOP = "pack_of_a_test"


@pytest.fixture
def finder(tmp_path: Path) -> Iterator[ProjectFinder]:
    folder = tmp_path / TOP
    folder.mkdir()
    (folder / "plain.py").write_text("from .hidden import value\n")
    texts = {TOP: ("__init__.py", "import pack_of_a_test.hidden\n"), f"{TOP}.hidden": ("hidden.py", "value = 1\n")}
    codes = {name: compile(text, str(folder / file), "exec", dont_inherit=True) for name, (file, text) in texts.items()}
    found = ProjectFinder(codes, [TOP])
    sys.meta_path.insert(0, found)
    yield found
    sys.meta_path.remove(found)
    forget_modules([TOP])


def test_modules_come_from_memory_and_know_their_files(finder: ProjectFinder, tmp_path: Path) -> None:
    plain = importlib.import_module(f"{TOP}.plain")
    hidden = sys.modules[f"{TOP}.hidden"]
    assert plain.value == 1
    assert hidden.__file__ == str(tmp_path / TOP / "hidden.py")
    assert sys.modules[TOP].__path__ == [str(tmp_path / TOP)]
    assert (hidden.__package__, sys.modules[TOP].__package__) == (TOP, TOP)
    assert loaded_sources(str(tmp_path), hidden.__file__) == {
        TOP: str(tmp_path / TOP / "__init__.py"),
        f"{TOP}.plain": str(tmp_path / TOP / "plain.py"),
    }


def test_code_is_there_once_and_its_text_never(finder: ProjectFinder) -> None:
    hidden = importlib.import_module(f"{TOP}.hidden")
    assert inspect.getmodule(hidden) is hidden
    assert not any(f"{TOP}.hidden" in value for value in vars(finder).values())
    assert hidden.__loader__.get_source(hidden.__name__) is None
    assert hidden.__loader__.get_code(hidden.__name__) is None
    with pytest.raises(OSError, match="could not get source"):
        inspect.getsource(hidden)


def test_what_is_forgotten_is_imported_anew(finder: ProjectFinder) -> None:
    importlib.import_module(TOP)
    sys.modules[f"{TOP}s"] = sys.modules[TOP]
    forget_modules([TOP])
    assert not [name for name in sys.modules if name.partition(".")[0] == TOP]
    assert sys.modules.pop(f"{TOP}s")
    assert finder.find_spec(TOP, None) is None  # its code was there once
