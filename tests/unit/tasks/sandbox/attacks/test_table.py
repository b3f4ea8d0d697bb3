from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.sandbox.attacks import programs
from spiritsafe.tasks.sandbox.attacks.table import AttackResult, outside, run_attack
from spiritsafe.tasks.sandbox.job import Run, RunResult, RunStepResult


@every_layer
@pytest.mark.parametrize("name", programs.ATTACKS)
def test_every_attack_is_denied(layer: str, name: str) -> None:
    with outside() as facts:
        result = run_attack(sandbox_of(layer), name, facts)
    assert result.denied, result.how


def test_there_are_many_attacks() -> None:
    assert len(programs.ATTACKS) >= 40
    assert all(function.__doc__ for function in programs.ATTACKS.values())


class NoWalls:
    """Runs foreign code as it is; a sandbox only by its form."""

    def run(self, run: Run) -> RunResult:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in run.files.items():
                Path(folder, name).write_text(str(text))
            command = [sys.executable, "attack.py", *run.steps[0].arguments]
            done = subprocess.run(command, capture_output=True, cwd=folder, check=False)
        step = RunStepResult(code=done.returncode, out=done.stdout, err=done.stderr)
        return RunResult(steps=(step,), stop=None, files={}, layer="none")


def process_with(mark: str) -> list[psutil.Process]:
    processes = psutil.process_iter(["cmdline"])
    return [one for one in processes if any(mark in part for part in one.info["cmdline"] or ())]


@pytest.mark.parametrize("name", ["leave_daemon", "leave_file", "write_beside", "connect_by_tcp"])
def test_the_table_tells_a_sandbox_that_is_none(name: str) -> None:
    with outside() as facts:
        result = run_attack(NoWalls(), name, facts)  # type: ignore[arg-type]
        for process in process_with(facts["mark"]):
            process.kill()
        for place in (tempfile.gettempdir(), "/tmp", "/dev/shm", "/var/tmp"):
            Path(place, facts["mark"]).unlink(missing_ok=True)
    assert not result.denied
    if name == "leave_daemon":
        assert result.how.startswith("it left process ")
    else:
        assert result.how.startswith("GOT")


def test_what_is_left_behind_is_no_denial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spiritsafe.tasks.sandbox.attacks import table

    def fails(*args: object) -> tuple[bool, str]:
        Path(facts["folder"], "attack").write_text("x")
        return True, "denied"

    monkeypatch.setattr(table, "_try", fails)
    with outside() as facts:
        result = run_attack(sandbox_of("namespaces"), "write_beside", facts)
    assert result == AttackResult(
        name="write_beside",
        tries="Write to a folder outside",
        denied=False,
        how=f"it left the file {facts['folder']}/attack",
    )


def test_an_attack_that_breaks_is_no_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    with outside() as facts:
        del facts["file"]
        result = run_attack(sandbox_of("namespaces"), "read_secret_file", facts)
    assert not result.denied
    assert "KeyError" in result.how


def test_nothing_of_what_waits_outside_stays() -> None:
    threads = threading.active_count()
    with outside() as facts:
        folder, pid = facts["folder"], facts["pid"]
        assert os.path.exists(folder)
    assert not os.path.exists(folder)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert threading.active_count() == threads
