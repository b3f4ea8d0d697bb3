"""A sitting at an endpoint, stopped by the signals that people and machines send."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body, error_body

from spiritsafe import cli
from spiritsafe.cli.exam import command
from spiritsafe.cli.recipe import run
from spiritsafe.cli.stopping import term_as_interrupt
from spiritsafe.core.errors import EndpointError
from spiritsafe.exam.records.certificate import Certificate

Start = Callable[[Answer], FakeEndpoint]
COUNT = 60


def exam(*arguments: str) -> Any:
    return CliRunner().invoke(command, list(arguments))


def solve(body: dict[str, Any]) -> str:
    question = body["messages"][-1]["content"].replace(" ", "")
    return f"#### {sum(map(int, re.findall(r'[+-]?[0-9]+', question)))}"


def is_problem(body: dict[str, Any]) -> bool:
    """And no probe."""
    return re.search(r"\d", body["messages"][-1]["content"]) is not None


@dataclass
class Room:
    """A paper, a registration, and an endpoint that answers rightly: the first 20 at once, others after ``delay_s``."""

    root: Path
    fake_endpoint: Start
    answer: Answer | None = None
    delay_s: float = 1.0
    sit: tuple[str, ...] = field(init=False)
    server: FakeEndpoint = field(init=False)

    def __post_init__(self) -> None:
        root, asked = self.root, iter(range(10_000))

        def answer(body: dict[str, Any]) -> HttpReply:
            is_late = is_problem(body) and next(asked) >= 20
            return HttpReply(body=chat_body(solve(body)), delay_s=self.delay_s if is_late else 0.0)

        self.server = self.fake_endpoint(self.answer or answer)
        url = self.server.url
        for name in ("ex", "mk"):
            assert exam("key", str(root / f"{name}.json"), "--holder", name).exit_code == 0
        ledger = ("--ledger", str(root / "ledger.jsonl"))
        where = ("--endpoint", url, "--endpoint-model", "m")
        sealed = exam(
            "seal", "arith:sums?terms=2&digits=1-2", "--count", str(COUNT), "--out", str(root / "paper"), *ledger,
            "--key", str(root / "ex.json"),
        )  # fmt: skip
        assert sealed.exit_code == 0, sealed.output
        registered = exam(
            "register", str(root / "paper"), *where, "--name", "m", *ledger, "--key", str(root / "mk.json"),
            "--max-tokens", "16", "--hypothesis", "h", "--probes", "0", "--out", str(root / "reg.json"),
        )  # fmt: skip
        assert registered.exit_code == 0, registered.output
        self.sit = (
            "sit", str(root / "paper"), "--registration", str(root / "reg.json"), *where, *ledger, "--key",
            str(root / "ex.json"), "--work", str(root / "work"), "--out", str(root / "c.json"), "--concurrency", "4",
        )  # fmt: skip

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "spiritsafe", "exam", *self.sit],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def certificate(self) -> Certificate:
        return Certificate.from_json(json.loads((self.root / "c.json").read_text()))

    def is_waiting(self) -> bool:
        """Whether the first 20 answers are kept, and the next four under way."""
        path = self.root / "work" / "answers.jsonl"
        kept = path.read_bytes().count(b'"\n') if path.exists() else 0
        return kept >= 20 and sum(is_problem(request.body) for request in self.server.requests) >= 24


def wait_until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not what():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_loses_nothing(tmp_path: Path, fake_endpoint: Start, number: signal.Signals) -> None:
    room = Room(tmp_path, fake_endpoint)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored (nohup)
    process = room.start()
    wait_until(room.is_waiting, process)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "no new question is sent" in text
    assert re.search(r"Stopped as asked\. \d+ answers are kept, and none was lost\. Run the same command again", text)
    assert "Traceback" not in text
    room.delay_s = 0.0
    done = exam(*room.sit)
    assert done.exit_code == 0, done.output
    result = room.certificate().result
    assert {outcome.status for outcome in result.outcomes} == {"correct"}
    assert result.openings == 2


def test_a_second_interrupt_ends_at_once_and_says_what_it_cost(tmp_path: Path, fake_endpoint: Start) -> None:
    room = Room(tmp_path, fake_endpoint, delay_s=3600.0)
    process = room.start()
    wait_until(room.is_waiting, process)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "Stopping: no new question" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"Stopped at once\. 20 answers are kept\. 4 were under way: they are lost", text), text
    assert "Run the same command again to go on" in text
    room.delay_s = 0.0
    exam(*room.sit)
    counts = [outcome.status for outcome in room.certificate().result.outcomes]
    assert counts.count("error") == 4
    assert counts.count("correct") == COUNT - 4


def test_too_many_failures_end_in_an_error_and_a_certificate(tmp_path: Path, fake_endpoint: Start) -> None:
    """400 is the endpoint's word on this very question: an outcome. A tenth of them is no score."""
    told: set[str] = set()

    def answer(body: dict[str, Any]) -> str | HttpReply:
        question = body["messages"][-1]["content"]
        if is_problem(body):
            told.add(question)
            if len(told) <= COUNT // 10:
                return HttpReply(status=400, body=error_body("too long"))
        return solve(body)

    room = Room(tmp_path, fake_endpoint, answer)
    done = exam(*room.sit)
    assert isinstance(done.exception, EndpointError)
    assert '6 of 60 tries failed, more than 5%: this is no score of "m"' in done.exception.message
    assert room.certificate().result.sealed.counts["error"] + room.certificate().result.public.counts["error"] == 6
    verified = exam("verify", str(tmp_path / "c.json"), "--paper", str(tmp_path / "paper"))
    assert verified.exit_code == 0
    assert re.search("does not hold +The model answered", verified.output)


def test_a_run_that_is_told_to_end_finishes_what_it_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[str] = []

    def work(*arguments: Any, **options: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            while True:
                signal.pause()
        finally:
            seen.append("finished")
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # a second one ends at once

    monkeypatch.setattr(run.pipeline, "run_recipe", work)
    result = CliRunner().invoke(run.command, ["tiny", "--root", str(tmp_path / "runs")])
    assert isinstance(result.exception, SystemExit | KeyboardInterrupt)
    assert seen == ["finished"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_that_torchrun_ends_says_that_it_was_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for run_id, said in (("", ""), ("none", "torchrun has stopped this run")):
        if run_id:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", run_id)
        with pytest.raises(KeyboardInterrupt) as caught, term_as_interrupt():
            signal.raise_signal(signal.SIGTERM)
        assert str(caught.value).startswith(said)
        assert bool(str(caught.value)) == bool(said)


@pytest.mark.parametrize(
    ("error", "code", "lingers"),
    [(EndpointError("x", hint="y"), 8, 1), (KeyError("x"), 70, 1), (KeyboardInterrupt(), 130, 0)],
)
def test_a_process_beside_the_first_one_is_silent(
    error: BaseException, code: int, lingers: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: Any) -> None:
        sys.stdout.write("progress\n")
        raise error

    waits: list[None] = []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli, "linger", lambda: waits.append(None))
    monkeypatch.setattr(cli.cli, "main", fail)
    monkeypatch.setattr(sys, "argv", ["spiritsafe", "run", "tiny"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert len(waits) == lingers
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys, "argv", ["spiritsafe", "--verbose", "run", "tiny"])
    with pytest.raises(SystemExit):
        cli.main()
    assert ("Traceback" in capfd.readouterr().err) == bool(lingers)
