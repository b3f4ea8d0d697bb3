"""The whole procedure on the command line: a private bank with reviewers, a claim with looks, witnesses, a dispute."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_endpoint import Answer, FakeEndpoint

from spiritsafe.cli.exam import command


def exam(*arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, (arguments[0], done.output)
    return str(done.output)


def adds(body: dict[str, Any]) -> str:
    numbers = re.findall(r"\d+", body["messages"][-1]["content"])
    return f"#### {sum(map(int, numbers))}"


@pytest.fixture
def office(tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]) -> dict[str, str]:
    """Names of files, and an endpoint that adds."""
    names = (
        "bank.jsonl", "once.jsonl", "twice.jsonl", "ann.key", "bob.key", "ann.json", "bob.json", "eve.key", "mary.key",
        "wanda.key", "ledger.jsonl", "wanda.jsonl", "paper", "protocol.json", "registration.json", "sitting",
        "certificate.json", "opened.json", "checkpoint.txt",
    )  # fmt: skip
    files = {name: str(tmp_path / name) for name in names}
    rows = [
        {
            "family": "number",
            "question": f"{k} + {k + 1}?",
            "answer": str(2 * k + 1),
            "stratum": "even" if k % 2 else "odd",
        }
        for k in range(60)
    ]
    Path(files["bank.jsonl"]).write_text("\n".join(map(json.dumps, rows)))
    Path(files["protocol.json"]).write_text(json.dumps({"sampling": {"temperature": 0.0, "max_tokens": 16}}))
    for name, holder in (("eve", "Exam office"), ("mary", "Mary"), ("wanda", "Wanda"), ("ann", "Ann")):
        exam("key", files[f"{name}.key"], "--holder", holder)
    return {**files, "url": fake_endpoint(adds).url}


def seal_sums(f: dict[str, str]) -> None:
    to = ("--out", f["paper"], "--ledger", f["ledger.jsonl"], "--key", f["eve.key"])
    exam("seal", "arith:sums", "--count", "6", *to)


def test_from_review_to_dispute(office: dict[str, str]) -> None:
    f = office
    for name in ("ann", "bob"):
        exam("key", f[f"{name}.key"], "--holder", name.title(), "--out", f[f"{name}.json"])
    exam("review", f["bank.jsonl"], "--name", "office", "--key", f["ann.key"], "--out", f["once.jsonl"])
    exam("review", f["once.jsonl"], "--name", "office", "--key", f["bob.key"], "--out", f["twice.jsonl"])
    said = exam(
        "seal", "private:office", "--file", f["twice.jsonl"], "--count", "60", "--out", f["paper"],
        "--ledger", f["ledger.jsonl"], "--key", f["eve.key"],
        "--reviewer", f["ann.json"], "--reviewer", f["bob.json"], "--signoffs", "2", "--protocol", f["protocol.json"],
    )  # fmt: skip
    assert "30 problems public, 30 sealed" in said
    model = ("--endpoint", f["url"], "--endpoint-model", "adder")
    said = exam(
        "register", f["paper"], *model, "--name", "adder", "--ledger", f["ledger.jsonl"], "--key", f["mary.key"],
        "--hypothesis", "It can add.", "--claim", "score >= 0.5", "--stop", "looks:3",
        "--budget", "tokens=100000", "--out", f["registration.json"],
    )  # fmt: skip
    assert "claim: the sealed score is at least 50 %" in said
    assert 'open      "adder"' in exam("registrations", f["paper"], "--ledger", f["ledger.jsonl"])
    said = exam(
        "sit", f["paper"], "--registration", f["registration.json"], *model, "--ledger", f["ledger.jsonl"],
        "--key", f["eve.key"], "--work", f["sitting"], "--out", f["certificate.json"],
    )  # fmt: skip
    assert "The decision that counts: supported" in said
    assert 'result    "adder" sealed' in exam("registrations", f["paper"], "--ledger", f["ledger.jsonl"])

    said = exam("exposure", f["paper"], "--ledger", f["ledger.jsonl"])
    assert re.search(r"has  \S+  adder at http\S+ \(remote\): \d+ public, \d+ sealed", said)
    assert re.search(r"has  \S+  Ann \(key \w+\): 30 public, 30 sealed", said)
    certificate = json.loads(Path(f["certificate.json"]).read_text())
    assert certificate["result"]["ending"] == "stopped by rule"
    place = next(o["index"] for o in certificate["result"]["outcomes"] if o["half"] == "sealed")
    said = exam("exposure", f["paper"], "--ledger", f["ledger.jsonl"], "--problem", str(place))
    assert "(sealed, 1 on record)" in said

    exam(
        "reveal", f["paper"], "--registration", f["registration.json"], "--ledger", f["ledger.jsonl"],
        "--key", f["eve.key"], "--journal", f"{f['sitting']}/answers.jsonl", "--problem", str(place),
        "--reason", "disputed",
        "--out", f["opened.json"],
    )  # fmt: skip
    said = exam(
        "witness", f["ledger.jsonl"], "--ledger", f["wanda.jsonl"], "--key", f["wanda.key"],
        "--name", "exam office", "--out", f["checkpoint.txt"],
    )  # fmt: skip
    key = re.search(r"spiritsafe/witness/\S+", said)
    assert key
    said = exam(
        "verify", f["certificate.json"], "--paper", f["paper"], "--ledger", f["ledger.jsonl"],
        "--revealed", f["opened.json"], "--witness", f["wanda.jsonl"], "--witness", f["checkpoint.txt"],
        "--witness-key", key[0], "--sealed", f"{f['paper']}/sealed.age",
    )  # fmt: skip
    assert "FAILED" not in said
    assert re.search(r"ok +sign-offs: each public problem carries 2 sign-offs", said)
    assert re.search(r"ok +revealed answers: 1 opened answers", said)
    assert re.search(r"ok +witnessed heads: witness \w+ saw its first \d+ entries; witness \w+ saw", said)
    assert re.search(r"ok +one model: One model, as far as \d rounds", said)


def test_checkpoints_collect_signatures(office: dict[str, str]) -> None:
    f = office
    exam(
        "seal", "arith:sums", "--count", "6", "--out", f["paper"], "--ledger", f["ledger.jsonl"], "--key", f["eve.key"]
    )
    exam("checkpoint", f["ledger.jsonl"], "--key", f["eve.key"], "--out", f["checkpoint.txt"])
    for name, own in (("wanda.key", "wanda.jsonl"), ("ann.key", "once.jsonl")):
        exam(
            "witness",
            f["ledger.jsonl"],
            "--ledger",
            f[own],
            "--key",
            f[name],
            "--name",
            "x",
            "--out",
            f["checkpoint.txt"],
        )
    text = Path(f["checkpoint.txt"]).read_text()
    assert text.count("\n— ") == 3
    assert text.count("— spiritsafe/witness/") == 2


def test_a_withdrawal_is_on_record(office: dict[str, str]) -> None:
    f = office
    exam(
        "seal", "arith:sums", "--count", "6", "--out", f["paper"], "--ledger", f["ledger.jsonl"], "--key", f["eve.key"]
    )
    exam(
        "register", f["paper"], "--endpoint", f["url"], "--endpoint-model", "adder", "--name", "adder",
        "--ledger", f["ledger.jsonl"], "--key", f["mary.key"], "--hypothesis", "h", "--out", f["registration.json"],
    )  # fmt: skip
    exam(
        "withdraw", f["paper"], "--registration", f["registration.json"], "--ledger", f["ledger.jsonl"],
        "--key", f["mary.key"], "--reason", "too dear",
    )  # fmt: skip
    assert 'withdrawn "adder"' in exam("registrations", f["paper"], "--ledger", f["ledger.jsonl"])


def test_the_key_command_shows_the_public_part_only(office: dict[str, str]) -> None:
    said = exam("key", office["ann.key"], "--holder", "Ann", "--out", office["ann.json"])
    secret = json.loads(Path(office["ann.key"]).read_text())
    assert "Ann (key" in said
    for hidden in (secret["signing_secret"], secret["age_identity"]):
        assert hidden not in said
        assert hidden not in Path(office["ann.json"]).read_text()
    assert exam("key", office["ann.key"]) == said  # the key stays


def test_twins_and_recipients(office: dict[str, str]) -> None:
    f = office
    exam("key", f["bob.key"], "--holder", "Bob", "--out", f["bob.json"])
    said = exam(
        "seal", "arith:words", "--count", "8", "--twins", "--recipient", f["bob.json"], "--out", f["paper"],
        "--ledger", f["ledger.jsonl"], "--key", f["eve.key"],
    )  # fmt: skip
    assert "4 problems public, 4 sealed, 8 twins" in said
    assert re.search(
        r"Bob \(key \w+\): 4 public, 4 sealed, 8 twin", exam("exposure", f["paper"], "--ledger", f["ledger.jsonl"])
    )


def test_a_private_bank_needs_its_file(office: dict[str, str]) -> None:
    done = CliRunner().invoke(
        command,
        ["seal", "private:x", "--out", office["paper"], "--ledger", office["ledger.jsonl"], "--key", office["eve.key"]],
    )
    assert "needs a name and a file" in str(done.exception)
