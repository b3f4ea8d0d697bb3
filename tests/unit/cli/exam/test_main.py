"""The safe as its users meet it: a maker's certificate, a stranger's check, a re-run against an endpoint."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_endpoint import Answer, FakeEndpoint
from llama_cpp import needs_llama_cpp
from tiny_gguf import write_gguf

from spiritsafe.cli import models
from spiritsafe.cli.exam import command
from spiritsafe.models import write_tiny


def exam(*arguments: str) -> Any:
    return CliRunner().invoke(command, list(arguments))


def certificate_of(run: Path, name: str) -> Path:
    return next(run.glob(f"stages/*-exam/{name}.certificate.json"))


def paper_of(run: Path) -> Path:
    return next(run.glob("stages/*-seal/paper/paper.json"))


def test_a_stranger_verifies_step_by_step(tiny_run: Path) -> None:
    done = exam(
        "verify", str(certificate_of(tiny_run, "student")),
        "--paper", str(paper_of(tiny_run)), "--ledger", str(tiny_run / "ledger.jsonl"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(re.findall(r"^ ?\d+\. ok ", done.output, flags=re.M)) >= 10
    assert "Self-examined" in done.output


@pytest.mark.parametrize("victim", ["certificate", "paper", "ledger"])
def test_a_flipped_byte_anywhere_is_found_and_the_step_named(tiny_run: Path, tmp_path: Path, victim: str) -> None:
    files = {
        "certificate": certificate_of(tiny_run, "teacher"),
        "paper": paper_of(tiny_run),
        "ledger": tiny_run / "ledger.jsonl",
    }
    good = files[victim].read_bytes()
    broken = tmp_path / files[victim].name
    rng = random.Random(3)
    for position in [0, len(good) - 1, *(rng.randrange(len(good)) for _ in range(6))]:
        broken.write_bytes(good[:position] + bytes([good[position] ^ 1 << rng.randrange(8)]) + good[position + 1 :])
        given = {**files, victim: broken}
        done = exam(
            "verify", str(given["certificate"]), "--paper", str(given["paper"]), "--ledger", str(given["ledger"])
        )
        assert done.exit_code != 0, (victim, position)
        assert re.search(r"Step \d+ \(", str(done.exception)), done.exception


def answer_right(question: str) -> str:
    """A model that can add."""
    terms = re.findall(r"[+-]? ?\d+", question.replace("- ", "-").replace("+ ", "+"))
    return f"#### {sum(int(term.replace(' ', '')) for term in terms)}"


def test_an_exam_against_an_endpoint_and_its_rerun(
    tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    endpoint = fake_endpoint(lambda body: answer_right(body["messages"][-1]["content"]))
    ledger, examiner, maker = (str(tmp_path / name) for name in ("ledger.jsonl", "examiner.json", "maker.json"))
    paper, registration = str(tmp_path / "paper"), str(tmp_path / "registration.json")
    model = ("--endpoint", endpoint.url, "--endpoint-model", "adder")
    certificate, report = str(tmp_path / "certificate.json"), str(tmp_path / "rerun.json")
    steps = [
        ("key", examiner, "--holder", "Exam office"),
        ("key", maker, "--holder", "Maker"),
        ("key", str(tmp_path / "me.json"), "--holder", "Stranger"),
        ("seal", "arith:sums?terms=2&digits=1-2", "--count", "20", "--out", paper, "--ledger", ledger,
         "--key", examiner),
        ("register", paper, *model, "--name", "adder", "--ledger", ledger, "--key", maker,
         "--max-tokens", "16", "--hypothesis", "It can add.", "--out", registration),
        ("sit", paper, "--registration", registration, *model, "--ledger", ledger, "--key", examiner,
         "--work", str(tmp_path / "sitting"), "--out", certificate),
        ("verify", certificate, "--paper", f"{paper}/paper.json", "--ledger", ledger),
        ("rerun", certificate, "--paper", f"{paper}/paper.json", *model, "--key", str(tmp_path / "me.json"),
         "--out", report),
    ]  # fmt: skip
    for arguments in steps:
        done = exam(*arguments)
        assert done.exit_code == 0, (arguments[0], done.output, done.exception)
    record = json.loads(Path(certificate).read_text("utf-8"))
    assert record["result"]["sealed"]["accuracy"]["value"] == 1.0
    assert record["separation"] == "third party"
    assert any("Class B" in statement for statement in record["statements"])
    assert any(entry["exposed"] for entry in record["access"])
    signed = json.loads(Path(report).read_text("utf-8"))
    assert signed["report"]["agrees"]
    verified = exam("verify", certificate, "--paper", f"{paper}/paper.json", "--ledger", ledger, "--json")
    (found,) = map(json.loads, verified.stdout.splitlines())
    assert all(step["ok"] for step in found["steps"])
    assert found["trust"]["model_name"] == "adder"
    (state,) = map(json.loads, exam("registrations", paper, "--ledger", ledger, "--json").stdout.splitlines())
    assert (state["model_name"], state["state"]) == ("adder", "result")
    seen = [json.loads(line) for line in exam("exposure", paper, "--ledger", ledger, "--json").stdout.splitlines()]
    assert seen
    assert all(each["counts"] for each in seen)
    assert signed["report"]["halves"] == ["public"]


def test_any_reference_to_a_model_is_registered_as_models_show_it(tmp_path: Path) -> None:
    (plain := tmp_path / "plain").mkdir()
    write_tiny(plain, seed=1)
    ledger, key, paper = (str(tmp_path / name) for name in ("ledger.jsonl", "me.json", "paper"))
    exam("key", key)
    exam("seal", "arith:sums?terms=2&digits=1-2", "--count", "4", "--out", paper, "--ledger", ledger, "--key", key)
    for number, model in enumerate((str(plain), "tiny:3")):
        registration = tmp_path / f"registration-{number}.json"
        done = exam(
            "register", paper, "--model", model, "--name", f"m{number}", "--ledger", ledger, "--key", key,
            "--max-tokens", "2", "--hypothesis", "x", "--out", str(registration),
        )  # fmt: skip
        assert done.exit_code == 0, (done.output, done.exception)
        shown = json.loads(CliRunner().invoke(models.command, ["show", model, "--json"]).stdout)
        assert json.loads(registration.read_text())["model_digest"] == shown["digest"]
    work, certificate = str(tmp_path / "work"), str(tmp_path / "certificate.json")
    sat = exam(
        "sit", paper, "--registration", str(tmp_path / "registration-0.json"), "--model", str(plain), "--ledger",
        ledger, "--key", key, "--work", work, "--out", certificate,
    )  # fmt: skip
    assert sat.exit_code == 0, (sat.output, sat.exception)
    both = exam("register", paper, "--model", "tiny:0", "--endpoint", "http://127.0.0.1:9", "--name", "x", "--ledger",
                ledger, "--key", key, "--hypothesis", "x", "--out", str(tmp_path / "r.json"))  # fmt: skip
    assert "No single model" in str(both.exception)


@needs_llama_cpp
def test_a_gguf_file_sits_as_it_is_and_no_other_bytes_do(tmp_path: Path) -> None:
    file = tmp_path / "stranger-Q4_0.gguf"
    write_gguf(file, architecture="qwen3", kind="Q4_0", pre="qwen2")  # as llama.cpp's converter writes one
    names = ("ledger.jsonl", "examiner.json", "maker.json", "paper", "registration.json", "c.json", "rerun.json")
    ledger, examiner, maker, paper, registration, certificate, report = (str(tmp_path / name) for name in names)
    register = ("register", paper, "--model", str(file), "--name", "stranger", "--ledger", ledger, "--key", maker,
                "--max-tokens", "4", "--hypothesis", "It cannot add.", "--out", registration)  # fmt: skip
    sit = ("sit", paper, "--registration", registration, "--ledger", ledger, "--key", examiner, "--out", certificate,
           "--work", str(tmp_path / "sitting"))  # fmt: skip
    rerun = ("rerun", certificate, "--paper", paper, "--key", maker, "--out", report)
    steps = [
        ("key", examiner, "--holder", "Exam office"),
        ("key", maker, "--holder", "Maker"),
        ("seal", "arith:sums?terms=2&digits=1", "--count", "4", "--out", paper, "--ledger", ledger, "--key", examiner),
        register,
        (*sit, "--model", str(file)),
        ("verify", certificate, "--paper", paper, "--ledger", ledger),
        (*rerun, "--model", str(file)),
    ]
    good = file.read_bytes()
    for arguments in steps:
        if arguments[0] == "sit":
            with file.open("r+b") as opened:  # in place, as tools that edit a header do
                opened.seek(-1, 2)
                opened.write(bytes([good[-1] ^ 1]))
            refused = exam(*arguments)
            assert refused.exit_code != 0
            assert f"registered is sha256:{hashlib.sha256(good).hexdigest()}" in str(refused.exception)
            assert not Path(certificate).exists()
            file.unlink()
            file.write_bytes(good)
        done = exam(*arguments)
        assert done.exit_code == 0, (arguments[0], done.output, done.exception)
    record = json.loads(Path(certificate).read_text("utf-8"))
    assert record["result"]["model_digest"] == f"sha256:{hashlib.sha256(good).hexdigest()}"
    assert record["result"]["generator"]["kind"] == "local"
    again = json.loads(Path(report).read_text("utf-8"))["report"]
    assert (again["same_digest"], again["agrees"], again["halves"]) == (True, True, ["public"])
    assert all(item["status"] == item["original"] for item in again["items"])


def test_a_rerun_that_disagrees_says_so(tiny_run: Path, tmp_path: Path, fake_endpoint: Any) -> None:
    endpoint = fake_endpoint(lambda body: answer_right(body["messages"][-1]["content"]))
    exam("key", str(tmp_path / "me.json"))
    done = exam(
        "rerun", str(certificate_of(tiny_run, "base")), "--paper", str(paper_of(tiny_run)),
        "--endpoint", endpoint.url, "--endpoint-model", "adder",
        "--key", str(tmp_path / "me.json"), "--out", str(tmp_path / "rerun.json"),
    )  # fmt: skip
    assert done.exit_code != 0
    assert "does not agree" in str(done.exception)
    assert (tmp_path / "rerun.json").is_file()


def test_swapped_weights_cannot_sit(tiny_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_run / "stages" / "09-teacher" / "model", model)
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    ledger = tmp_path / "ledger.jsonl"
    shutil.copy(tiny_run / "ledger.jsonl", ledger)
    done = exam(
        "sit", str(paper_of(tiny_run).parent),
        "--registration", str(next(tiny_run.glob("stages/*-exam/teacher.registration.json"))),
        "--model", str(model), "--ledger", str(ledger), "--key", str(next((tiny_run / "keys").glob("*.json"))),
        "--work", str(tmp_path / "work"), "--out", str(tmp_path / "certificate.json"),
    )  # fmt: skip
    assert done.exit_code != 0
    assert "is not what its lineage.json describes" in str(done.exception)


def test_the_examiners_commands_need_no_torch() -> None:
    code = "import sys, spiritsafe.cli.exam; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
