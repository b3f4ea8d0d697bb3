from __future__ import annotations

import json

import pytest

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.record_files import parse_record, read_record, write_record
from spiritsafe.core.records import Message, Problem

MESSAGE = Message(role="user", content="grüße 1")


def test_file_is_exactly_the_canonical_bytes(tmp_path):
    path = tmp_path / "m.json"
    write_record(path, MESSAGE)
    assert path.read_bytes() == MESSAGE.canonical()
    assert read_record(path, Message) == MESSAGE


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(MESSAGE.to_json()).encode(),  # spaces, escapes
        MESSAGE.canonical() + b"\n",
        MESSAGE.canonical().replace(b"grue", b"x").replace("ü".encode(), b"\\u00fc"),
        b'{"content":"a","role":"user","role":"user"}',
        b'{"role":"user","content":"a"}',
        b"[" * 100_000,
        b"\xff",
        b"",
        b"{}",
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(IntegrityError) as caught:
        parse_record(data, Message, "The file")
    assert caught.value.hint


def test_missing_file(tmp_path):
    with pytest.raises(SourceError):
        read_record(tmp_path / "none", Message)


def test_what_would_not_read_back_is_not_written(tmp_path):
    problem = Problem(task="t:x", canonical_text="x", messages=(MESSAGE,), facts={"answer": 2.0**60})
    with pytest.raises(IntegrityError):
        write_record(tmp_path / "p.json", problem)
    assert not (tmp_path / "p.json").exists()
