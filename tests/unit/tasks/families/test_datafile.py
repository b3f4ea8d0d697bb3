"""Data files: digests, refusals, and Hugging Face data sets through a stand-in."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.tasks.families.datafile import DataSource, is_hub_name


def write(path: Path, rows: list[object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_digest_names_the_data(tmp_path: Path) -> None:
    location = write(tmp_path / "a.jsonl", [{"q": 1}])
    digest = DataSource(location).digest()
    assert len(digest) == 32
    assert DataSource(location, sha256=digest).rows() == [{"q": 1}]
    write(tmp_path / "a.jsonl", [{"q": 2}])
    with pytest.raises(TaskError, match="is not the data that the task names"):
        DataSource(location, sha256=digest).rows()


def test_a_given_digest_needs_no_file() -> None:
    assert DataSource("gone.jsonl", sha256="ab").digest() == "ab"
    with pytest.raises(SourceError):
        DataSource("gone.jsonl", sha256="ab").rows()


def test_rows_must_be_objects(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="row 2: not an object"):
        DataSource(write(tmp_path / "a.jsonl", [{"q": 1}, 3])).rows()


def test_hub_names(tmp_path: Path) -> None:
    assert is_hub_name("openai/gsm8k")
    assert not is_hub_name("data/train.jsonl")
    assert not is_hub_name(str(tmp_path))
    assert not is_hub_name("a/b/c")


def test_hub_without_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match="needs the package datasets") as caught:
        DataSource("openai/gsm8k").rows()
    assert "pip install datasets" in caught.value.hint


def test_hub_with_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        if name.startswith("no/"):
            raise ValueError("no such data set")
        return [{"question": "1+1?", "answer": "2"}]

    stand_in = types.ModuleType("datasets")
    stand_in.load_dataset = load_dataset  # type: ignore[attr-defined]  # a stand-in module
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    source = DataSource("openai/gsm8k", config="main", split="test")
    assert source.rows() == [{"question": "1+1?", "answer": "2"}]
    assert len(source.digest()) == 32
    assert asked == [("openai/gsm8k", "main", "test")]
    with pytest.raises(SourceError, match="no such data set"):
        DataSource("no/thing").rows()
