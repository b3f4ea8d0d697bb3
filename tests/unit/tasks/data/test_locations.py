from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.tasks.data.locations import files_of, location_of
from spiritsafe.tasks.spec import canonical_name, parse_spec

NAMES = ["a.jsonl", "b c?.json", "50%.csv", "50%25.csv", "x|y.jsonl", "ä&=#*.parquet", "[1].jsonl", "…", " lead.jsonl"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_alone_comes_back_through_a_spec(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    spec = parse_spec(canonical_name("chat", location_of([tmp_path / name]), {}))
    assert files_of(spec.name) == [tmp_path / name]


def test_any_names_together_come_back_through_a_spec(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in NAMES]
    for path in paths:
        path.write_text("x")
    spec = parse_spec(canonical_name("chat", location_of(paths), {"k": "v"}))
    assert files_of(spec.name) == paths
    assert files_of(location_of([*paths, paths[0]])) == paths  # a file is read once


def test_a_folder_is_its_files_in_one_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/z.csv.gz", "a/y.PARQUET", ".git/x.json", "notes.txt", "a/.x.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "state.json").write_text("{}")  # of a data set that a library wrote: no rows
    assert location_of([tmp_path]) == location_of([f"{tmp_path}/"]) == f"{tmp_path}/**"
    for location in (f"{tmp_path}/**", location_of([tmp_path, tmp_path / "b.jsonl"]), f"{tmp_path}|{tmp_path}/b.jsonl"):
        names = [str(path.relative_to(tmp_path)) for path in files_of(location)]
        assert names == ["a/y.PARQUET", "a/z.csv.gz", "b.jsonl"]
    assert files_of(f"{tmp_path}/a/*.gz") == [tmp_path / "a/z.csv.gz"]


def test_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="No file was named"):
        location_of([])
    with pytest.raises(SourceError, match="no data files"):
        files_of(location_of([tmp_path]))
    with pytest.raises(SourceError, match="No file is called like"):
        files_of(f"{tmp_path}/*.jsonl")
    assert files_of(f"{tmp_path}/gone.jsonl") == [tmp_path / "gone.jsonl"]  # whoever opens it says so
