"""The life after the certificate on the command line: a dispute, an edit, a re-issue, a re-run, the retirement."""

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


def exam(*arguments: str, fails: bool = False) -> str:
    done = CliRunner().invoke(command, list(arguments))
    assert (done.exit_code != 0) == fails, (arguments[0], done.output, done.exception)
    return str(done.exception) if fails else str(done.output)


def adds_small_numbers(body: dict[str, Any]) -> str:
    """Right below 60, wrong above."""
    total = sum(map(int, re.findall(r"\d+", body["messages"][-1]["content"])))
    return f"#### {total if total < 60 else 0}"


@pytest.fixture
def office(tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]) -> dict[str, str]:
    """A finished sitting."""
    names = ("paper", "ledger", "eve", "mary", "dora", "sam", "registration", "sitting", "certificate", "revealed",
             "reissued", "rerun", "opened")  # fmt: skip
    f = {name: str(tmp_path / name) for name in names}
    f["journal"] = f"{f['sitting']}/answers.jsonl"
    f["url"] = fake_endpoint(adds_small_numbers).url
    model = ("--endpoint", f["url"], "--endpoint-model", "adder")
    for name in ("eve", "mary", "dora", "sam"):
        exam("key", f[name], "--holder", {"sam": "Sam Stranger"}.get(name, name.title()))
    exam("seal", "arith:sums?terms=2&digits=1-2", "--count", "16", "--out", f["paper"], "--ledger", f["ledger"],
         "--key", f["eve"])  # fmt: skip
    exam("register", f["paper"], *model, "--name", "adder", "--ledger", f["ledger"], "--key", f["mary"],
         "--max-tokens", "16", "--hypothesis", "h", "--probes", "0",
         "--out", f["registration"])  # fmt: skip
    exam("sit", f["paper"], "--registration", f["registration"], *model, "--ledger", f["ledger"], "--key", f["eve"],
         "--work", f["sitting"], "--out", f["certificate"])  # fmt: skip
    return f


def verify(f: dict[str, str], certificate: str, *more: str, fails: bool = False) -> str:
    return exam(
        "verify", f[certificate], "--paper", f"{f['paper']}/paper.json", "--ledger", f["ledger"], *more, fails=fails
    )


def wrong_place(f: dict[str, str]) -> int:
    outcomes = json.loads(Path(f["certificate"]).read_text())["result"]["outcomes"]
    return int(next(o["index"] for o in outcomes if (o["half"], o["status"]) == ("sealed", "wrong")))


def test_from_dispute_to_re_issue_to_retirement(office: dict[str, str]) -> None:
    f, place = office, str(wrong_place(office))
    disputing = ("dispute", f["certificate"], "--ledger", f["ledger"], "--key", f["dora"],
                 "--problem", place, "--propose", "correct")  # fmt: skip
    said = exam(*disputing, "--reason", "The sum is right.")
    digest = re.search(r"dispute (sha256:\w{64})", said)
    assert digest
    assert f"unanswered: problem {place}, try 0, wrong → correct, by Dora" in verify(f, "certificate")

    answering = ("edit", f["certificate"], "--ledger", f["ledger"], "--key", f["eve"], "--dispute", digest[1],
                 "--reason", "The key was wrong.")  # fmt: skip
    assert "accepted or rejected" in exam(*answering, fails=True)
    assert "accepted or rejected" in exam(*answering, "--reject", "--status", "correct", fails=True)
    assert "Nobody can judge" in exam(*answering, "--status", "correct", fails=True)
    exam("reveal", f["paper"], "--registration", f["registration"], "--ledger", f["ledger"], "--key", f["eve"],
         "--journal", f["journal"], "--problem", place, "--reason", "disputed", "--out", f["revealed"])  # fmt: skip
    assert "accepted: graded correct" in exam(*answering, "--status", "correct")

    said = exam("reissue", f["certificate"], "--paper", f["paper"], "--ledger", f["ledger"], "--key", f["eve"],
                "--out", f["reissued"])  # fmt: skip
    assert "1 grade was edited after the sitting: sealed score " in said
    assert "SUPERSEDED by a re-issue" in verify(f, "certificate")
    said = verify(f, "reissued", "--revealed", f["revealed"])
    assert "SUPERSEDED" not in said
    assert re.search(r"ok +grade edits: 1 grade edited: sealed accuracy 0\.\d+ before", said)
    assert f"- Edited: problem {place}, try 0, wrong → correct, on " in said

    said = exam("open", f["paper"], "--ledger", f["ledger"], "--key", f["eve"], "--reason", "A new one is out.",
                "--journal", f["reissued"], f["journal"], "--out", f["opened"])  # fmt: skip
    assert "retired: all 16 problems" in said
    assert "16 answers published" in said
    said = verify(f, "reissued", "--opened", f["opened"])
    assert re.search(r"ok +paper in force: sat before the paper was retired", said)
    assert re.search(r"ok +opened paper: all 16 problems hash to the bank's root", said)
    assert re.search(r"ok +published answers: all 16 answers hash .*; 16 graded again by \S+: the same", said)
    assert "was retired on" in exam(
        "register", f["paper"], "--endpoint", f["url"], "--endpoint-model", "adder", "--name", "late",
        "--ledger", f["ledger"], "--key", f["mary"], "--hypothesis", "h", "--out", f["registration"], fails=True,
    )  # fmt: skip
    exposed = exam("exposure", f["paper"], "--ledger", f["ledger"])
    assert re.search(r"has  \S+  everybody: 8 public, 8 sealed", exposed)


def test_a_rejected_dispute(office: dict[str, str]) -> None:
    f, place = office, str(wrong_place(office))
    said = exam("dispute", f["certificate"], "--ledger", f["ledger"], "--key", f["dora"], "--problem", place,
                "--propose", "correct", "--reason", "r")  # fmt: skip
    said = exam("edit", f["certificate"], "--ledger", f["ledger"], "--key", f["eve"], "--dispute", said.split()[1],
                "--reject", "--reason", "It is not.")  # fmt: skip
    assert "rejected (ledger entry" in said
    assert "0 accepted, 1 rejected, 0 unanswered" in verify(f, "certificate")


def test_a_counter_signature_is_printed_with_the_separation(office: dict[str, str]) -> None:
    f = office
    again = ("rerun", f["certificate"], "--paper", f["paper"], "--endpoint", f["url"], "--ledger", f["ledger"],
             "--key", f["sam"], "--out", f["rerun"])  # fmt: skip
    exam(*again, "--endpoint-model", "adder")
    said = verify(f, "certificate", "--rerun", f["rerun"])
    assert re.search(r"ok +re-runs: counter-signed by Sam Stranger \(key \w+\) \(public\)\. Agrees within error", said)
    assert re.search(r"Separation: third party, counter-signed by Sam Stranger \(key \w+\)\.", said)
    assert "counter-signed" not in Path(f["certificate"]).read_text()


def test_what_was_registered_and_never_sat_is_named_at_the_retirement(office: dict[str, str]) -> None:
    f = office
    exam("register", f["paper"], "--endpoint", f["url"], "--endpoint-model", "another", "--name", "idle",
         "--ledger", f["ledger"], "--key", f["mary"], "--hypothesis", "h", "--out", f["registration"])  # fmt: skip
    said = exam("open", f["paper"], "--ledger", f["ledger"], "--key", f["eve"], "--reason", "r", "--out", f["opened"])
    assert '"idle" was registered and can no longer sit: sha256:' in said
