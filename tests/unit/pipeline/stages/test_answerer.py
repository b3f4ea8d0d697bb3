"""Whoever answers: a run whose teacher is behind an endpoint, from its answers to a student."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import Answer, FakeEndpoint, HttpReply
from finished_run import SilentWatcher
from tiny_gguf import write_gguf

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import digest_file
from spiritsafe.models import read_checkpoint
from spiritsafe.pipeline import run_recipe
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.answerer import is_served

Start = Callable[[Answer], FakeEndpoint]


def recipe(url: str, chats: Path, **model: Any) -> Recipe:
    return recipe_of(
        {
            "name": "served",
            "models": {
                "teacher": {"endpoint": url, "model": "big", "licence": "MIT", **model},
                "little": {"source": "tiny:1?layers=1"},
            },
            "data": {"chats": {"files": [str(chats)]}},
            "steps": [
                {"kind": "sample", "name": "answers", "from": "teacher", "on": ["chats"], "keep": "all"},
                {"kind": "tune", "name": "student", "from": "little", "learns": ["answers"], "train": {"max_steps": 2}},
            ],
        }
    )


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"What is number {n}?"}) + "\n" for n in range(12)), "utf-8")
    return path


def run(made: Recipe, tmp_path: Path) -> Path:
    watcher = SilentWatcher()
    return run_recipe(made, "", root=tmp_path / "runs", cache=tmp_path / "cache", watcher=watcher).directory


def folder(run: Path, name: str) -> Path:
    (found,) = run.glob(f"stages/*-{name}")
    return found


@pytest.mark.slow
def test_a_student_learns_what_an_endpoint_answered(fake_endpoint: Start, tmp_path: Path, chats: Path) -> None:
    endpoint = fake_endpoint(lambda body: f"I say {body['messages'][-1]['content']}")
    made = recipe(endpoint.url, chats)
    assert is_served(made, "teacher")
    assert not is_served(made, "little")
    done = run(made, tmp_path)
    traces = [json.loads(line) for line in (folder(done, "answers") / "traces.jsonl").read_text("utf-8").splitlines()]
    assert traces
    assert all(trace["text"].startswith("I say What is number") and not trace["token_ids"] for trace in traces)
    parents = {parent.name: parent for parent in read_checkpoint(folder(done, "student") / "model").parents}
    assert (parents["big"].used_as, parents["big"].license) == (("outputs",), "MIT")


@pytest.mark.slow
def test_a_spent_budget_stops_and_the_same_run_goes_on_when_it_is_raised(
    fake_endpoint: Start, tmp_path: Path, chats: Path
) -> None:
    asked: list[str] = []

    def answer(body: dict[str, Any]) -> str | HttpReply:
        asked.append(body["messages"][-1]["content"])
        return "A rather long answer of some words."

    endpoint = fake_endpoint(answer)
    poor = recipe(endpoint.url, chats, budget={"tokens": 400}, max_concurrency=1)
    with pytest.raises(BudgetError):
        run(poor, tmp_path)
    num_before = len(asked)
    rich = recipe(endpoint.url, chats, budget={"tokens": 100_000}, max_concurrency=2)
    done = run(rich, tmp_path)
    assert poor.resolved() == rich.resolved()
    assert 0 < num_before < len(asked)
    assert len(set(asked)) == len(asked)  # nothing was asked twice
    assert read_json(folder(done, "answers") / "done.json")["result"]["verified"] == len(asked)


@pytest.mark.slow
def test_a_student_learns_what_a_gguf_file_answered(tmp_path: Path, chats: Path) -> None:
    pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")
    write_gguf(tmp_path / "x.gguf")
    made = recipe_of(
        {
            "name": "filed",
            "models": {
                "teacher": {"source": str(tmp_path / "x.gguf"), "licence": "MIT"},
                "little": {"source": "tiny:1?layers=1"},
            },
            "data": {"chats": {"files": [str(chats)]}},
            "steps": [
                # Random weights end one answer in four before the context is full: of 12 that may be none, of 72 never.
                {"kind": "sample", "name": "answers", "from": "teacher", "on": ["chats"], "keep": "all"}
                | {"num_samples": 6},
                {"kind": "tune", "name": "student", "from": "little", "learns": ["answers"], "train": {"max_steps": 2}},
            ],
        }
    )
    checkpoint = read_checkpoint(folder(run(made, tmp_path), "student") / "model")
    used = {parent.digest: (parent.license, parent.used_as) for parent in checkpoint.parents}
    assert used[digest_file(tmp_path / "x.gguf")] == ("MIT", ("outputs",))
