"""``spiritsafe serve calibrate``: attempts become a router, and its worth is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from routing_parts import collections

from spiritsafe import cli
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.serve import read_router

COST = ("--cost", "bytes", "--bytes", "100", "--bytes", "900")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, ["serve", "calibrate", *map(str, arguments)])


@pytest.fixture(scope="module")
def rungs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return collections(tmp_path_factory.mktemp("attempts"))


@pytest.mark.parametrize("flags", [(), ("--cascade",), ("--max-cost", "700")])
def test_a_router_is_written_and_told(rungs: list[Path], tmp_path: Path, flags: tuple[str, ...]) -> None:
    out = tmp_path / "router.json"
    done = call(*rungs, "--out", out, *COST, *flags)
    assert done.exit_code == 0, done.output
    router = read_router(out)
    assert router.kind == ("cascade" if "--cascade" in flags else "prompt")
    assert f"router: {out}" in done.stderr
    assert "small: accuracy" in done.stdout
    assert "over tossing a coin" in done.stdout
    assert ("not shown to be better" in done.stdout) != router.is_better
    again = call(*rungs, "--out", out, *COST, "--json", *flags)
    assert json.loads(again.stdout)["rule"]["threshold"] == read_router(out).threshold


def test_a_run_that_measured_several_models_is_enough(rungs: list[Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    for rung in rungs:
        shutil.copytree(rung, run / "stages" / "07-measured" / "attempts" / rung.name / "sums" / "samples")
    done = call(run, "--out", tmp_path / "router.json", *COST)
    assert done.exit_code == 0, done.output
    assert {rung.name for rung in read_router(tmp_path / "router.json").rungs} == {"small", "large"}
    shutil.copytree(rungs[0].parent, run / "stages" / "07-measured" / "attempts" / "small" / "more")
    for rung in rungs:
        shutil.copytree(rung, run / "stages" / "09-again" / "attempts" / rung.name / "sums" / "samples")
    done = call(run, "--out", tmp_path / "router.json", *COST)
    assert isinstance(done.exception, CompatibilityError)
    assert "07-measured: sums; 09-again: sums" in str(done.exception)


def test_what_cannot_take_effect_is_refused(rungs: list[Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "router.json")
    assert isinstance(call(*rungs, *out, "--max-loss", "0.1", "--max-cost", "1").exception, RecipeError)
    assert isinstance(call(*rungs, *out, "--bytes", "1", "--bytes", "2").exception, RecipeError)
    assert isinstance(call(rungs[0], *out).exception, CompatibilityError)
    assert isinstance(call(tmp_path, *out).exception, CompatibilityError)
    (tmp_path / "router.json").write_text("mine", "utf-8")
    done = call(*rungs, *out, *COST)
    assert done.exit_code != 0
    assert (tmp_path / "router.json").read_text("utf-8") == "mine"
