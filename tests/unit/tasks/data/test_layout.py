"""Which files make up a split: cards as they stand on the hub, names as people choose them."""

from __future__ import annotations

import importlib.util

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.data.layout import choose_files, has_configs, is_data_file

MMLU = """---
license: mit
configs:
- config_name: abstract_algebra
  data_files:
  - split: test
    path: abstract_algebra/test-*
- config_name: all
  data_files:
  - split: test
    path: all/test-*
  - split: validation
    path: "all/validation-*"
---
# MMLU
"""
MMLU_FILES = [
    "README.md",
    "abstract_algebra/test-00000-of-00001.parquet",
    "all/test-00001-of-00002.parquet",
    "all/test-00000-of-00002.parquet",
    "all/validation-00000-of-00001.parquet",
    "dataset_infos.json",
]


def chosen(names: list[str], card: str = "", **wanted: str) -> tuple[str, str, list[str]]:
    found = choose_files(names, card, place="org/set", **wanted)
    return found.config, found.split, list(found.files)


def test_a_card_says_which_files_are_which() -> None:
    shards = ["all/test-00000-of-00002.parquet", "all/test-00001-of-00002.parquet"]
    assert chosen(MMLU_FILES, MMLU, config="all", split="test") == ("all", "test", shards)
    assert chosen(MMLU_FILES, MMLU, config="abstract_algebra") == ("abstract_algebra", "test", [MMLU_FILES[1]])
    with pytest.raises(TaskError, match="several configurations") as caught:
        chosen(MMLU_FILES, MMLU)
    assert "abstract_algebra, all" in caught.value.hint
    with pytest.raises(TaskError, match="no configuration 'ALL'"):
        chosen(MMLU_FILES, MMLU, config="ALL")
    with pytest.raises(TaskError, match="several splits") as caught:
        chosen(MMLU_FILES, MMLU, config="all")
    assert "test, validation" in caught.value.hint


@pytest.mark.parametrize(
    ("data_files", "split", "files"),
    [
        ("data_files: data/*.jsonl", "train", ["data/a.jsonl", "data/test.jsonl"]),
        ("data_files: 'data/**'", "train", ["data/a.jsonl", "data/deep/b.jsonl", "data/test.jsonl"]),
        ("data_files: ['data/test.jsonl', data/a.jsonl]", "train", ["data/test.jsonl", "data/a.jsonl"]),
        ("data_files: [{split: dev, path: ['data/[ax].jsonl', 'data/[!at]*.jsonl']}]", "dev", ["data/a.jsonl"]),
        ("data_dir: data", "test", ["data/test.jsonl"]),
        ("data_dir: data/deep", "train", ["data/deep/b.jsonl"]),
        ("data_files: {split: '2024', path: ./data/a.jsonl}", "2024", ["data/a.jsonl"]),
    ],
)
def test_every_form_of_data_files(data_files: str, split: str, files: list[str]) -> None:
    card = f"---\nconfigs:\n- config_name: default\n  {data_files}\n---\n"
    names = ["data/a.jsonl", "data/test.jsonl", "data/deep/b.jsonl", "notes.md"]
    assert chosen(names, card, split=split) == ("", split, files)


def test_the_default_configuration() -> None:
    entries = ["{config_name: b, data_files: b.csv}", "{config_name: a, data_files: a.csv, default: true}"]
    card = "\n- ".join(["---\nconfigs:", *entries]) + "\n---"
    assert chosen(["a.csv", "b.csv"], card) == ("a", "train", ["a.csv"])


@pytest.mark.parametrize(
    ("names", "split", "files"),
    [
        (["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "data/x-00000-of-00001.parquet"],
         "train", ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]),
        (["data/x-00000-of-00001.parquet"], "x", ["data/x-00000-of-00001.parquet"]),
        (["train.jsonl", "test-first-half.jsonl", "solutions.jsonl"], "test", ["test-first-half.jsonl"]),
        (["g/validation/a.csv", "g/train/b.csv", "g/train/c.csv"], "train", ["g/train/b.csv", "g/train/c.csv"]),
        (["chats.jsonl.gz", "more.jsonl", "README.md"], "train", ["chats.jsonl.gz", "more.jsonl"]),
        (["main/train/0000.parquet", "main/test/0000.parquet"], "test", ["main/test/0000.parquet"]),
        (["train.jsonl", "train.csv", "train.parquet"], "train", ["train.parquet"]),
        (["march.jsonl", "april.csv", "april.csv.gz"], "train", ["april.csv", "march.jsonl"]),
        (["chats.v1.jsonl", "chats.v2.jsonl", "a/chats.v1.JSONL.ZST"], "train",
         ["a/chats.v1.JSONL.ZST", "chats.v1.jsonl", "chats.v2.jsonl"]),
        ([".git/train.jsonl", "__pycache__/train.json", "dataset_info.json", "my/valid.json"], "validation",
         ["my/valid.json"]),
        (["contest/latest.jsonl"], "train", ["contest/latest.jsonl"]),
    ],
)  # fmt: skip
def test_without_a_card_names_say_it(names: list[str], split: str, files: list[str]) -> None:
    assert chosen(names, split=split)[1:] == (split, files)


def test_a_folder_may_stand_for_a_configuration() -> None:
    names = ["a/train.jsonl", "b/train.jsonl", "b/test.jsonl"]
    assert chosen(names, config="b", split="test") == ("b", "test", ["b/test.jsonl"])
    with pytest.raises(TaskError, match="no configuration 'c'"):
        chosen(names, config="c")


def test_a_part_of_a_split_is_not_the_split() -> None:
    """The hub converts the first gigabytes of a large set only, and calls them so."""
    with pytest.raises(TaskError, match="no split 'train'") as caught:
        chosen(["default/partial-train/0000.parquet"], split="train")
    assert "partial-train" in caught.value.hint


@pytest.mark.parametrize(
    "card",
    [
        "---\nconfigs: [\n---\n",
        "---\nconfigs:\n- &a [*a]\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\nconfigs:\n- data_files: gone/*.csv\n---\n",
        "---\nconfigs:\n- data_files: ../../etc/passwd\n---\n",
        "---\nconfigs: " + "[" * 5000 + "\n---\n",
        "---\nconfigs:\n- data_files: '[z-a].csv'\n---\n",
    ],
)
def test_cards_that_say_nonsense(card: str) -> None:
    with pytest.raises(TaskError, match="card of org/set") as caught:
        chosen(["a.csv"], card)
    assert caught.value.hint


def test_cards_without_configurations() -> None:
    for card in ("", "# configs:\n", "---\nlicense: mit\n---\nconfigs:\n- x\n", "\n---\nconfigs:\n---\n"):
        assert not has_configs(card)
        assert chosen(["a.csv"], card) == ("", "train", ["a.csv"])
    assert has_configs("\ufeff---\r\nconfigs:\r\n---\r\n")


def test_no_files_of_rows() -> None:
    with pytest.raises(TaskError, match="org/set has no data files"):
        chosen(["README.md", "data.zip", "photos/1.png", "script.py"])
    assert is_data_file("x.jsonl.zst")
    assert not is_data_file("x.bin.gz")


def test_a_card_without_pyyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match="needs the package PyYAML") as caught:
        chosen(MMLU_FILES, MMLU, config="all")
    assert "pip install pyyaml" in caught.value.hint
    assert chosen(["a.csv"], "---\nlicense: mit\n---\n")[2] == ["a.csv"]
