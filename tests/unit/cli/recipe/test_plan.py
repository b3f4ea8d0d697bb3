from __future__ import annotations

import json
from pathlib import Path

from called import call
from click.testing import CliRunner

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
