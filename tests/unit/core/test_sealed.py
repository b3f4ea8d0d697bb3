from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.sealed import put_round, read_sealed_lines, seal_lines

LINES = [b'{"a":1}', b'{"text":"\xc3\xa9 \\r\\n"}', b"[1,2,3]"]


def test_the_seal_is_the_sha256_of_all_that_follows(tmp_path: Path) -> None:
    content = seal_lines(LINES)
    first, _, body = content.partition(b"\n")
    assert body == b"\n".join(LINES) + b"\n"
    assert first.decode() == f'{{"digest":"sha256:{hashlib.sha256(body).hexdigest()}"}}'
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    assert read_sealed_lines(path) == LINES


def test_every_bit_counts(tmp_path: Path) -> None:
    path, content = tmp_path / "file.jsonl", seal_lines(LINES)
    flipped = [content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :] for at in range(len(content))]
    for damaged in (*flipped, content[:-1], content + b"\n", b"", content.partition(b"\n")[2]):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"file.jsonl is damaged"):
            read_sealed_lines(path)


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"file.jsonl is missing"):
        read_sealed_lines(tmp_path / "file.jsonl")
    with pytest.raises(SourceError, match="cannot be read"):
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
