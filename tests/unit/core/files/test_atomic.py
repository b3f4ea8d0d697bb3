import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from full_disk import limited

from spiritsafe.core.errors import EndpointError, SourceError, StorageError
from spiritsafe.core.files import atomic as files
from spiritsafe.core.files.atomic import (
    atomic_path,
    ensure_directory,
    new_beside,
    read_json,
    storage_errors,
    sweep,
    write_bytes,
    write_json,
    write_text,
)
from spiritsafe.core.files.json_lines import read_json_lines


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_files_are_written_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a/b/c.bin", b"\x00\x01")
    write_text(tmp_path / "t.txt", "é\n")
    write_json(tmp_path / "j.json", {"b": 1, "a": ["é"]})
    assert (tmp_path / "a/b/c.bin").read_bytes() == b"\x00\x01"
    assert (tmp_path / "t.txt").read_bytes() == "é\n".encode()
    assert (tmp_path / "j.json").read_text("utf-8") == '{\n  "a": [\n    "é"\n  ],\n  "b": 1\n}\n'
    assert read_json(tmp_path / "j.json") == {"a": ["é"], "b": 1}
    assert names(tmp_path) == ["a", "j.json", "t.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "t.txt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(TypeError), atomic_path(path) as temporary:
        temporary.write_bytes(temporary.write_bytes(b"new"))  # type: ignore[arg-type]  # the error under test
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, float("nan"))
    assert path.read_text() == "old"


def test_a_reader_never_sees_half_a_file_and_a_killed_writer_leaves_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = f"""
        from pathlib import Path
        from spiritsafe.core.files.atomic import write_bytes
        number = 0
        while True:
            write_bytes(Path({str(path)!r}), bytes([number % 256]) * 300_000)
            number += 1
    """
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        seen = set()
        deadline = time.monotonic() + 30
        while len(seen) < 15 and time.monotonic() < deadline:
            if path.exists():
                data = path.read_bytes()
                assert len(data) == 300_000
                assert len(set(data)) == 1
                seen.add(data[0])
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert len(seen) >= 15
    data = path.read_bytes()
    assert (len(data), len(set(data))) == (300_000, 1)


def test_errors_of_the_disk_say_what_to_do(tmp_path: Path) -> None:
    for number, words in ((errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "yours to write")):
        with pytest.raises(StorageError, match="cannot be written") as caught, storage_errors(tmp_path):
            raise OSError(number, os.strerror(number))
        assert words in caught.value.hint
        assert caught.value.__cause__ is not None
    for ours in (SourceError("s", hint="h"), EndpointError("e", hint="h")):
        with pytest.raises(type(ours)) as kept, storage_errors(tmp_path):
            raise ours
        assert kept.value is ours
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        ensure_directory(tmp_path / "file/below")
    with pytest.raises(StorageError):
        write_text(tmp_path / "file/below", "x")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    done = limited(
        tmp_path,
        """
        write_bytes(path, b"old")
        try:
            write_bytes(path, b"x" * 10_000)
        except StorageError as error:
            print(error.diagnostics())
        """,
    )
    assert "cannot be written" in done.stdout, done.stderr
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for read in (read_json, read_json_lines):
        with pytest.raises(SourceError, match="cannot be read"):
            read(tmp_path / "missing")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(SourceError, match="not valid JSON"):
        read_json(tmp_path / "bad")
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError):
        read_json(tmp_path / "bad")


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    value: Any = {"n": [1, 2.5, None, True], "t": "\u2028😀"}
    write_json(tmp_path / "x", value)
    assert json.loads((tmp_path / "x").read_text("utf-8")) == value


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a[1].json"
    for name in (
        ".a[1].json.xyz.tmp",
        ".a[1].json.q8_.tmp",
        ".a1.json.xyz.tmp",
        ".b.json.xyz.tmp",
        "a[1].json",
        ".a.tmp",
    ):
        (tmp_path / name).write_text(name)
    sweep(target, tmp_path / "nothing" / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.tmp",
        ".a1.json.xyz.tmp",
        ".b.json.xyz.tmp",
        "a[1].json",
    ]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_folder_that_cannot_be_synced_takes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", sync)
    files.write_bytes(tmp_path / "file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_the_kernel_applies_the_umask_and_nothing_changes_it_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    real = os.umask
    before = real(umask)
    try:
        # a checkpoint is written in a thread, while the run writes its own files
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("other threads' files would be open to all"))
        write_text(tmp_path / "t.txt", "1")
        folder = new_beside(tmp_path / "folder", ".partial", Path.mkdir)
    finally:
        real(before)
    assert (tmp_path / "t.txt").stat().st_mode & 0o777 == 0o666 & ~umask
    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_name_that_is_taken_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["aa", "aa", "bb"])
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: next(drawn))
    made = [new_beside(tmp_path / "f", ".tmp", lambda new: new.touch(exist_ok=False)) for _ in range(2)]
    assert [path.name for path in made] == [".f.aa.tmp", ".f.bb.tmp"]
