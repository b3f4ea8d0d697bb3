from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from spiritsafe.tasks.sandbox import cgroup


def folders_of_version(root: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A file system of control groups that is none: files appear with each folder, as the kernel makes them."""
    monkeypatch.setattr(cgroup, "_ROOT", root)
    if version == 2:
        lines, parents = ["0::/user/me"], [root / "user/me"]
    else:
        lines, parents = ["4:memory:/me", "3:cpu,pids:/", "0::/"], [root / "memory/me", root / "pids"]
    monkeypatch.setattr(cgroup, "_own_groups", lambda: lines)
    for parent in parents:
        parent.mkdir(parents=True)
    original = Path.mkdir

    def mkdir(path: Path, *args: object, **options: object) -> None:
        original(path)
        if path.parent not in parents:
            return
        for name in ("cgroup.procs", "memory.max", "pids.max", "memory.limit_in_bytes"):
            (path / name).touch()
        (path / "memory.events").write_text("low 0\noom 4\noom_kill 2\n")
        (path / "memory.oom_control").write_text("under_oom 0\noom_kill 3\n")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return parents


@pytest.mark.parametrize(("version", "kills"), [(1, 3), (2, 2)])
def test_both_versions_are_limited_and_entered(
    version: int, kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = folders_of_version(tmp_path, version, monkeypatch)
    group = cgroup.make_group("one")
    assert group is not None
    assert group.version == version
    group.limit(1 << 28, 12)
    memory, processes = parents[0] / "one", parents[-1] / "one"
    assert (memory / ("memory.max" if version == 2 else "memory.limit_in_bytes")).read_text() == str(1 << 28)
    assert (processes / "pids.max").read_text() == "12"
    assert group.times_out_of_memory() == kills
    doors = group.doors()
    assert len(doors) == len(parents)
    for door in doors:
        os.write(door, b"0")
        os.close(door)
    assert [(parent / "one/cgroup.procs").read_text() for parent in parents] == ["0"] * len(parents)


def test_where_none_can_be_made_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path / "missing")
    assert cgroup.make_group("one") is None
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path)
    monkeypatch.setattr(cgroup, "_own_groups", lambda: ["0::/"])
    assert cgroup.make_group("one") is None  # a folder without the kernel's files
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(cgroup, "_own_groups", list)
    assert cgroup.make_group("one") is None


def test_a_group_of_this_machine_is_gone_when_it_is_removed() -> None:
    group = cgroup.make_group(f"spiritsafe-test-{os.getpid()}")
    if group is None:
        pytest.skip("this user may not make control groups here")
    folders = {group._memory, group._processes}
    assert all(folder.is_dir() for folder in folders)
    group.remove()
    assert not any(folder.exists() for folder in folders)


def test_what_is_left_in_a_group_is_ended_with_it() -> None:
    group = cgroup.make_group(f"spiritsafe-test-left-{os.getpid()}")
    if group is None:
        pytest.skip("this user may not make control groups here")
    left = subprocess.Popen(["/bin/sleep", "600"])
    for folder in {group._memory, group._processes}:
        (folder / "cgroup.procs").write_text(str(left.pid))
    group.remove()
    assert left.wait(60) == -9
    assert not any(folder.exists() for folder in {group._memory, group._processes})


def test_a_process_without_a_number_here_is_not_signalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, number: int) -> None:
        signalled.append(pid)

    signalled: list[int] = []
    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(cgroup, "_PATIENCE_S", 0.01)
    (tmp_path / "cgroup.procs").write_text("0\n4194300\n0\n")  # 0 would be this test and all that started it
    cgroup.ControlGroup(2, tmp_path, tmp_path).remove()
    assert {*signalled} == {4194300}


def test_a_group_that_is_not_there_is_not_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rmdir", refuse)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    cgroup.ControlGroup(2, tmp_path / "none", tmp_path / "none").remove()
