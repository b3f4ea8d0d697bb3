"""Data files: digests, refusals, and Hugging Face data sets through a stand-in."""

import hashlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest
from table_parts import write_rows

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.tasks.families.datafile import DataSource, is_hub_name
from spiritsafe.tasks.registry import load_task
from spiritsafe.tasks.splits import bucket_of


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


def test_the_digest_of_a_file_of_lines_is_what_it_always_was(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "1+1?", "answer": "2"}\n\n{"question": "2+2?", "answer": 4.0}')
    source = DataSource(str(tmp_path / "a.jsonl"))
    assert source.digest() == "72a5eb2615af81de924f8f1c40e0bfbb"
    assert source.rows() == [{"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": 4.0}]


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.tsv.gz", "a.json", "a.jsonl.zst"])
def test_rows_of_every_layout(tmp_path: Path, name: str) -> None:
    """A task made of them has the same problems in the same buckets; only its name tells the files apart."""
    rows = [{"question": f"What is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(60)]
    write_rows(tmp_path / name, rows)
    write_rows(tmp_path / "plain.jsonl", rows)
    assert DataSource(str(tmp_path / name)).rows() == rows
    task, plain = (load_task(f"math:{tmp_path / file}") for file in (name, "plain.jsonl"))
    seen = {problem.canonical_text: bucket_of(problem) for problem in plain.problems("train", seed=0, count=30)}
    drawn = {problem.canonical_text: bucket_of(problem) for problem in task.problems("train", seed=0, count=30)}
    both = seen.keys() & drawn.keys()
    assert len(both) > 10
    assert [seen[text] for text in both] == [drawn[text] for text in both]
    damaged = (tmp_path / name).read_bytes()[:-30]
    (tmp_path / name).write_bytes(damaged.replace(b"#", b"\xff") if name == "a.csv" else damaged)
    with pytest.raises(SourceError):
        DataSource(str(tmp_path / name)).rows()


def test_several_files_have_one_digest_and_errors_name_the_file(tmp_path: Path) -> None:
    left, right = (write(tmp_path / name, [{"q": n}, {"q": n + 1}]) for n, name in enumerate(("a.jsonl", "b.jsonl")))
    source = DataSource(f"{left}|{right}")
    assert [row["q"] for row in source.rows()] == [0, 1, 1, 2]
    assert source.tables() == [(left, range(2)), (right, range(2, 4))]
    assert [source.place(index) for index in (1, 2)] == [f"{left}, row 2", f"{right}, row 1"]
    assert len({source.digest(), DataSource(f"{right}|{left}").digest(), DataSource(left).digest()}) == 3
    task = load_task(f"math:{left}|{right}?question=q&answer=nothing")
    write(tmp_path / "b.jsonl", [{"q": 1}, 3])
    with pytest.raises(TaskError, match=r"b\.jsonl, row 2: not an object"):
        DataSource(f"{left}|{right}").rows()
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(SourceError, match=r"b\.jsonl"):
        load_task(f"math:{left}|{right}?question=q")
    assert task.finite


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
    assert not is_hub_name("data/train.parquet")
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


def test_hub_by_the_files_that_it_makes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held = {f"main/train/000{n}.parquet": [{"question": f"{n}+1?", "answer": "2"}] for n in range(2)}
    held |= {"main/test/0000.parquet": [{"question": "t", "answer": "1"}]}

    def list_repo_files(name: str, *, repo_type: str, revision: str) -> list[str]:
        assert (name, repo_type, revision) == ("openai/gsm8k", "dataset", "refs/convert/parquet")
        return [*held, "README.md"]

    def hf_hub_download(name: str, file: str, *, repo_type: str, revision: str) -> str:
        path = tmp_path / file.replace("/", "-")
        write_rows(path, held[file])
        return str(path)

    stand_in = types.ModuleType("huggingface_hub")
    stand_in.list_repo_files = list_repo_files  # type: ignore[attr-defined]  # a stand-in module
    stand_in.hf_hub_download = hf_hub_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "huggingface_hub" else None)
    assert [row["question"] for row in DataSource("openai/gsm8k").rows()] == ["0+1?", "1+1?"]
    test = DataSource("openai/gsm8k", config="main", split="test")
    lines = b'{"answer":"1","question":"t"}'
    assert test.digest() == hashlib.sha256(lines).hexdigest()[:32]  # as the package datasets gives it
    with pytest.raises(SourceError, match="it has no main/dev; there is main/test, main/train"):
        DataSource("openai/gsm8k", split="dev").rows()
    held |= {"other/train/0000.parquet": []}
    with pytest.raises(SourceError, match="it has no single configuration/train; there is main/test"):
        DataSource("openai/gsm8k").rows()
