"""Files of strangers: what is no plain file of a bounded size with JSON in it ends in one sentence."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from spiritsafe.core.canonical import nesting
from spiritsafe.core.errors import SourceError, StorageError
from spiritsafe.core.files import reading
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import digest_directory, digest_file
from spiritsafe.core.files.json_lines import append_line, read_json_lines
from spiritsafe.core.files.lock import locked
from spiritsafe.core.files.reading import is_descriptor, open_regular, open_to_read, parse_json, read_bytes

READERS = (read_bytes, read_json, read_json_lines, digest_file)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Everything that is no plain file, by what it is called."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "link to pipe").symlink_to(tmp_path / "pipe")
    return {
        "a pipe": tmp_path / "link to pipe",
        "a folder": tmp_path / "folder",
        "a device": tmp_path / "link",
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", READERS)
def test_pipes_devices_and_folders_are_named_and_not_opened(read: object, places: dict[str, Path]) -> None:
    for kind, path in places.items():
        with pytest.raises(SourceError, match=f"is {kind}, not a file"):
            read(path)  # type: ignore[operator]


def test_a_socket_and_a_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(SourceError, match="a socket"):
            read_bytes(Path("s"))
    for path in (tmp_path / "nothing", tmp_path / "a\0b"):
        with pytest.raises(SourceError, match="cannot be read"):
            read_bytes(path)


def test_what_is_exchanged_between_look_and_open_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    facts = os.stat(plain)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(reading.os, "stat", lambda *_args, **_more: facts)
    with pytest.raises(SourceError, match="a pipe"):
        open_to_read(tmp_path / "pipe")


def test_size_is_bounded_whatever_it_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_bytes(path, most_bytes=100) == b"x" * 100
    with pytest.raises(SourceError, match="more than 99 bytes"):
        read_bytes(path, most_bytes=99)
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    with pytest.raises(SourceError, match="more than"):
        read_bytes(path)
    assert read_bytes(Path("/proc/self/stat")).startswith(str(os.getpid()).encode())  # says that it has no bytes
    with pytest.raises(SourceError, match="more than 3 bytes"):
        read_bytes(Path("/proc/self/stat"), most_bytes=3)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "NaN",
        "[-Infinity]",
        '{"a": 1e400}',
        "9" * 400,
        "9" * 100_000,
        b"\xff",
        "{",
        "",
    ],
)
def test_json_that_nobody_can_work_with_is_one_error(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^it is not valid JSON: .{3,90}\.$") as caught:
        parse_json(text, "it")
    assert caught.value.hint
    path = tmp_path / "lines"
    path.write_bytes(b"1\n" + (text if isinstance(text, bytes) else text.encode()) + b"\n2\n")
    if text:
        with pytest.raises(SourceError, match="line 2 is not valid JSON"):
            read_json_lines(path)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if text in ("NaN", "[-Infinity]", '{"a": 1e400}', "9" * 400):  # as configurations of models have them
        read_json(path)
    else:
        with pytest.raises(SourceError, match="is not valid JSON"):
            read_json(path)


def test_json_as_everybody_writes_it_is_read_as_ever() -> None:
    value = {"a": [1, -2.5, 1e300, True, None, "é\u2028"], "b": {"c": 10**200}}
    assert parse_json(json.dumps(value), "it") == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), "it") == value


def test_a_folder_has_a_digest_of_all_of_it_or_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    good = digest_directory(tmp_path)
    named = os.fsencode(tmp_path) + b"/\xff\xfe"
    with open(named, "w") as file:
        file.write("b")
    with pytest.raises(SourceError, match=r"not UTF-8: b'\\xff\\xfe'"):
        digest_directory(tmp_path)
    os.unlink(named)
    (tmp_path / "linked file").symlink_to(tmp_path / "a")
    assert digest_directory(tmp_path, exclude=["linked file"]) == good
    (tmp_path / "linked").symlink_to("/tmp")
    with pytest.raises(SourceError, match="a link to a folder, linked"):
        digest_directory(tmp_path)


def test_nesting_is_counted_without_recursion() -> None:
    value: object = 1
    for _ in range(50_000):
        value = [value]
    assert nesting(value) == 50_000
    assert [nesting(one) for one in ("a", [], {"a": 1}, [1, {"a": [2]}, []])] == [0, 1, 1, 3]


@pytest.fixture
def pipe() -> Iterator[int]:
    """The read end of a pipe whose writer has written and gone, as a shell's ``<(…)`` leaves it."""
    out, into = os.pipe()
    os.write(into, b'{"a": 1}')
    os.close(into)
    yield out
    os.close(out)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("place", ["/dev/fd/{}", "/proc/self/fd/{}", "/dev/../dev/fd/{}"])
def test_a_pipe_that_the_user_hands_over_is_read_once(place: str, pipe: int) -> None:
    path = Path(place.format(pipe))
    assert is_descriptor(path)
    assert read_json(path) == {"a": 1}
    assert read_bytes(path, is_typed=True) == b""


@pytest.mark.timeout(20)
def test_a_pipe_that_is_handed_over_has_a_bound_and_no_way_round(pipe: int, tmp_path: Path) -> None:
    path = Path(f"/dev/fd/{pipe}")
    (tmp_path / "planted").symlink_to(path)
    assert not is_descriptor(tmp_path / "planted")
    for refused in (tmp_path / "planted", path):
        with pytest.raises(SourceError, match="is a pipe, not a file"):
            open_to_read(refused)  # who reads in pieces, or twice
    with pytest.raises(SourceError, match="is a pipe, not a file"):
        read_bytes(tmp_path / "planted", is_typed=True)
    with pytest.raises(SourceError, match="is a pipe, not a file"):
        read_bytes(path)  # a stranger's file named it
    with pytest.raises(SourceError, match="more than 3 bytes"):
        read_bytes(path, most_bytes=3, is_typed=True)


def test_ordinary_paths_are_no_descriptors(tmp_path: Path) -> None:
    for path in (
        tmp_path,
        tmp_path / "stdin",
        Path("/dev/null"),
        Path("stdin"),
        Path("/"),
        Path("a\0/b"),
        Path("/dev/shm/x"),
    ):
        assert not is_descriptor(path)
    for name in ("/dev/stdout", "/dev/stdin", "/dev/stderr", "/proc/self/fd/1", "/proc/thread-self/fd/0"):
        assert is_descriptor(Path(name))


def test_another_users_file_is_opened_where_the_system_refuses_to_create(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def protected(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, mode)

    (tmp_path / "theirs").write_text("x")
    monkeypatch.setattr(reading.os, "open", protected)
    os.close(open_regular(tmp_path / "theirs", os.O_RDWR | os.O_CREAT))
    for name, more in (("theirs", os.O_EXCL), ("missing", 0)):
        with pytest.raises(PermissionError):
            open_regular(tmp_path / name, os.O_RDWR | os.O_CREAT | more)


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
