from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.sandbox.attacks import programs
from spiritsafe.tasks.sandbox.attacks.table import AttackResult, outside, run_attack

BY_ANYBODY = (
    "read_secret_file", "read_accounts", "list_homes", "read_grader", "write_beside", "connect_by_tcp", "send_by_udp",
    "listen_for_others", "talk_to_kernel", "connect_to_abstract_socket", "connect_to_socket_file", "kill_other",
    "read_environments", "read_command_lines", "slow_others_down", "leave_shared_memory", "start_threads",
    "make_files", "write_huge_file", "print_without_end", "take_descriptor", "use_setuid_program",
)  # fmt: skip
"""What succeeds where there is no sandbox, whoever one is, and harms nothing."""


@every_layer
@pytest.mark.parametrize("name", programs.ATTACKS)
def test_every_attack_is_denied(layer: str, name: str) -> None:
    with outside() as facts:
        result = run_attack(sandbox_of(layer), name, facts)
    assert result.denied, result.how


def test_there_are_many_attacks() -> None:
    assert len(programs.ATTACKS) >= 40
    assert all(function.__doc__ for function in programs.ATTACKS.values())


@pytest.mark.parametrize("name", BY_ANYBODY)
def test_attacks_succeed_where_there_are_no_walls(name: str, tmp_path: Path) -> None:
    """An attack that never succeeds proves nothing."""
    if name == "take_descriptor" and not hasattr(os, "pidfd_open"):
        pytest.skip("this Python was built without pidfd")
    with outside() as facts:
        command = [sys.executable, programs.__file__, name, json.dumps({**facts, "outside": True})]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.lstrip("x").startswith("GOT"), done.stdout[-300:] + done.stderr[-300:]


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
    with outside() as facts:
        folder, pid = facts["folder"], facts["pid"]
        assert os.path.exists(folder)
    assert not os.path.exists(folder)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert shutil.which("true")
