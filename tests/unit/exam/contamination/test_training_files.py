from __future__ import annotations

import json
from pathlib import Path

import pytest
from table_parts import write_rows

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import SourceError
from spiritsafe.exam.contamination import training_files
from spiritsafe.exam.contamination.training_files import TrainingFile


def read(path: Path) -> tuple[list[tuple[str, bool]], TrainingFile]:
    file = TrainingFile(path)
    return list(file.passages()), file


def test_every_string_of_a_json_line_is_a_passage(tmp_path: Path) -> None:
    rows = [
        {"problem": {"messages": [{"role": "user", "content": "What?"}], "facts": {"n": 3}}, "text": "That.",
         "token_ids": [1, 2]},
        {"messages": [{"role": "user", "content": "Ünï"}, {"role": "assistant", "content": "b\nc"}]},
        {"prompt": "p", "completion": ["x", ["y"]]},
    ]  # fmt: skip
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\nnot json\n", "utf-8")
    found, file = read(path)
    assert [text.strip() for text, _ in found if text.strip()] == [
        "user", "What?", "That.", "user", "Ünï", "assistant", "b\nc", "p", "x", "y", "not json",
    ]  # fmt: skip
    assert not any(goes_on for _, goes_on in found)
    assert (file.layout, file.digest, file.num_bytes) == (
        "json lines",
        digest_bytes(path.read_bytes()),
        path.stat().st_size,
    )


def test_text_is_cut_behind_white_space_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Öne two, thrée\nfour " * 50 + "end"
    path = tmp_path / "book.txt"
    path.write_text(text, "utf-8")
    for chunk in (1, 7, 64, 1 << 20):
        monkeypatch.setattr(training_files, "_CHUNK_BYTES", chunk)
        found, file = read(path)
        assert "".join(part for part, _ in found) == text
        assert [goes_on for _, goes_on in found] == [True] * (len(found) - 1) + [False]
        assert all(part[-1].isspace() for part, _ in found[:-1])
        assert (file.layout, file.digest) == ("text", digest_bytes(path.read_bytes()))


def test_a_word_without_end_and_a_passage_without_end_need_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_files, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(training_files, "_LINE_BYTES", 256)
    monkeypatch.setattr(training_files, "_PASSAGE_CHARACTERS", 256)
    path = tmp_path / "long.txt"
    path.write_text("x" * 2000, "utf-8")
    found, _ = read(path)
    assert max(len(text) for text, _ in found) <= 256 + 64
    monkeypatch.setattr(training_files, "_LINE_BYTES", 4000)
    for words in ("yes " * 300, "y" * 1200):
        path.write_text(json.dumps({"text": words, "more": "z"}), "utf-8")
        found, file = read(path)
        assert max(len(text) for text, _ in found) <= 256
        assert "".join(text for text, _ in found) == words + "z"
        assert [goes_on for _, goes_on in found] == [True] * (len(found) - 2) + [False, False]
        assert all(text.endswith(" ") for text, goes_on in found if goes_on and " " in words)
        assert file.num_bytes == path.stat().st_size


def test_a_line_of_json_without_end_is_refused_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_files, "_LINE_BYTES", 1 << 20)
    path = tmp_path / "long.jsonl"
    path.write_text('{"text": "short"}\n' + json.dumps({"text": "y " * (1 << 20)}), "utf-8")
    with pytest.raises(SourceError, match="line 2: longer than 1 MiB"):
        read(path)


def test_nesting_is_no_recursion(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text('{"a":' * 900 + '"deep"' + "}" * 900 + "\n" + '{"a":' * 50_000 + "\n", "utf-8")
    found, _ = read(path)
    assert found[0] == ("deep", False)


@pytest.mark.parametrize("data", [b"PK\x03\x04", b"BZh91AY", b"a\0b"])
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="neither JSON lines nor text"):
        TrainingFile(path)
    with pytest.raises(SourceError, match="cannot be read"):
        TrainingFile(tmp_path / "missing")


ROWS = [{"messages": [{"role": "user", "content": "What?"}], "text": "Ünï\nb"}, {"messages": [], "text": "last"}]


@pytest.mark.parametrize("name", ["a.parquet", "a.json", "a.jsonl.gz", "a.json.zst", "a.csv", "a.txt.gz"])
def test_text_of_other_files_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_rows(path, ROWS)
    found, file = read(path)
    text = "\n".join(part for part, _ in found)
    assert "What?" in text
    assert text.rstrip("\n").endswith("last")
    assert (file.digest, file.num_bytes) == (digest_bytes(path.read_bytes()), path.stat().st_size)
    if name == "a.parquet":
        assert [part for part, _ in found] == ["user", "What?", "Ünï\nb", "last"]


def test_the_digest_is_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("one two", "utf-8")
    file = TrainingFile(path)
    with pytest.raises(SourceError, match="not read to its end"):
        _ = file.digest
