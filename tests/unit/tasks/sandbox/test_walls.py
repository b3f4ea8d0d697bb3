from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from spiritsafe.tasks.sandbox import walls


def test_the_interpreter_is_not_that_of_a_virtual_environment() -> None:
    assert walls.interpreter().is_relative_to(Path(sys.base_prefix).resolve())
    assert "venv" not in walls.interpreter().parts
    folders = walls.python_folders()
    assert len(folders) <= 2
    library = Path(os.__file__)
    assert library.is_relative_to("/usr") or any(library.resolve().is_relative_to(folder) for folder in folders)


def test_nothing_of_a_user_can_be_read() -> None:
    places, links = walls.readable_places()
    assert "/usr" in places
    assert not {"/", "/etc", "/home", "/root", "/var", "/tmp"} & {*places}
    assert all(link.startswith("/") for _, link in links)


def test_no_two_boxes_are_the_same_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    users = [walls.user_of(slot) for slot in range(walls.MOST_BOXES)]
    monkeypatch.setattr(os, "getpid", lambda: 4_194_303)
    users += [walls.user_of(slot) for slot in range(walls.MOST_BOXES)]
    assert len({*users}) == 2 * walls.MOST_BOXES
    assert all(user is not None and 1 << 30 <= user < 2**31 for user in users)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert walls.user_of(3) is None


def test_tools_are_found_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert walls.find_tool("sh") is not None
    assert walls.find_tool("no-such-tool-at-all") is None


def test_a_number_is_nobody_elses_until_it_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walls, "_taken", set())
    numbers = [walls.take_slot() for _ in range(walls.MOST_BOXES)]
    assert len({*numbers}) == walls.MOST_BOXES
    assert all(0 <= number < walls.MOST_BOXES for number in numbers)
    with pytest.raises(OSError, match="256 sandboxes of one process are the most"):
        walls.take_slot()
    walls.free_slot(numbers[7])
    assert walls.take_slot() == numbers[7]


def test_the_first_closed_folder_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to others
        outer = Path(folder)
        outer.chmod(0o711)
        path = outer / "a" / "b" / "c"
        path.mkdir(parents=True)
        assert walls.closed_folder(path / "file") is None
        for closed in (path, path.parent, outer):
            closed.chmod(0o700)
            assert walls.closed_folder(path / "file") == closed
        assert walls.closed_folder(outer) is None  # who wants to go into it is another matter
