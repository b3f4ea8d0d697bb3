from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from sandboxes import sandbox_of

from spiritsafe.tasks.sandbox import landlock, walls
from spiritsafe.tasks.sandbox.box import Box
from spiritsafe.tasks.sandbox.inside import kernel
from spiritsafe.tasks.sandbox.job import Run, RunResult, RunStep
from spiritsafe.tasks.sandbox.landlock import open_box
from spiritsafe.tasks.sandbox.sandbox import Sandbox, SandboxFailure
from spiritsafe.tasks.sandbox.walls import take_slot

SYSTEMS = Path("/usr/bin/python3")


def ran(box: Box, source: str, **changes: Any) -> RunResult:
    (result,) = box.run([Run(files={"a.py": source}, steps=(RunStep(python="a.py"),), **changes)])
    return result


@pytest.fixture
def own_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where temporary folders are made, and nobody else's: other processes of this machine have boxes too."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # runs are other users
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", folder)
            yield


def scratch_folders() -> set[str]:
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("spiritsafe-sandbox-")}


def test_without_landlock_or_a_python_it_cannot_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "landlock_version", lambda: 0)
    assert landlock.why_not() == "this kernel has no Landlock"
    monkeypatch.setattr(kernel, "landlock_version", lambda: 1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(landlock, "_is_open", lambda path: False)
    assert landlock.why_not() == f"no Python here can be run by other users, {walls.interpreter()} not either"
    monkeypatch.setattr(landlock, "_is_open", lambda path: True)
    assert landlock.why_not() is None


def test_root_takes_a_python_that_others_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    own = walls.interpreter()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(landlock, "_is_open", lambda path: False)
    assert landlock._interpreter() == own  # it runs as whoever this is
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert landlock._interpreter() is None
    monkeypatch.setattr(landlock, "_is_open", lambda path: path == own)
    assert landlock._interpreter() == own
    if SYSTEMS.exists():
        monkeypatch.setattr(landlock, "_is_open", lambda path: path == SYSTEMS)
        assert landlock._interpreter() == SYSTEMS


def test_open_is_what_all_may_enter(tmp_path: Path) -> None:
    assert landlock._is_open(Path("/usr/bin/env"))
    closed = tmp_path / "closed" / "within"
    closed.mkdir(parents=True)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    closed.parent.chmod(0o755)
    assert landlock._is_open(closed / "python")
    closed.parent.chmod(0o754)
    assert not landlock._is_open(closed / "python")


def test_it_runs_with_the_systems_python_where_this_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_of("landlock")
    if os.geteuid() != 0 or not SYSTEMS.exists():
        pytest.skip("only root runs foreign code as another user, with /usr/bin/python3")
    monkeypatch.setattr(landlock, "_is_open", lambda path: path == SYSTEMS)
    source = "import os, sys; print(sys.executable, sys.prefix, os.getuid() >= 1 << 30)"
    with closing(open_box(take_slot())) as box:
        result = ran(box, source)
    assert result.steps[0].text == "/usr/bin/python3 /usr True\n", result.steps[0].errors


@pytest.mark.usefixtures("own_place")
def test_its_folder_is_there_for_the_box_and_no_longer() -> None:
    sandbox_of("landlock")
    before = scratch_folders()
    box = open_box(take_slot())
    with closing(box):
        (name,) = scratch_folders() - before
        folder = Path(tempfile.gettempdir(), name)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711
        source = f"""
import os
print(os.getcwd())
open("mine", "w").write("x")
os.mkdir("closed", 0)
os.chmod(".", 0)
for attempt in (lambda: os.listdir("{folder}"), lambda: open("{folder}/x", "w"), lambda: os.mkdir("../other")):
    try:
        attempt()
    except OSError as error:
        print(error.errno)
"""
        first, second = ran(box, source), ran(box, source)
        assert first.steps[0].text == f"{folder}/1\n13\n13\n13\n", first.steps[0].errors
        assert second.steps[0].text == f"{folder}/2\n13\n13\n13\n"
        assert os.listdir(folder) == []
    assert scratch_folders() == before


@pytest.mark.usefixtures("own_place")
def test_a_box_that_does_not_start_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_of("landlock")
    before = scratch_folders()
    monkeypatch.setattr(landlock, "interpreter", lambda: Path("/no/such/python"))
    monkeypatch.setattr(landlock, "_interpreter", lambda: Path("/no/such/python"))
    with pytest.raises(FileNotFoundError):
        open_box(take_slot())
    assert scratch_folders() == before


def test_what_a_run_leaves_is_ended_and_the_other_run_goes_on() -> None:
    sandbox_of("landlock")
    leaves = """
import os, signal, socket, sys, time
other = socket.socket(fileno=3)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
is_there, there = os.pipe()
if not os.fork():
    os.setsid()
    if not os.fork():
        os.close(1), os.close(2)
        other.send(b"x")
        os.write(there, b"x")
        time.sleep(600)
    os._exit(0)
os.wait()
os.read(is_there, 1)
"""
    # its peer's descriptor closes only when what was left has ended
    stays = "import socket\nother = socket.socket(fileno=3)\nprint(other.recv(9), other.recv(9))"
    with closing(open_box(take_slot())) as box:
        runs = [
            Run(files={"a.py": text}, steps=(RunStep(python="a.py", has_channel=True),)) for text in (leaves, stays)
        ]
        first, second = box.run(runs)
        server = psutil.Process(box._process.pid)
        assert server.children(recursive=True) == []
    assert (first.stop, first.steps[0].code) == (None, 0)
    assert (second.stop, second.steps[0].text) == (None, "b'x' b''\n")


def test_what_wrote_too_much_is_ended() -> None:
    sandbox_of("landlock")
    source = """
import time
for number in range(6):
    with open(f"part{number}", "wb") as file:
        file.write(bytes(20 << 20))
print("done", flush=True)
time.sleep(600)
"""
    with closing(open_box(take_slot())) as box:
        assert ran(box, source).stop == "scratch"


def test_devices_that_programs_need_are_there() -> None:
    source = 'for name in ("null", "zero", "urandom"): print(len(open(f"/dev/{name}", "rb").read(4)))'
    run = Run(files={"a.py": source}, steps=(RunStep(python="a.py"),))
    assert sandbox_of("landlock").run(run).steps[0].text == "0\n4\n4\n"


@pytest.mark.usefixtures("own_place")
def test_a_tree_without_end_ends_its_run_and_not_the_box() -> None:
    source = """
import os
while True:
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
"""
    before = scratch_folders()
    with closing(open_box(take_slot())) as box:
        result = ran(box, source)
        assert result.stop == "scratch"
        assert ran(box, "import os; print(os.listdir())").steps[0].text == "['a.py']\n"
        (name,) = scratch_folders() - before
        assert os.listdir(Path(tempfile.gettempdir(), name)) == []
    assert scratch_folders() == before


def test_what_the_other_user_cannot_reach_is_named(tmp_path: Path) -> None:
    sandbox_of("landlock")
    closed = tmp_path / "closed"
    (closed / "library").mkdir(parents=True)
    closed.chmod(0o700)
    extra = (str(closed / "library"),)
    with Sandbox(layer="landlock", extra=extra, num_boxes=1) as sandbox:
        run = Run(files={"a.py": f"import os; print(os.listdir({extra[0]!r}))"}, steps=(RunStep(python="a.py"),))
        if os.geteuid() != 0:  # there is no other user
            assert sandbox.run(run).steps[0].text == "[]\n"
            return
        taken = {*walls._taken}
        for _ in range(2):
            with pytest.raises(SandboxFailure, match=rf"cannot enter (/\S+) and so not read {extra[0]}") as raised:
                sandbox.run(run)
            folder = walls.closed_folder(Path(extra[0]))
            assert f"chmod o+x {folder})" in raised.value.hint
        assert {*walls._taken} == taken


def test_a_box_that_has_no_folder_takes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_of("landlock")

    def full(**_: Any) -> str:
        raise OSError(28, "No space left on device")

    taken = {*walls._taken}
    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with Sandbox(layer="landlock", num_boxes=1) as sandbox, pytest.raises(SandboxFailure, match="No space left"):
        sandbox.run(Run(files={"a.py": ""}, steps=(RunStep(python="a.py"),)))
    assert {*walls._taken} == taken
