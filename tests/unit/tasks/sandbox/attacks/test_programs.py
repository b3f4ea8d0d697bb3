from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.tasks.sandbox import walls
from spiritsafe.tasks.sandbox.attacks import programs
from spiritsafe.tasks.sandbox.attacks.table import outside

BY_ANYBODY = (
    "read_secret_file", "read_accounts", "list_homes", "read_grader", "write_beside", "connect_by_tcp", "send_by_udp",
    "listen_for_others", "talk_to_kernel", "connect_to_abstract_socket", "connect_to_socket_file", "kill_other",
    "read_environments", "read_command_lines", "slow_others_down", "leave_shared_memory", "start_threads",
    "make_files", "write_huge_file", "print_without_end", "take_descriptor", "use_setuid_program",
    "copy_parents_memory", "signal_by_owner", "read_shared_memory",
    "eat_memory_in_files",
)  # fmt: skip
"""What succeeds where there is no sandbox, whoever one is, and harms nothing."""
BY_ROOT = (
    "follow_processes_root", "open_raw_socket", "read_parents_memory", "trace_parent", "become_root",
    "make_user_namespace", "make_namespace_by_clone", "make_namespace_by_clone3", "change_root", "enter_namespace",
    "load_bpf", "fork_many",
)  # fmt: skip
IN_THIN_WALLS = (
    "write_to_root", "write_to_devices", "change_the_harness", "mount_something", "unmount_walls", "rename_machine",
    "leave_control_group",
)  # fmt: skip
"""What would harm this machine: shown in namespaces without a filter, limits, or a root that is read-only."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this without a sandbox")


def said(command: list[str], name: str, facts: dict[str, Any], folder: Path | None = None) -> str:
    done = subprocess.run(
        [*command, name, json.dumps(facts)], capture_output=True, text=True, cwd=folder, check=False, stdin=-3
    )
    return done.stdout.lstrip("x").strip() or f"nothing: {done.returncode} {done.stderr[-300:]}"


@pytest.fixture
def facts() -> Iterator[dict[str, Any]]:
    with outside() as told:
        yield {**told, "outside": True}
        libc = ctypes.CDLL(None)
        memory = libc.shmget(told["key"], 0, 0)
        if memory >= 0:
            libc.shmctl(memory, 0, None)  # IPC_RMID


@pytest.mark.parametrize("name", [*BY_ANYBODY, *(pytest.param(name, marks=needs_root) for name in BY_ROOT)])
def test_attacks_succeed_where_there_are_no_walls(name: str, facts: dict[str, Any], tmp_path: Path) -> None:
    """An attack that never succeeds proves nothing."""
    if name == "take_descriptor" and not hasattr(os, "pidfd_open"):
        pytest.skip("this Python was built without pidfd")
    heard = said([sys.executable, programs.__file__], name, facts, tmp_path)
    if name in BY_ROOT and ("Errno 1]" in heard or "Errno 38]" in heard):
        pytest.skip(f"this machine does not let root do it either: {heard}")
    assert heard.startswith("GOT"), heard


@needs_root
@pytest.mark.parametrize("name", IN_THIN_WALLS)
def test_attacks_succeed_where_walls_are_thin(name: str, facts: dict[str, Any], tmp_path: Path) -> None:
    bwrap = walls.find_tool("bwrap")
    if bwrap is None:
        pytest.skip("bubblewrap is not installed")
    places, links = walls.readable_places()
    for path in (tmp_path / "inside/harness", tmp_path / "groups/memory/cgroup.procs"):
        path.parent.mkdir(parents=True)
        path.write_text("x")
    thin = [
        bwrap, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net", "--die-with-parent",
        "--cap-add", "ALL",
        *("--tmpfs", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
        *(part for path in (*places, *walls.python_folders()) for part in ("--ro-bind", path, path)),
        *(part for target, link in links for part in ("--symlink", target, link)),
        *("--bind", f"{tmp_path}/inside", "/run/inside", "--bind", f"{tmp_path}/groups", "/sys/fs/cgroup"),
        *("--ro-bind", programs.__file__, "/attack.py", "--chdir", "/tmp"),
    ]  # fmt: skip
    command = [*thin, str(walls.interpreter()), "/attack.py"]
    told = {**facts, "pid": 1, "mounted": "/tmp"}
    assert said(command, name, told).startswith("GOT")
    if name == "change_the_harness":
        assert (tmp_path / "inside/harness").read_text() == "written by an attack"
    if name == "leave_control_group":
        assert (tmp_path / "groups/memory/cgroup.procs").read_text() == "0"


def test_a_parent_that_can_be_ended_is_ended(facts: dict[str, Any]) -> None:
    parent = ["/bin/sh", "-c", '"$@" & wait', "sh"]  # one that nobody misses
    assert said([*parent, sys.executable, programs.__file__], "kill_parent", facts).startswith("GOT")


def test_descriptors_that_were_forgotten_are_found(facts: dict[str, Any]) -> None:
    with tempfile.TemporaryFile() as file:
        command = [sys.executable, programs.__file__, "use_forgotten_descriptors", json.dumps(facts)]
        done = subprocess.run(command, capture_output=True, text=True, pass_fds=[file.fileno()], check=False)
    assert done.stdout == f"GOT [{file_number(done.stdout)}]\n"


def file_number(text: str) -> int:
    return int(text.split("[")[1].split("]")[0])


def test_what_was_left_is_found(facts: dict[str, Any], tmp_path: Path) -> None:
    command = [sys.executable, programs.__file__]
    try:
        assert said(command, "find_what_was_left", facts, tmp_path) == "denied: nothing was got"
        assert said(command, "leave_file", facts, tmp_path) == "denied: nothing was got"  # this one only leaves it
        assert said(command, "find_what_was_left", facts, tmp_path).startswith("GOT")
    finally:
        for place in ("/tmp", "/dev/shm", "/var/tmp", str(tmp_path), str(tmp_path.parent)):
            Path(place, facts["mark"]).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (lambda facts: facts["x"], "GOT y"),
        (lambda facts: "z" * 500, "GOT " + "z" * 80),
        (lambda facts: None, "denied: nothing was got"),
        (lambda facts: [], "denied: nothing was got"),
        (lambda facts: os.stat("/no"), "denied: FileNotFoundError: [Errno 2] No such file or directory: '/no"),
        (lambda facts: ()[1], "denied: IndexError: "),
    ],
)
def test_what_an_attack_got_is_told(
    does: Callable[[Any], object], says: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setitem(programs.ATTACKS, "one", does)
    monkeypatch.setattr(sys, "argv", ["programs.py", "one", '{"x": "y"}'])
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit):
        programs.main()
    assert capfd.readouterr().out.startswith(says)


def test_an_attack_with_a_mistake_is_not_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["programs.py", "read_secret_file", "{}"])
    with pytest.raises(KeyError):
        programs.main()
