from __future__ import annotations

from pathlib import Path

from called import call

from spiritsafe.cli.recipe import run


def test_run_says_when_there_is_nothing_to_do(tiny_run: Path) -> None:
    from finished_run import SMALLER  # here, because it loads torch

    settings = [part for override in SMALLER for part in ("--set", override)]
    text = call(run.command, "tiny", "--root", str(tiny_run.parent), *settings)
    assert "Nothing to do: all 20 stages" in text
