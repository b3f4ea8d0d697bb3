"""Rows from files, folders and the hub, one after the other; the digest that names them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from fake_hub import FakeHub, fake_hub
from table_parts import packed_rows, write_rows

from spiritsafe.core.errors import IntegrityError, SourceError, TaskError
from spiritsafe.tasks.data.source import DataSource, is_hub_name, is_set

CARD = (
    b"---\nconfigs:\n- config_name: main\n  data_files:\n"
    b"  - {split: train, path: main/train-*}\n  - {split: test, path: main/test-*}\n---\n"
)
ROWS = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(7)]
FILES = {
    "README.md": CARD,
    "main/train-00000-of-00002.parquet": packed_rows("a.parquet", ROWS[:4]),
    "main/train-00001-of-00002.parquet": packed_rows("a.parquet", ROWS[4:]),
    "main/test-00000-of-00001.parquet": packed_rows("a.parquet", [{"question": "t", "answer": "1"}]),
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub(tmp_path / "caches", monkeypatch) as served:
        yield served


def folder_of(path: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


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
    with pytest.raises(TaskError, match="is not the data that the task names"):
        next(DataSource(location, sha256=digest).stream())


def test_the_digest_of_a_file_of_lines_is_what_it_always_was(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "1+1?", "answer": "2"}\n\n{"question": "2+2?", "answer": 4.0}')
    source = DataSource(str(tmp_path / "a.jsonl"))
    assert source.digest() == "72a5eb2615af81de924f8f1c40e0bfbb"
    assert source.rows() == [{"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": 4.0}]


def test_a_given_digest_needs_no_data() -> None:
    for location, knobs in (("gone.jsonl", {}), ("/gone/folder", {"split": "test"}), ("org/gone", {"revision": "v1"})):
        assert DataSource(location, sha256="ab", **knobs).digest() == "ab"
    with pytest.raises(SourceError):
        DataSource("gone.jsonl", sha256="ab").rows()


def test_rows_must_be_objects(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="row 2: not an object"):
        DataSource(write(tmp_path / "a.jsonl", [{"q": 1}, 3])).rows()


def test_hub_names(tmp_path: Path) -> None:
    assert is_hub_name("openai/gsm8k")
    assert is_set("openai/gsm8k")
    assert is_set(str(tmp_path))
    for name in ("data/train.jsonl", "data/train.parquet", str(tmp_path), "a/b/c", "a.jsonl|b/c"):
        assert not is_hub_name(name)


def test_several_files_are_read_in_their_order(tmp_path: Path) -> None:
    left, right = write(tmp_path / "b.jsonl", [{"n": 1}, {"n": 2}]), str(tmp_path / "a.csv")
    write_rows(Path(right), [{"n": 3}])
    source = DataSource(f"{left}|{right}")
    assert [(place, row["n"]) for place, row in source.stream()] == [
        (f"{left}, row 1", 1),
        (f"{left}, row 2", 2),
        (f"{right}, row 1", "3"),
    ]
    assert [row["n"] for row in source.rows()] == [1, 2, "3"]
    assert source.tables() == [(left, range(2)), (right, range(2, 3))]
    assert [source.place(index) for index in (0, 1, 2)] == [place for place, _ in source.stream()]
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (left, right)]
    whole = hashlib.sha256("\n".join(f"sha256:{digest}" for digest in digests).encode()).hexdigest()
    assert source.digest() == whole[:32]
    assert DataSource(f"{right}|{left}").digest() != source.digest()
    odd = write(tmp_path / "a|b.jsonl", [{"n": 4}])  # a file's name may hold the separator
    assert DataSource(odd).rows() == [{"n": 4}]


@pytest.mark.parametrize("served", [False, True])
def test_a_folder_is_read_as_the_hub_is(hub: FakeHub, tmp_path: Path, served: bool) -> None:
    commit = hub.put("org/set", FILES)
    location = "org/set" if served else folder_of(tmp_path / "copy", FILES)
    source = DataSource(location)
    digest = source.digest()
    assert (source.config, source.split, source.revision) == ("main", "train", commit if served else "")
    assert source.rows() == ROWS
    assert source.place(5).endswith("main/train-00001-of-00002.parquet, row 2")
    assert DataSource(location, config="main", split="train", sha256=digest).rows() == ROWS
    assert DataSource(location, split="test").rows() == [{"question": "t", "answer": "1"}]
    single = hashlib.sha256(FILES["main/test-00000-of-00001.parquet"]).hexdigest()[:32]
    assert DataSource(location, split="test").digest() == single
    with pytest.raises(TaskError, match="no split 'dev'"):
        DataSource(location, split="dev").rows()
    other = DataSource(folder_of(tmp_path / "again", FILES))
    assert other.digest() == digest


def test_the_first_rows_need_the_first_file_only(hub: FakeHub) -> None:
    hub.put("org/set", FILES)
    source = DataSource("org/set")
    source.digest()
    assert not [asked for asked in hub.asked if asked.endswith(".parquet")]  # the hub says large files' digests
    assert [row for _, row in islice(source.stream(), 3)] == ROWS[:3]
    assert {asked.rpartition("/")[2] for asked in hub.asked if asked.endswith(".parquet")} == {
        "train-00000-of-00002.parquet"
    }


def test_streaming_holds_no_list(tmp_path: Path) -> None:
    row = json.dumps({"text": "x" * 1000}) + "\n"
    (tmp_path / "large.jsonl").write_text(row * 20_000)
    source = DataSource(str(tmp_path / "large.jsonl"))
    list(islice(source.stream(), 10))
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.stream()) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 << 20


def test_a_second_run_needs_no_hub(hub: FakeHub) -> None:
    hub.put("org/set", FILES)
    digest, rows = DataSource("org/set").digest(), DataSource("org/set").rows()
    hub.put("org/set", {"README.md": b"changed"})
    hub.fault = "drop"
    assert DataSource("org/set").digest() == digest
    assert DataSource("org/set", sha256=digest).rows() == rows


def test_what_is_interrupted_goes_on(hub: FakeHub) -> None:
    hub.put("org/set", FILES)
    source = DataSource("org/set")
    source.digest()
    stream = source.stream()
    assert next(stream)[1] == ROWS[0]
    hub.fault = "drop"
    with pytest.raises(SourceError, match="cannot be") as caught:
        list(stream)
    assert "run the same command again" in caught.value.hint
    hub.fault = None
    hub.asked.clear()
    assert [row for _, row in source.stream()] == ROWS
    assert not [asked for asked in hub.asked if "00000-of-00002" in asked]  # what was fetched is kept


def test_a_file_that_is_not_what_the_hub_says(hub: FakeHub) -> None:
    commit = hub.put("org/set", {"train.parquet": packed_rows("a.parquet", ROWS)})
    DataSource("org/set").digest()
    hub.sets["org/set", "main"] = hub.sets["org/set", commit] = {"train.parquet": packed_rows("a.parquet", ROWS[:3])}
    with pytest.raises(IntegrityError, match="the hub says") as caught:
        DataSource("org/set").rows()
    assert "Delete" in caught.value.hint


def test_the_hubs_own_parquet_is_read_where_there_is_nothing_else(hub: FakeHub) -> None:
    hub.put("org/set", {"README.md": b"", "set.py": b"a script", "data.zip": b"PK"})
    with pytest.raises(SourceError, match="no revision 'refs/convert/parquet'") as caught:
        DataSource("org/set").rows()
    assert "no files of rows" in caught.value.hint
    hub.put("org/set", {"plain/train/0000.parquet": packed_rows("a.parquet", ROWS)}, revision="refs/convert/parquet")
    source = DataSource("org/set")
    assert source.rows() == ROWS
    assert (source.config, source.split, source.revision) == ("plain", "train", "refs/convert/parquet")
    again = DataSource("org/set", config="plain", split="train", revision=source.revision, sha256=source.digest())
    assert again.rows() == ROWS
    with pytest.raises(TaskError, match="has no data files"):
        DataSource("org/set", revision="main").rows()


def test_jsonl_and_csv_of_the_hub(hub: FakeHub) -> None:
    """As MATH-500 and GPQA are published: small files, whose digests only they themselves tell."""
    hub.put("org/lines", {"test.jsonl": packed_rows("a.jsonl", ROWS)})
    assert DataSource("org/lines").rows() == ROWS
    assert DataSource("org/lines").digest() == hashlib.sha256(packed_rows("a.jsonl", ROWS)).hexdigest()[:32]
    entries = [b"{config_name: diamond, data_files: gpqa_diamond.csv}", b"{config_name: main, data_files: m.csv}"]
    card = b"\n- ".join([b"---\nconfigs:", *entries]) + b"\n---"
    odd = [{"Question": 'Two\nlines, "quoted"', "Correct Answer": "007"}]
    hub.put("org/csv", {"README.md": card, "gpqa_diamond.csv": packed_rows("a.csv", odd), "m.csv": b"a\n1\n"})
    assert DataSource("org/csv", config="diamond").rows() == odd


def test_what_cannot_take_effect_is_refused(tmp_path: Path) -> None:
    location = write(tmp_path / "a.jsonl", [{"q": 1}])
    with pytest.raises(TaskError, match="config=, split= cannot take effect"):
        DataSource(location, config="main", split="test")
    with pytest.raises(TaskError, match="revision= cannot take effect"):
        DataSource(str(tmp_path), revision="main")


def test_a_folder_with_a_circle_of_links(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [{"q": 1}])
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert DataSource(str(tmp_path)).rows() == [{"q": 1}]


def test_the_client_finds_the_hub_by_its_variables(hub: FakeHub, tmp_path: Path) -> None:
    """A process of its own, as a user starts one."""
    hub.put("org/set", FILES)
    code = "from spiritsafe.tasks.data.source import DataSource; print(len(DataSource('org/set').rows()))"
    env = {"PATH": "/usr/bin", "HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip() == "7", done.stderr


def test_files_of_no_split_are_not_left_out_without_a_word(tmp_path: Path) -> None:
    left, right = write(tmp_path / "training.jsonl", [{"q": 1}]), write(tmp_path / "chats.jsonl", [{"q": 2}, {"q": 3}])
    with pytest.raises(TaskError, match=r"of which split is chats\.jsonl") as caught:
        DataSource(str(tmp_path)).digest()
    assert f"{tmp_path}/**" in caught.value.hint
    assert DataSource(str(tmp_path), split="train").rows() == [{"q": 1}]
    source = DataSource(f"{tmp_path}/**")
    assert [row["q"] for row in source.rows()] == [2, 3, 1]
    assert source.tables() == [(right, range(2)), (left, range(2, 3))]
    for location in (f"{tmp_path}/**", f"{tmp_path}/*.jsonl", f"{left}|{right}"):
        with pytest.raises(TaskError, match="are files, so split= cannot take effect"):
            DataSource(location, split="train")


def test_the_first_rows_of_each_file(hub: FakeHub, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path / name, [{name: n} for n in range(5)])
    assert DataSource(f"{tmp_path}/**").heads(2) == [{"a.jsonl": 0}, {"a.jsonl": 1}, {"b.jsonl": 0}, {"b.jsonl": 1}]
    hub.put("org/set", FILES)
    assert DataSource("org/set").heads(3) == ROWS[:3]
    assert not [asked for asked in hub.asked if "00001-of-00002" in asked]
