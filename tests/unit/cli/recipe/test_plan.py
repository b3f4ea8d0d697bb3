from __future__ import annotations

import json
from pathlib import Path

import pytest
from called import call
from click.testing import CliRunner
from published_configs import PUBLISHED

from spiritsafe.cli.recipe import plan


def test_plan_prints_the_steps() -> None:
    assert "\ndistil    student: from small" in call(plan.command, "tiny")


def test_plan_as_json_tells_costs_and_the_whole_recipe() -> None:
    told = json.loads(call(plan.command, "tiny", "--json", "--set", "seed=8"))
    assert told["faults"] == []
    assert told["recipe"]["seed"] == 8
    assert {"teacher", "student"} <= set(told["memory_bytes"])
    assert all(stage["seconds"] >= 0 for stage in told["stages"])


def test_what_cannot_work_is_told_whole_and_is_an_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'extends = "quickstart"\n[data.lessons]\nproblems = 900000000\ntask = "arith:sums?terms=2&digits=1"\n'
        '[[exams]]\ntask = "arith:nosuch"\nproblems = 10\n'
    )
    done = CliRunner().invoke(plan.command, [str(path)])
    assert done.exit_code == 2
    assert "cannot run: " in done.output
    assert "lessons" in done.output.partition("cannot run")[2]
    assert "nosuch" in done.output.partition("cannot run")[2]
    done = CliRunner().invoke(plan.command, [str(path), "--json"])
    assert done.exit_code == 2
    assert len(json.loads(done.output)["faults"]) >= 2


def test_a_model_is_planned_without_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED["Qwen2.5-7B"]))
    given = ("--model", str(tmp_path), "--tokens", "100", "--memory", "24GB", "--memory", "22.5 GiB")
    told = json.loads(call(plan.command, *given, "--json"))
    assert told["longest_tokens"] == 100
    assert [one["memory_bytes"] for one in told["ways"][0]["offers"]] == [24_000_000_000, 24_159_191_040]
    assert call(plan.command, *given).splitlines()[0].startswith(f"{tmp_path.name}: 7.62 B parameters")


@pytest.mark.parametrize("words", [("--memory", "24"), ("--memory", "0GB"), ("--set", "a=1")])
def test_what_means_nothing_beside_a_model_is_refused(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(plan.command, ["--model", "tiny:0", *words])
    assert done.exit_code != 0
    assert "way" not in done.output
