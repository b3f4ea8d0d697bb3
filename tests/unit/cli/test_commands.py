"""Each command runs and prints what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spiritsafe.cli import doctor, models, plan, report, run, sample, tasks
from spiritsafe.cli.generators import open_any_generator
from spiritsafe.core.errors import RecipeError, TaskError


def call(command: Any, *arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_doctor_names_the_extras() -> None:
    text = call(doctor.command)
    assert "spiritsafe" in text
    assert "extra 'train': torch" in text


def test_plan_prints_the_stages() -> None:
    assert "student   student" in call(plan.command, "tiny")


def test_tasks_list_show_and_audit() -> None:
    assert "arith:sums" in call(tasks.command, "list")
    refused = call(tasks.command, "list", "--refused")
    assert "gym:coin_flip" in refused
    assert "arith:sums" not in refused
    assert "worked solution" in call(tasks.command, "show", "arith:sums", "--count", "1")
    assert call(tasks.command, "audit", "arith:products", "--count", "12").startswith("passed")


def test_a_failed_audit_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "constant.jsonl"
    data.write_text("".join(f'{{"question": "Question {n}?", "answer": "0"}}\n' for n in range(60)))
    with pytest.raises(TaskError, match="1 of 1"):
        call(tasks.command, "audit", f"math:{data}", "--count", "12")


def test_models_fetch_list_and_show() -> None:
    directory = call(models.command, "fetch", "tiny:0").strip().splitlines()[-1]
    assert (Path(directory) / "lineage.json").is_file()
    assert "tiny-0" in call(models.command, "list")
    assert "Apache-2.0" in call(models.command, "show", "tiny:0")


def test_report_rebuilds_the_page(tiny_run: Path) -> None:
    assert "report.html" in call(report.command, str(tiny_run))


def test_run_says_when_there_is_nothing_to_do(tiny_run: Path) -> None:
    from finished_run import SMALLER

    settings = [part for override in SMALLER for part in ("--set", override)]
    text = call(run.command, "tiny", "--root", str(tiny_run.parent), *settings)
    assert "Nothing to do: all 12 stages" in text


def test_sample_with_local_weights_in_their_own_process(tiny_run: Path, tmp_path: Path) -> None:
    text = call(
        sample.command, "arith:sums", "--model", str(tiny_run / "stages" / "04-teach" / "model"),
        "--out", str(tmp_path / "attempts"), "--problems", "3", "--max-tokens", "8",
    )  # fmt: skip
    assert "3 attempts at 3 problems" in text
    assert "accuracy" in text
    assert "[" in text.split("accuracy")[1]


@pytest.mark.parametrize(
    ("model", "endpoint", "name"),
    [(None, None, None), ("m", "http://127.0.0.1:1", "x"), (None, "http://127.0.0.1:1", None)],
)
def test_exactly_one_model_must_be_named(model: str | None, endpoint: str | None, name: str | None) -> None:
    with pytest.raises(RecipeError):
        open_any_generator(model, endpoint, name, None)
