"""``spiritsafe release RUN``, as a user types it."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner

from spiritsafe.cli.release import command


def test_a_finished_run_is_released_into_a_new_directory_and_verified(released_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(released_run, tmp_path / released_run.name))
    out = tmp_path / "out"
    runner = CliRunner()
    made = runner.invoke(command, [str(run), "--out", str(out), "--title", "small", "--no-weights"])
    assert made.exit_code == 0, made.output
    assert made.output.strip().endswith(str(out))
    assert sorted(path.name for path in out.glob("*.gguf")) == ["small-Q8_0.gguf"]
    assert not list(out.glob("*.safetensors"))
    verified = runner.invoke(command, ["verify", str(out)])
    assert verified.exit_code == 0, verified.output
    again = runner.invoke(command, [str(run), "--out", str(out), "--title", "small", "--no-weights"])
    assert again.exit_code != 0
    assert "is there already" in str(again.exception)


def test_what_is_no_run_is_said_so(tmp_path: Path) -> None:
    refused = CliRunner().invoke(command, [str(tmp_path)])
    assert refused.exit_code != 0
    assert "no run directory" in str(refused.exception)
