from __future__ import annotations

from pathlib import Path

from called import call, records_of

from spiritsafe.cli.recipe import run


def test_run_says_when_there_is_nothing_to_do(tiny_run: Path) -> None:
    from finished_run import SMALLER  # here, because it loads torch

    settings = [part for override in SMALLER for part in ("--set", override)]
    text = call(run.command, "tiny", "--root", str(tiny_run.parent), *settings)
    num_stages = len(list((tiny_run / "stages").iterdir()))
    assert f"Nothing to do: all {num_stages} stages" in text
    (told,) = records_of(run.command, "tiny", "--root", str(tiny_run.parent), *settings)
    assert (told["run"]["num_run"], told["run"]["num_skipped"]) == (0, num_stages)
    assert {one["name"] for one in told["report"]["ladder"]} >= {*told["run"]["models"]} - {"base"}
