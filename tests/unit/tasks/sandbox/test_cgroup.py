from __future__ import annotations

import os
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
