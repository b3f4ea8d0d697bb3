"""What lies in a directory: plain files, and what is none."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError
from spiritsafe.release import directory
from spiritsafe.release.directory import list_directory


def test_plain_files_and_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text("c")
    (tmp_path / "top").write_text("t")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("top")
    (tmp_path / "folder").symlink_to("a", target_is_directory=True)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        for name in (".gitattributes", ".gitignore"):
            (tmp_path / name).write_text("x")
        (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
        (tmp_path / ".git").symlink_to("a")
        (tmp_path / os.fsdecode(b"\xff\n")).write_text("x")
        found = list_directory(tmp_path)
    assert found.files.keys() == {"a/b/c.txt", "top", os.fsdecode(b"\xff\n")}
    assert found.odd == [
        ".git (a link)",
        "empty (an empty folder)",
        "folder (a link)",
        "link (a link)",
        "pipe (a pipe)",
        "socket (a socket)",
    ]
    assert found.of_downloads == [".cache", ".gitattributes", ".gitignore"]


def test_no_directory_and_one_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="no directory"):
        list_directory(tmp_path / "missing")
    tmp_path.joinpath(*["d"] * 40).mkdir(parents=True)
    with pytest.raises(SourceError, match="in each other beyond 32"):
        list_directory(tmp_path)
    monkeypatch.setattr(directory, "_MOST_ENTRIES", 3)
    for number in range(4):
        (tmp_path / f"{number}").write_text("")
    with pytest.raises(SourceError, match="more than 3 files"):
        list_directory(tmp_path)
