"""The benches of the exam: what they count, and that their gates see what is wrong."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_endpoint import Answer, FakeEndpoint
from places import ROOT

BENCH = ROOT / "bench"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def overhead() -> ModuleType:
    return load("exam_overhead/run")


@pytest.fixture(scope="module")
def real() -> ModuleType:
    return load("sequential_real")


def test_our_block_counts_what_the_endpoint_answers(
    overhead: ModuleType, fake_endpoint: Callable[[Answer], FakeEndpoint], tmp_path: Path
) -> None:
    endpoint = fake_endpoint(lambda body: overhead.reply_to(body["messages"][-1]["content"]))
    with overhead.remote(endpoint.url, 8) as generator:
        found = overhead.hold_exam(tmp_path / "exam", generator, 30)
    asked = [request.body["messages"][-1]["content"] for request in endpoint.requests]
    sums = [question for question in asked if question.startswith("What is ") and "+" in question]
    assert len(sums) == len(set(sums)) == found["num_samples"] == 30
    right = sum(
        int(words[2]) + int(words[4][:-1]) == int(overhead.reply_to(" ".join(words))) for words in map(str.split, sums)
    )
    assert found["num_right"] == right
    assert 0 < right < 30
    assert set(found["cpu_s_of_steps"]) == {"seal", "register", "sit", "verify"}
    steps = found["cpu_s_of_steps"]
    assert found["cpu_s"] == pytest.approx(steps["seal"] + steps["register"] + steps["sit"])
    unplugged = overhead.hold_exam(tmp_path / "unplugged", overhead.Unplugged(), 30)
    assert unplugged["num_right"] == right
    problems = tmp_path / "problems.jsonl"
    overhead.write_problems(found["problems"], found["examiner"], problems)
    assert {json.loads(line)["question"] for line in problems.read_text("utf-8").splitlines()} == set(sums)


def block(name: str, cpu_s: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "num_samples": 100, "num_right": 80, "cpu_s": cpu_s, "wall_s": 1.0, "peak_memory_bytes": 1e6,
        "log_bytes": 1e5, **more,
    }  # fmt: skip


def test_the_gate_sees_who_failed_or_counted_otherwise(overhead: ModuleType) -> None:
    good = [block("spiritsafe", 0.05), block("inspect", 1.0)]
    assert overhead.same_counts(good)
    assert not overhead.same_counts([*good, block("lm-eval", 0.2, num_right=79)])
    assert not overhead.same_counts([*good, block("lm-eval", 0.2, num_samples=99)])
    assert not overhead.same_counts([*good, {"name": "lm-eval", "error": "boom"}])


def test_the_summary_takes_medians(overhead: ModuleType) -> None:
    blocks = [block("spiritsafe", s) for s in (0.04, 0.05, 0.9)] + [block("inspect", s) for s in (1.0, 2.0, 1.5)]
    found = overhead.summarise([*blocks, {"name": "lm-eval", "error": "boom"}])
    assert found["medians"]["spiritsafe"]["cpu_ms_a_sample"] == 0.5
    assert found["peer_cpu_over_ours"] == {"inspect": 30.0}


def certificate(folder: Path, rule: str, statuses: list[str]) -> None:
    outcomes = [{"index": i, "sample_index": 0, "status": status} for i, status in enumerate(statuses)]
    path = folder / f"{rule.replace(':', '-')}.certificate.json"
    path.write_text(json.dumps({"result": {"outcomes": outcomes}}), "utf-8")


def test_other_answers_under_another_rule_are_seen(real: ModuleType, tmp_path: Path) -> None:
    certificate(tmp_path, "fixed", ["correct", "wrong", "correct"])
    certificate(tmp_path, "looks:5", ["correct", "wrong"])
    assert real.same_answers(tmp_path, ["fixed", "looks:5"])
    certificate(tmp_path, "frequent", ["wrong"])
    assert not real.same_answers(tmp_path, ["fixed", "looks:5", "frequent"])


def test_rules_are_held_against_the_whole_paper(real: ModuleType) -> None:
    def row(finding: str, completions: int) -> dict[str, Any]:
        decision = {"finding": finding, "estimate": None}
        return {"decision": decision, "completions": completions, "completion_tokens": completions, "seconds": 2.0}

    rows = {"fixed": row("supported", 400), "looks:5": row("supported", 160), "frequent": row("not supported", 40)}
    found = real.compare(rows)
    assert [found[rule]["same_decision"] for rule in rows] == [True, True, False]
    assert found["looks:5"]["times_fewer_completions"] == 2.5
