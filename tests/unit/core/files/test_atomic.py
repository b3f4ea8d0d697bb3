import errno
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import EndpointError, SourceError, StorageError
from spiritsafe.core.files import atomic as files
from spiritsafe.core.files import lock
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
from spiritsafe.core.files.json_lines import append_line, read_json_lines, set_aside
from spiritsafe.core.files.lock import locked
from spiritsafe.core.files.reading import open_regular


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


def limited(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code where no file may pass 4096 bytes: what a full disk looks like to a writer."""
    head = """
        import resource
        from pathlib import Path
        from spiritsafe.core.errors import StorageError
        from spiritsafe.core.files.json_lines import append_line
        from spiritsafe.core.files.atomic import write_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        path = Path("file")
    """
    program = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


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


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    done = limited(
        tmp_path,
        """
        try:
            for number in range(1000):
                append_line(path, {"number": number, "filler": "x" * 100})
        except StorageError as error:
            print(error.diagnostics())
        """,
    )
    assert "cannot be written" in done.stdout, done.stderr
    assert (tmp_path / "file").read_bytes().endswith(b"}\n")
    lines = read_json_lines(tmp_path / "file")
    assert [line["number"] for line in lines] == list(range(len(lines)))
    append_line(tmp_path / "file", "goes on")
    assert read_json_lines(tmp_path / "file")[-1] == "goes on"


def test_lines_are_appended_and_a_torn_last_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for value in ({"b": 1, "a": "é\n"}, [2], None):
        append_line(path, value, sync=True)
    assert path.read_bytes() == '{"a": "é\\n", "b": 1}\n[2]\nnull\n'.encode()
    assert read_json_lines(path) == [{"b": 1, "a": "é\n"}, [2], None]
    with path.open("ab") as file:
        file.write(b'{"torn": ')
    assert read_json_lines(path) == [{"b": 1, "a": "é\n"}, [2], None]
    with path.open("ab") as file:
        file.write(b"\n[3]\n")
    with pytest.raises(SourceError, match="line 4"):
        read_json_lines(path)


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


def test_appends_of_many_threads_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def write(name: int) -> None:
        for number in range(100):
            append_line(path, {"name": name, "number": number, "filler": "x" * 500})

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = read_json_lines(path)
    assert sorted((line["name"], line["number"]) for line in lines) == [(n, i) for n in range(4) for i in range(100)]


_COUNT_UP = """
import sys, time
from pathlib import Path
from spiritsafe.core.files.lock import locked
counter, lock = map(Path, sys.argv[1:])
for _ in range(50):
    with locked(lock):
        number = int(counter.read_text())
        time.sleep(0.0002)
        counter.write_text(str(number + 1))
"""


def test_only_one_process_holds_a_lock(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", _COUNT_UP, str(counter), str(tmp_path / "lock")]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert counter.read_text() == "100"


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path / "lock"):
            raise OSError(errno.EIO, "not about the lock")

    with pytest.raises(OSError, match="not about the lock") as caught:
        fail()
    assert not isinstance(caught.value, StorageError)
    with locked(tmp_path / "lock"):
        pass
    with pytest.raises(StorageError), locked(tmp_path / "no/lock"):
        pass


@pytest.mark.parametrize("what", ["link", "dangling link", "pipe", "device"])
def test_what_is_no_file_of_its_own_is_not_opened(tmp_path: Path, what: str) -> None:
    path, own = tmp_path / "shared", tmp_path / "mine"
    if what != "dangling link":
        own.write_text("mine")
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null" if what == "device" else own)
    for flags, kind in (
        (os.O_RDONLY, SourceError),
        (os.O_WRONLY | os.O_CREAT, StorageError),
        (os.O_RDWR, StorageError),
    ):
        with pytest.raises(kind, match="not a file") as caught:
            open_regular(path, flags)
        assert "remove it" in caught.value.hint
    with pytest.raises(StorageError, match="not a file"):
        append_line(path, 1)
    with pytest.raises(StorageError, match="not a file"), locked(path):
        pass
    assert (own.read_text() if own.exists() else None) == (None if what == "dangling link" else "mine")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent", os.O_RDONLY)


def test_a_link_is_followed_where_that_is_wanted_but_to_files_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "null").symlink_to("/dev/null")
    os.close(open_regular(tmp_path / "link", os.O_RDONLY, follow=True))
    with pytest.raises(SourceError, match="not a file"):
        open_regular(tmp_path / "null", os.O_RDONLY, follow=True)


def test_what_is_set_aside_gets_a_new_file_each_time(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "log.torn").symlink_to(victim)
    for data in (b"one", b"two"):
        set_aside(tmp_path / "log", data)
    found = list(tmp_path.glob("log.*.torn"))
    assert sorted(path.read_bytes() for path in found) == [b"one\n", b"two\n"]
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert victim.read_text() == "mine"


def test_a_lock_says_who_holds_it_and_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "_SAY_AFTER_S", 0.0)
    me, path = f"process {os.getpid()} on {socket.gethostname()}", tmp_path / "lock"
    with locked(path):
        with pytest.raises(StorageError, match=f"still locked by {me}, after 0 s") as caught, locked(path, wait_s=0.0):
            pass
        assert "run the same command again" in caught.value.hint
        with pytest.raises(StorageError), locked(path, wait_s=0.01):
            pass
        assert [record.getMessage() for record in caplog.records] == [f"waiting up to 0 s for {path}, locked by {me}"]
    assert path.read_bytes() == b""
    with locked(path, wait_s=0.0):  # who waited in vain left it as it was
        pass


@pytest.mark.parametrize("text", [b"", b"\x1b[2K 1\n", b"12 host\nholds", b"1" * 4000])
def test_what_a_stranger_writes_into_a_lock_is_not_repeated(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(text)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="a process that does not say which"), locked(path, wait_s=0.0):
            pass
    assert path.read_bytes() == text


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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def none(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(StorageError, match="cannot be locked") as caught, locked(tmp_path / "lock"):
        pytest.fail("it does not hold it")
    assert "file system" in caught.value.hint


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
