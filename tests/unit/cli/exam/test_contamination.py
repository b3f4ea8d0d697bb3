"""Looking for leaks as an examiner does it: seal, sit, look, verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_endpoint import Answer, FakeEndpoint

from spiritsafe.cli.exam import command
from spiritsafe.exam import load_paper
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.ledger import KeyPair


def exam(*arguments: str) -> Any:
    return CliRunner().invoke(command, list(arguments))


@pytest.fixture
def sealed(tmp_path: Path) -> dict[str, str]:
    files = {name: str(tmp_path / name) for name in ("ledger.jsonl", "examiner.json", "paper")}
    exam("key", files["examiner.json"])
    done = exam(
        "seal", "arith:sums?terms=2&digits=3", "--count", "40", "--out", files["paper"],
        "--ledger", files["ledger.jsonl"], "--key", files["examiner.json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return files


def test_overlap_names_a_leak_and_verify_prints_it(
    sealed: dict[str, str], tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    endpoint = fake_endpoint(lambda body: "#### 0")
    model = ("--endpoint", endpoint.url, "--endpoint-model", "m")
    ledger, examiner, paper = sealed["ledger.jsonl"], sealed["examiner.json"], sealed["paper"]
    registration, certificate, report = (str(tmp_path / f"{name}.json") for name in ("r", "c", "overlap"))
    half = open_sealed(Path(paper), load_paper(Path(paper)), KeyPair.load(Path(examiner)))
    training = tmp_path / "training.jsonl"
    training.write_text(
        "".join(json.dumps({"messages": [m.to_json() for m in p.problem.messages]}) + "\n" for p in half.problems[:3])
    )
    steps = [
        ("register", paper, *model, "--name", "m", "--ledger", ledger, "--key", examiner, "--max-tokens", "8",
         "--hypothesis", "None.", "--probes", "0", "--out", registration),
        ("sit", paper, "--registration", registration, *model, "--ledger", ledger, "--key", examiner,
         "--work", str(tmp_path / "work"), "--out", certificate),
        ("overlap", paper, "--ledger", ledger, "--key", examiner, "--file", str(training), "--about", "m",
         "--out", report),
        ("verify", certificate, "--paper", paper, "--ledger", ledger, "--overlap", report),
    ]  # fmt: skip
    for arguments in steps:
        done = exam(*arguments)
        assert done.exit_code == 0, (arguments[0], done.output, done.exception)
        if arguments[0] != "register" and arguments[0] != "sit":
            assert "Contaminated" in done.output
            assert "3 of 20 sealed problems" in done.output
    other = tmp_path / "other.jsonl"
    other.write_bytes(Path(ledger).read_bytes().rsplit(b"\n", 2)[0] + b"\n")  # without the overlap entry
    done = exam("verify", certificate, "--paper", paper, "--ledger", str(other), "--overlap", report)
    assert done.exit_code != 0
    assert "not in the ledger" in str(done.exception)


def test_memory_of_local_weights_and_a_refusal_of_an_endpoint(
    sealed: dict[str, str], tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    from spiritsafe.models.checkpoints.directory import write_lineage
    from spiritsafe.models.sources.tiny import write_tiny

    directory, report = tmp_path / "tiny", tmp_path / "memory.json"
    directory.mkdir()
    write_tiny(directory, seed=1, hidden_size=32, max_context=512)
    write_lineage(directory, name="tiny", license="MIT")
    common = (sealed["paper"], "--ledger", sealed["ledger.jsonl"], "--key", sealed["examiner.json"])
    done = exam("memory", *common, "--model", str(directory), "--out", str(report))
    assert done.exit_code == 0, (done.output, done.exception)
    assert "No sign of memory" in done.output
    assert "Supporting evidence only" in done.output
    value = json.loads(report.read_text("utf-8"))["report"]
    assert value["has_spread"]
    assert {test["method"] for test in value["scores"]} == {"mean", "Min-K%", "Min-K%++"}
    assert {test["text"] for test in value["scores"]} == {"solution", "final answer", "question"}
    assert value["order"]["num_shuffles"] == 9
    endpoint = fake_endpoint(lambda body: "hi")
    done = exam("memory", *common, "--endpoint", endpoint.url, "--endpoint-model", "m", "--out", str(report))
    assert done.exit_code != 0
    assert "no log-probabilities" in str(done.exception)
