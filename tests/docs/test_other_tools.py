"""The page "In other people's tools": its programs run, and what it shows of `compare` is what `compare` says."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from places import ROOT, TESTS

from spiritsafe.cli import cli

PAGE = (ROOT / "docs" / "other-tools.md").read_text("utf-8")
FOREIGN = TESTS / "golden" / "foreign"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.S)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader's own file is."""
    rows = [{"question": f"What is {n} + 2?", "answer": f"#### {n + 2}"} for n in range(80)]
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_program_for_trl(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a trainer that only asks for rewards; tests/unit/reinforce/trainers/test_trl.py has a step of TRL's own."""
    earned: list[Any] = []

    class Trainer:
        def __init__(self, *, model: str, reward_funcs: Any, train_dataset: Any, args: Any) -> None:
            self.reward, self.rows = reward_funcs, train_dataset

        def train(self) -> None:
            asked = [row["prompt"][-1]["content"] for row in self.rows]
            numbers = [int(re.findall(r"\d+", question)[0]) + 2 for question in asked]
            completions = [[{"role": "assistant", "content": f"#### {number}"}] for number in numbers]
            columns = {"spiritsafe_problem": [row["spiritsafe_problem"] for row in self.rows]}
            earned.extend(self.reward(prompts=asked, completions=completions, completion_ids=[], **columns))
            self.reward.close()

    fakes = {
        "trl": {"GRPOConfig": dict, "GRPOTrainer": Trainer},
        "datasets": {"Dataset": types.SimpleNamespace(from_list=list)},
    }
    for name, members in fakes.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    exec(blocks("python")[0], {})
    assert len(earned) > 50
    assert set(earned) == {1.0}


def test_the_program_for_verl(folder: Path) -> None:
    exec(blocks("python")[1], {})
    train, dev = (pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("train", "dev"))
    ids = [{row["extra_info"]["problem_id"] for row in rows} for rows in (train, dev)]
    assert len(ids[0]) > 50
    assert ids[1]
    assert not ids[0] & ids[1]
    said = blocks("text")[0]
    module, name = re.search(r"pkg://(\S+)", said), re.search(r"function\.name=(\w+)", said)
    assert module is not None
    assert name is not None
    score = getattr(__import__(module[1], fromlist=[name[1]]), name[1])
    row = train[0]
    found = score(row["data_source"], f"#### {row['reward_model']['ground_truth']}", "", row["extra_info"])
    assert found["score"] == 1.0


def test_what_compare_says() -> None:
    files = [str(next((FOREIGN / f"lm-eval-{name}").glob("samples_*"))) for name in "ab"]
    done = CliRunner().invoke(cli, ["compare", *files, "--filter", "strict"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(blocks("text")[1])
