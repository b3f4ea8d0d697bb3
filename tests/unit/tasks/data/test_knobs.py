"""Families whose problems stand in data: the task's name says which data, and a commit alone deals nothing anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_hub import fake_hub
from table_parts import packed_rows, write_rows

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.tasks.data.knobs import DataKnobs, DataSources
from spiritsafe.tasks.exam_bucket import exam_problems
from spiritsafe.tasks.registry import load_named, load_task
from spiritsafe.tasks.splits import bucket_of

ROWS = [{"question": f"What is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(60)]


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.tsv.gz", "a.json", "a.jsonl.zst"])
def test_rows_of_every_layout(tmp_path: Path, name: str) -> None:
    """A task made of them has the same problems in the same buckets; only its name tells the files apart."""
    write_rows(tmp_path / name, ROWS)
    write_rows(tmp_path / "plain.jsonl", ROWS)
    assert DataSources("math", str(tmp_path / name), DataKnobs()).study.rows() == ROWS
    task, plain = (load_task(f"math:{tmp_path / file}") for file in (name, "plain.jsonl"))
    seen = {problem.canonical_text: bucket_of(problem) for problem in plain.problems("train", seed=0, count=30)}
    drawn = {problem.canonical_text: bucket_of(problem) for problem in task.problems("train", seed=0, count=30)}
    both = seen.keys() & drawn.keys()
    assert len(both) > 10
    assert [seen[text] for text in both] == [drawn[text] for text in both]
    damaged = (tmp_path / name).read_bytes()[:-30]
    (tmp_path / name).write_bytes(damaged.replace(b"#", b"\xff") if name == "a.csv" else damaged)
    with pytest.raises(SourceError):
        list(load_task(f"math:{tmp_path / name}").problems("train", seed=0, count=30))


def test_a_set_of_the_hub_and_its_exam_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"train.jsonl": packed_rows("a.jsonl", ROWS), "test.jsonl": packed_rows("a.jsonl", ROWS[:40])}
    with fake_hub(tmp_path, monkeypatch) as hub:
        first = hub.put("org/sums", files)
        task = load_task("math:org/sums?exam=test")
        assert f"revision={first}&" in task.name
        assert "split=train" in task.name
        drawn = list(task.problems("train", seed=3, count=20))
        second = hub.put("org/sums", {**files, "README.md": b"A word more."}, revision="v2")
        newer = load_task("math:org/sums?exam=test&revision=v2")
        assert f"revision={second}" in newer.name
        texts = [problem.canonical_text for problem in newer.problems("train", seed=3, count=20)]
        assert texts == [problem.canonical_text for problem in drawn]  # the rows are the same, so is their order
        hub.fault = "drop"
        hub.asked.clear()
        named = load_named(task.name)  # somebody else's name of it: nothing is opened
        assert named.grade(drawn[0], named.gold(drawn[0])).status == "correct"
        assert hub.asked == []
        assert list(exam_problems(named, seed=0, count=1)) == list(exam_problems(task, seed=0, count=1))


def test_a_folder_and_where_its_exam_comes_from(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write_rows(folder / "train.jsonl", ROWS)
    write_rows(folder / "test.csv", [{"question": f"Test: {n} + 1?", "answer": str(n + 1)} for n in range(40)])
    write_rows(tmp_path / "own.jsonl", [{"question": f"Own: {n} + 1?", "answer": str(n + 1)} for n in range(40)])
    by_split = load_task(f"math:{folder}?exam=train&split=train")
    assert "exam_sha256" in by_split.name
    by_file = load_task(f"math:{folder}?exam={tmp_path / 'own.jsonl'}")
    assert next(exam_problems(by_file, seed=0, count=1)).canonical_text.startswith("Own: ")
    with pytest.raises(TaskError, match="no split 'dev'") as caught:
        load_task(f"math:{folder}?exam=dev")
    assert "train" in caught.value.hint


def test_changed_data_are_not_those_of_the_name(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", ROWS)
    name = load_task(f"math:{tmp_path}").name
    write_rows(tmp_path / "train.jsonl", ROWS[1:])
    with pytest.raises(TaskError, match="is not the data that the task names"):
        list(load_task(name).problems("train", seed=0, count=1))
    assert load_task(f"math:{tmp_path}").name != name
