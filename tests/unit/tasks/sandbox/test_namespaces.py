from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sandboxes import sandbox_of

from spiritsafe.tasks.sandbox import namespaces, walls
from spiritsafe.tasks.sandbox.job import Run, RunStep
from spiritsafe.tasks.sandbox.namespaces import open_box, shown_at
from spiritsafe.tasks.sandbox.walls import take_slot


def built(monkeypatch: pytest.MonkeyPatch, *, user: int, extra: tuple[str, ...] = ()) -> tuple[list[str], Any]:
    """The command and the setting of a box that this user would open."""
    seen: list[Any] = []

    def record(command: list[str], setting: dict[str, Any], **rest: Any) -> None:
        seen.extend((command, setting))

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(namespaces, "Box", record)
    open_box(3, extra)
    return seen[0], seen[1]


def options(command: list[str], name: str, num: int) -> list[tuple[str, ...]]:
    return [tuple(command[at + 1 : at + 1 + num]) for at, part in enumerate(command) if part == name]


@pytest.mark.parametrize("user", [0, 1000])
def test_walls_show_programs_and_libraries_only_and_to_read_only(user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    command, setting = built(monkeypatch, user=user)
    walls_end = command.index("--")
    wall = command[:walls_end]
    assert {part for part in wall if part.startswith("--") and "bind" in part} == {"--ro-bind"}
    shown = options(wall, "--ro-bind", 2)
    python = [(place, place) for place in walls.python_folders()]
    assert ("/usr", "/usr") in shown
    assert (str(walls.INSIDE), "/run/inside") in shown
    assert {*python} <= {*shown}
    hidden = {"/", "/etc", "/home", "/root", "/var", "/tmp", "/run", "/sys", "/proc", str(Path.home()), os.getcwd()}
    assert not hidden & {source for source, _ in shown}
    assert all(os.path.exists(source) for source, _ in shown)
    assert {"--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--clearenv"} <= {*wall}
    assert {"--die-with-parent", "--new-session"} <= {*wall}
    assert wall.index("--remount-ro") > max(at for at, part in enumerate(wall) if part == "--ro-bind")
    assert options(wall, "--remount-ro", 1) == [("/dev",), ("/",)]
    assert command[walls_end + 1 :] == [
        str(walls.interpreter()), "-I", "-S", "-B", "/run/inside/fork_server.py",
    ]  # fmt: skip
    assert setting["has_namespaces"] is True


def test_root_becomes_a_user_that_nobody_is_and_others_make_a_namespace_of_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command, setting = built(monkeypatch, user=0)
    assert "--unshare-user" not in command
    assert setting["user"] >= 1 << 30
    command, setting = built(monkeypatch, user=1000)
    assert command[command.index("--unshare-user") :][:5] == ["--unshare-user", "--uid", "0", "--gid", "0"]
    assert setting["user"] is None


def test_what_is_added_can_be_read_and_not_written_to() -> None:
    sandbox_of("namespaces")
    with TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        Path(folder, "given").write_text("given")
        source = f"""
import os
print(open("{folder}/given").read(), os.listdir("/var/tmp"))
for path in ("{folder}/given", "{folder}/new", "/var/tmp/new"):
    try:
        open(path, "w")
    except OSError as error:
        print(error.strerror in ("Read-only file system", "Permission denied"))
"""
        with closing(open_box(take_slot(), (folder,))) as box:
            (result,) = box.run([Run(files={"a.py": source}, steps=(RunStep(python="a.py"),))])
        assert result.steps[0].text == f"given {[Path(folder).name]}\nTrue\nTrue\nTrue\n", result.steps[0].errors
        assert os.listdir(folder) == ["given"]


def test_what_each_run_hides_is_shown_elsewhere() -> None:
    sandbox_of("namespaces")
    with TemporaryDirectory(dir="/tmp") as folder, TemporaryDirectory(dir="/var/tmp") as other:
        os.chmod(folder, 0o755)
        os.chmod(other, 0o755)
        Path(folder, "given").write_text("given")
        Path(other, "link").symlink_to(folder)
        added = (folder, f"{other}/link")
        assert [shown_at(path) for path in added] == [f"/run/outside{folder}", f"{other}/link"]
        source = f"""
import os
for folder in {[shown_at(path) for path in added]}:
    print(open(folder + "/given").read())
    try:
        open(folder + "/new", "w")
    except OSError as error:
        print(error.strerror in ("Read-only file system", "Permission denied"))
print(os.path.exists("{folder}"))
"""
        with closing(open_box(take_slot(), added)) as box:
            (result,) = box.run([Run(files={"a.py": source}, steps=(RunStep(python="a.py"),))])
        assert result.steps[0].text == "given\nTrue\ngiven\nTrue\nFalse\n", result.steps[0].errors
        assert os.listdir(folder) == ["given"]


def test_all_that_is_mounted_is_read_only_but_what_is_new_and_empty() -> None:
    source = """
import json, os
mounts = [line.split() for line in open("/proc/self/mounts")]
print(json.dumps([(place, kind, options.split(",")) for _, place, kind, options, *_ in mounts]))
print(json.dumps([os.listdir(place) for place in ("/", "/tmp", "/dev/shm", "/sys" if os.path.exists("/sys") else ".")]))
print(json.dumps([sorted(os.listdir("/proc/self/fd")), [name for name in os.listdir("/proc") if name.isdigit()]]))
"""
    (step,) = sandbox_of("namespaces").run(Run(files={"a.py": source}, steps=(RunStep(python="a.py"),))).steps
    mounts, folders, (descriptors, processes) = map(json.loads, step.text.splitlines())
    writable = {place for place, kind, its in mounts if "rw" in its and kind not in ("proc", "devpts")}
    # single devices of bubblewrap's are files, on which nothing can be made
    assert {place for place in writable if not place.startswith("/dev/")} == {"/tmp"}
    assert {place for place in writable if place.startswith("/dev/")} <= {
        f"/dev/{name}" for name in ("shm", "null", "zero", "full", "random", "urandom", "tty", "console")
    }
    for place, _, its in mounts:
        if place in ("/tmp", "/dev/shm"):
            assert {"nosuid", "nodev"} <= {*its}
    assert {*folders[0]} <= {"bin", "dev", "etc", "lib", "lib32", "lib64", "proc", "root", "run", "sbin", "tmp", "usr"}
    assert folders[1:3] == [["work"], []]
    assert len(descriptors) == 4  # in, out, errors, and that of the folder itself
    assert len(processes) == 2  # the first one, and this
