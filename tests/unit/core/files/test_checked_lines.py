from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import IO

import pytest

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files import checked_lines as sealed
from spiritsafe.core.files.checked_lines import put_round, read_first_sealed_line, read_sealed_lines, write_sealed_lines
from spiritsafe.core.files.reading import open_to_read

LINES = [b'{"a":1}', b'{"text":"\xc3\xa9 \\r\\n"}', b"[1,2,3]"]


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def old_file(lines: list[bytes]) -> bytes:
    """As files were written before the seal named the first line's digest too."""
    body = b"".join(line + b"\n" for line in lines)
    return f'{{"digest":"{sha256(body)}"}}\n'.encode() + body


def new_file(path: Path) -> bytes:
    write_sealed_lines(path, iter(LINES))
    return path.read_bytes()


def flipped(content: bytes) -> list[bytes]:
    return [content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :] for at in range(len(content))]


def test_the_seal_is_the_sha256_of_all_that_follows_and_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    first, _, body = new_file(path).partition(b"\n")
    assert body == b"\n".join(LINES) + b"\n"
    assert first.decode() == f'{{"digest":"{sha256(body)}","first":"{sha256(LINES[0])}"}}'
    assert list(read_sealed_lines(path)) == LINES
    assert read_first_sealed_line(path) == LINES[0]


def test_there_may_be_no_line(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    write_sealed_lines(path, [])
    assert (list(read_sealed_lines(path)), read_first_sealed_line(path)) == ([], b"")


def test_every_bit_counts(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    for content in (new_file(path), old_file(LINES)):
        for damaged in (*flipped(content), content[:-1], content + b"\n", b"", content.partition(b"\n")[2]):
            path.write_bytes(damaged)
            with pytest.raises(IntegrityError, match=r"file.jsonl is damaged"):
                read_sealed_lines(path)


def test_a_damaged_first_line_is_found_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    content = new_file(path)
    start = content.index(b"\n") + 1
    for damaged in (
        *flipped(content)[start : start + len(LINES[0])],
        content.replace(sha256(LINES[0]).encode(), sha256(b"").encode()),
        content.replace(b"first", b"First"),
        content[start:],
        content[:40],
        b"",
        b"\xff\n",
        b"[]\n",
    ):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"file.jsonl is damaged"):
            read_first_sealed_line(path)


def test_old_files_can_be_read_and_are_checked_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    content = old_file(LINES)
    path.write_bytes(content)
    assert list(read_sealed_lines(path)) == LINES
    assert read_first_sealed_line(path) == LINES[0]
    path.write_bytes(content[:-3] + b"4]\n")
    with pytest.raises(IntegrityError, match=r"file.jsonl is damaged"):
        read_first_sealed_line(path)


class CountingFile:
    def __init__(self, file: IO[bytes], counts: list[int]) -> None:
        self._file, self._counts = file, counts

    def __enter__(self) -> CountingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def readline(self, size: int = -1) -> bytes:
        line = self._file.readline(size)
        self._counts.append(len(line))
        return line


def test_the_first_line_of_a_large_file_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, counts = tmp_path / "file.jsonl", list[int]()
    write_sealed_lines(path, (b'{"header":true}', *(b"[%d]" % n for n in range(300_000))))
    monkeypatch.setattr(sealed, "open_to_read", lambda path: CountingFile(open_to_read(path), counts))
    assert read_first_sealed_line(path) == b'{"header":true}'
    assert sum(counts) < 300


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"file.jsonl is missing"):
        read_sealed_lines(tmp_path / "file.jsonl")
    with pytest.raises(SourceError, match="is a folder"):
        read_sealed_lines(tmp_path)


def test_a_table_holds_each_round_once_and_forgets_those_after_it(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    assert all(put_round(path, {"round": index, "value": index / 10}) for index in range(4))
    before = path.stat().st_mtime_ns, path.read_bytes()
    assert not put_round(path, {"round": 2, "value": 0.2})
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert put_round(path, {"round": 2, "value": 7.0})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"round": 0, "value": 0.0}, {"round": 1, "value": 0.1}, {"round": 2, "value": 7.0}]


def test_a_torn_last_line_is_forgotten_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    put_round(path, {"round": 0})
    put_round(path, {"round": 1})
    os.truncate(path, path.stat().st_size - 4)
    assert put_round(path, {"round": 1})
    assert [json.loads(line)["round"] for line in path.read_text().splitlines()] == [0, 1]


@pytest.mark.parametrize("line", ["5", "{}", "[]", "null", '{"round": "a"}', '{"round": null}'])
def test_a_table_of_something_else_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rounds.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(SourceError, match=r"rounds.jsonl is damaged"):
        put_round(path, {"round": 1})


def test_a_seal_nested_without_end_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"[" * 1022 + b"\n{}\n")
    with pytest.raises(IntegrityError, match=r"file.jsonl is damaged"):
        read_first_sealed_line(path)
