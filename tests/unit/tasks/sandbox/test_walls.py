from __future__ import annotations

import os
import sys
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
    users = [walls.user_of(slot) for slot in range(40)]
    monkeypatch.setattr(os, "getpid", lambda: 4_194_303)
    users += [walls.user_of(slot) for slot in range(40)]
    assert len({*users}) == 80
    assert all(user is not None and 1 << 30 <= user < 2**31 for user in users)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert walls.user_of(3) is None


def test_tools_are_found_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert walls.find_tool("sh") is not None
    assert walls.find_tool("no-such-tool-at-all") is None
