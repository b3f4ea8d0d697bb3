"""Each command runs and prints what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from called import call, records_of
from click.testing import CliRunner
from stranger_models import write_mixtral

from spiritsafe.cli import doctor, models, tasks
from spiritsafe.cli.answers import sample
from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Checkpoint
from spiritsafe.tasks.sandbox import layers
from spiritsafe.tasks.sandbox.attacks.table import AttackResult
from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS


def test_doctor_names_the_extras() -> None:
    text = call(doctor.command, "--no-attacks")
    assert "spiritsafe" in text
    assert "extra 'train': torch" in text


def test_tasks_list_show_and_audit() -> None:
    assert "arith:sums" in call(tasks.command, "list")
    refused = call(tasks.command, "list", "--refused")
    assert "gym:coin_flip" in refused
    assert "arith:sums" not in refused
    assert "worked solution" in call(tasks.command, "show", "arith:sums", "--count", "1")
    audited = call(tasks.command, "audit", "arith:products", "--count", "12")
    assert audited.startswith("passed")
    found = re.search(r"right answers rejected 0 of (\d+) \(at most ([\d.]+)%\), wrong accepted 0 of (\d+) \(", audited)
    assert found is not None
    # all were accepted: the bound is where that happens in one of forty audits (Clopper & Pearson 1934)
    assert abs(float(found[2]) - 100 * (1 - 0.025 ** (1 / int(found[1])))) < 0.051


def test_tasks_show_tells_what_was_found_and_what_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [("user", "Hi {}"), ("assistant", "Hello."), ("user", "And?\u202e"), ("assistant", "Bye.")]
    rows = [{"messages": [{"role": role, "content": text.format(n)} for role, text in said]} for n in range(40)]
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    text = call(tasks.command, "show", f"chat:{data}", "--count", "1")
    assert "format    messages\n" in text
    assert "rows      41 in 1 file\n" in text
    assert "left out  1 with a prompt that was there before, 0 broken\n" in text
    assert " train, " in text
    assert "user: And?⟨U+202E⟩\nreply: Bye.\n" in text
    shown = call(tasks.command, "show", f"chat:{data}", "--count", "1", "--model", "tiny:0")
    assert "<|im_start|>assistant\n«Hello.<|im_end|>»\n<|im_start|>user\nAnd?⟨U+202E⟩<|im_end|>\n" in shown
    assert "«Bye.<|im_end|>»\n(12 of " in shown
    few = call(tasks.command, "show", f"chat:{data}", "--count", "1000")
    assert few.count("reply: Bye.") < 41
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt\n" + "".join(f"What is {n}?\n" for n in range(20)))
    assert "user: What is " in call(tasks.command, "show", f"chat:{prompts}", "--model", "tiny:0")


@pytest.mark.parametrize(
    ("count", "total", "words"),
    [
        (0, 0, "0 of 0"),
        (0, 240, "0 of 240 (at most 1.5%)"),
        (1, 700, "1 of 700 (0.0% to 0.8%)"),
        (5, 5, "5 of 5 (47.8% to 100.0%)"),
    ],
)
def test_error_rates_come_with_their_intervals(count: int, total: int, words: str) -> None:
    assert tasks._error_rate(count, total) == words


def test_a_failed_audit_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "constant.jsonl"
    data.write_text("".join(f'{{"question": "Question {n}?", "answer": "0"}}\n' for n in range(60)))
    with pytest.raises(TaskError, match="1 of 1"):
        call(tasks.command, "audit", f"math:{data}", "--count", "12")


def test_doctor_tells_the_same_as_json() -> None:
    (told,) = records_of(doctor.command, "--no-attacks")
    assert told["extras"]["train"]["torch"]
    assert told["cores"] >= 1
    assert isinstance(told["gpus"], list)
    assert set(told["sandbox"]["layers"]) == set(SANDBOX_LAYERS)
    assert told["sandbox"]["attacks"] is None


def _attacks(*denied: bool) -> Callable[[object], list[AttackResult]]:
    return lambda _: [AttackResult(name="a", tries="Read it", denied=one, how="EPERM") for one in denied]


def test_doctor_shows_what_the_sandbox_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "strongest_layer", lambda: SANDBOX_LAYERS[0])
    monkeypatch.setattr(doctor, "attack_table", _attacks(True, True))
    text = call(doctor.command)
    assert text.count("  denied  Read it: EPERM\n") == 2
    assert text.endswith("2 of 2 attacks were denied\n")


def test_an_attack_that_comes_through_fails_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "strongest_layer", lambda: SANDBOX_LAYERS[0])
    monkeypatch.setattr(doctor, "attack_table", _attacks(True, False))
    result = CliRunner().invoke(doctor.command)
    assert result.exit_code == 1
    assert "NOT DENIED Read it: EPERM" in result.output
    assert "1 of 2 attacks were denied" in result.output


def test_doctor_says_what_a_machine_without_a_sandbox_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "why_no_layer", lambda name: f"no {name} here")
    monkeypatch.setattr(layers, "why_no_layer", lambda name: f"no {name} here")
    text = call(doctor.command)
    assert all(f"sandbox {name!r}: no {name} here\n" in text for name in SANDBOX_LAYERS)
    assert "No foreign code is run here. Install bubblewrap" in text


def test_models_fetch_list_and_show() -> None:
    directory = call(models.command, "fetch", "tiny:0").strip().splitlines()[-1]
    assert (Path(directory) / "lineage.json").is_file()
    assert "tiny-0" in call(models.command, "list")
    assert "Apache-2.0" in call(models.command, "show", "tiny:0")


def test_tables_are_to_be_had_as_json(tmp_path: Path) -> None:
    (shown,) = records_of(models.command, "show", "tiny:0")
    assert shown in [
        {**each, "num_active": shown["num_active"], "notes": []} for each in records_of(models.command, "list")
    ]
    assert (
        Checkpoint.from_json({name: shown[name] for name in Checkpoint.model_fields if name in shown}).name == "tiny-0"
    )
    assert {each["spec"] for each in records_of(tasks.command, "list")} >= {"arith:sums"}
    assert all(each["refused"] for each in records_of(tasks.command, "list", "--refused"))
    problems = records_of(tasks.command, "show", "arith:sums", "--count", "2")
    assert [set(each) >= {"messages", "gold"} for each in problems] == [True, True]
    (audit,) = records_of(tasks.command, "audit", "arith:products", "--count", "12")
    assert audit["passed"]
    (drawn,) = records_of(
        sample.command, "arith:sums", "--model", "tiny:0", "--out", str(tmp_path / "a"), "--problems", "2",
        "--max-tokens", "2",
    )  # fmt: skip
    assert (drawn["num_attempts"], drawn["directory"]) == (2, str(tmp_path / "a"))
    assert drawn["accuracy"]["low"] <= drawn["accuracy"]["value"] <= drawn["accuracy"]["high"]


def test_models_show_what_runs_a_model(tmp_path: Path) -> None:
    text = call(models.command, "show", str(write_mixtral(tmp_path)))
    assert "active" in text
    assert "transformers' own code" in text
    assert "note" not in call(models.command, "show", "tiny:0")
