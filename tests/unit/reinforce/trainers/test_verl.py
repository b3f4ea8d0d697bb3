"""A task inside verl: its signature, its rows, and what its reward managers hand over and take back."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from spiritsafe.core.errors import RecipeError, TaskError
from spiritsafe.core.records import Problem
from spiritsafe.reinforce.trainers.verl import VerlReward, as_verl_reward, compute_score, write_verl_rows
from spiritsafe.tasks import load_task, split_of

SUMS = "arith:sums?terms=2&digits=1-2"
OWN = "parity_task:ParityTask"
PARAMETERS = {"data_source": None, "solution_str": None, "ground_truth": None, "extra_info": "None"}
"""What verl's documentation and its ``default_compute_score`` (0.9.1) have, with defaults, in their order."""


@pytest.fixture(scope="module")
def reward() -> Iterator[VerlReward]:
    made = as_verl_reward(SUMS, num_workers=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("verl") / "train.parquet"
    assert write_verl_rows(path, SUMS, count=12, seed=5) == 12
    return list(pq.read_table(path).to_pylist())


def managed(score: Callable[..., Any], row: dict[str, Any], text: str) -> Any:
    """A call as verl's ``NaiveRewardManager`` makes it: by keyword, from a thread, extra_info with its additions."""
    extra = {**row["extra_info"], "num_turns": None, "rollout_reward_scores": {}}
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(
            lambda: score(
                data_source=row["data_source"], solution_str=text, ground_truth=row["reward_model"]["ground_truth"],
                extra_info=extra, reward_router_address="127.0.0.1:1", reward_model_tokenizer=None,
            )
        ).result()  # fmt: skip


@pytest.mark.parametrize("function", [compute_score, VerlReward.__call__])
def test_the_signature_is_verls(function: Callable[..., Any]) -> None:
    found = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    leading = {p.name: None if p.default is p.empty else str(p.default) for p in found[:4]}
    assert leading == PARAMETERS
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in found[:4])
    assert found[-1].kind is inspect.Parameter.VAR_KEYWORD  # the address of a reward model and its tokenizer
    assert not inspect.iscoroutinefunction(function)


@pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed")
def test_the_installed_verl_has_that_signature() -> None:
    spec = importlib.util.find_spec("verl")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "utils" / "reward_score" / "__init__.py"
    (function,) = (
        node for node in ast.parse(source.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "default_compute_score"
    )  # fmt: skip
    names = [argument.arg for argument in function.args.args]
    assert names[:4] == list(PARAMETERS)
    assert function.args.kwarg is not None


def test_rows_are_what_verl_reads(rows: list[dict[str, Any]]) -> None:
    task = load_task(SUMS)
    drawn = list(task.problems("train", seed=5, count=12))
    assert [list(row) for row in rows] == [["data_source", "prompt", "ability", "reward_model", "extra_info"]] * 12
    for index, (row, problem) in enumerate(zip(rows, drawn, strict=True)):
        assert row["data_source"] == task.name
        assert row["prompt"] == [{"role": m.role, "content": m.content} for m in problem.messages]
        assert row["reward_model"] == {"style": "rule", "ground_truth": task.gold(problem)}
        assert row["extra_info"]["index"] == index
        carried = Problem.from_json(json.loads(row["extra_info"]["spiritsafe_problem"]))
        assert (carried, row["extra_info"]["problem_id"]) == (problem, problem.id)
        assert split_of(carried) == "train"


def test_exam_problems_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="not a split to study"):
        write_verl_rows(tmp_path / "x.parquet", SUMS, "exam", count=3)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_the_named_function_and_the_made_one_grade_alike(reward: VerlReward, rows: list[dict[str, Any]]) -> None:
    for row in rows[:4]:
        gold = row["reward_model"]["ground_truth"]
        for text, score in ((f"#### {gold}", 1.0), ("#### 100000", 0.0), ("well", 0.0)):
            found = managed(reward, row, text)
            assert found == managed(compute_score, row, text)
            assert (found["score"], found["acc"], found["unscored"]) == (score, score, 0.0)
        assert managed(reward, row, f"#### {gold}")["pred"] == gold


def test_verl_finds_it_by_its_path_and_pickles_it(reward: VerlReward, rows: list[dict[str, Any]]) -> None:
    found = importlib.import_module("spiritsafe.reinforce.trainers.verl").compute_score  # pkg://… does this

    def call_with_kwargs(raw: Any, extra: dict[str, Any], *arguments: Any, **given: Any) -> Any:  # as verl's own
        return raw(*arguments, **{**given, **extra})

    configured = partial(call_with_kwargs, found, {"on_unscored": "raise"})
    text = f"#### {rows[0]['reward_model']['ground_truth']}"
    assert managed(configured, rows[0], text)["score"] == 1.0
    copy = pickle.loads(pickle.dumps(reward))
    assert managed(copy, rows[0], text) == managed(reward, rows[0], text)
    copy.close()


def test_what_could_not_be_graded_is_marked_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.parquet"
    write_verl_rows(path, OWN, count=1)
    (row,) = pq.read_table(path).to_pylist()
    made = as_verl_reward(OWN, num_workers=1, wall_s=1.0)
    with caplog.at_level(logging.WARNING, logger="spiritsafe.reinforce.trainers.verl"):
        for text in ("hang", "123"):
            assert managed(made, row, text) == {"score": 0.0, "acc": 0.0, "pred": "", "unscored": 1.0}
    assert len(caplog.records) == 2
    assert "three divides it" in caplog.text
    assert managed(made, row, "1234567") == {"score": 1.0, "acc": 1.0, "pred": "12345", "unscored": 0.0}
    strict = as_verl_reward(OWN, on_unscored="raise", num_workers=1)
    with pytest.raises(TaskError, match="three divides it"):
        managed(strict, row, "123")
    for one in (made, strict):
        one.close()


def test_rows_without_a_problem_and_options_without_effect_are_refused(
    reward: VerlReward, rows: list[dict[str, Any]]
) -> None:
    for extra in (None, {}, {"index": 3}):
        with pytest.raises(TaskError, match="carries no problem"):
            reward(rows[0]["data_source"], "#### 1", "1", extra)
    with pytest.raises(RecipeError, match="on_unscored"):
        compute_score(rows[0]["data_source"], "#### 1", "1", rows[0]["extra_info"], on_unscored="nan")  # type: ignore[arg-type]


def test_code_that_a_row_names_is_not_run() -> None:
    with pytest.raises(TaskError, match="somebody's own task"):
        compute_score("a_module_of_theirs:make", "#### 1", "1", {"spiritsafe_problem": "{}"})
