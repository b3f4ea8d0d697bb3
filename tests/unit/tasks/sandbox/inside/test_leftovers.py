from __future__ import annotations

import os
from pathlib import Path

import pytest
from own_process import in_own_process

from spiritsafe.tasks.sandbox.inside import leftovers

USER = (1 << 29) + 8 * os.getpid()  # one that no other test is
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
IMPORT = "import os, signal, sys, threading, time\nfrom spiritsafe.tasks.sandbox.inside import kernel, leftovers\n"


def open_way_to(folder: Path) -> None:
    """Let other users through to it."""
    for parent in folder.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o001)


def test_all_that_was_left_is_ended_and_others_are_spared(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    others, left = in_own_process(f"""{IMPORT}
kernel.take_orphans()
def stay(depth):  # a chain of orphans and children in sessions of their own, deaf to what asks them to end
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    if depth and not os.fork():
        stay(depth - 1)
    os.write(waker, b"x")
    if depth % 2:
        os._exit(0)
    signal.pause()
    os._exit(0)
alive, living = os.pipe()  # held by those that are to end
awake, waker = os.pipe()
spared = os.fork()
if not spared:
    os.close(living)
    child = os.fork()
    if child:
        os.write(waker, b"x")
    signal.pause()
for _ in range(2):
    if not os.fork():
        stay(4)
os.close(living)
for _ in range(11):
    os.read(awake, 1)
leftovers.clear("{tmp_path}/run", spare=[spared])
others = leftovers._below(os.getpid(), spare=set())
say([len(others), len(os.read(alive, 1))])  # the end of it, once nobody holds the other one
for pid in others:
    os.kill(pid, 9)
""")
    assert left == 0
    assert others == 2  # the first process of the other run, and its child
    assert not (tmp_path / "run").exists()


def test_a_folder_goes_whatever_its_run_did_to_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    outside.chmod(0o710)
    run = tmp_path / "run"
    (run / "a/b/c").mkdir(parents=True)
    (run / "a/b/c/file").write_text("x")
    (run / "link").symlink_to(outside)
    (run / "a/file").symlink_to(outside / "file")
    os.mkfifo(run / "pipe")
    for place in (run / "a/b/c", run / "a/b", run / "a", run):
        place.chmod(0)
    open_way_to(tmp_path)
    said = in_own_process(f"""{IMPORT}
if os.geteuid() == 0:
    os.chown("{tmp_path}", {USER}, {USER})
    for place, folders, files in os.walk("{tmp_path}"):
        for name in (*folders, *files):
            os.lchown(os.path.join(place, name), {USER}, {USER})
    os.setgroups([])
    os.setresgid({USER}, {USER}, {USER})
    os.setresuid({USER}, {USER}, {USER})  # root would enter everywhere
leftovers.clear("{run}", spare=())
say(sorted(os.listdir("{tmp_path}")))
""")
    assert said == ["outside"]
    assert (outside / "file").read_text() == "x"
    assert outside.stat().st_mode & 0o777 == 0o710


def test_a_tree_deeper_than_stacks_and_paths_goes_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    place = os.open(run, os.O_RDONLY)
    for _ in range(3000):  # paths end at 4096 bytes
        os.mkdir("d" * 100, dir_fd=place)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=place))
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    leftovers.remove(str(run))
    assert os.listdir(tmp_path) == []


def test_what_nobody_can_count_is_too_much(tmp_path: Path) -> None:
    (tmp_path / "run").joinpath(*["d"] * 98).mkdir(parents=True)
    assert not leftovers.is_too_full(str(tmp_path / "run"), most_bytes=1 << 40, most_files=1000)
    (tmp_path / "run").joinpath(*["d"] * 100).mkdir(parents=True)
    assert leftovers.is_too_full(str(tmp_path / "run"), most_bytes=1 << 40, most_files=1000)
    descriptors = len(os.listdir("/proc/self/fd"))
    leftovers.is_too_full(str(tmp_path / "run"), most_bytes=1 << 40, most_files=1000)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    (tmp_path / "other/closed").mkdir(parents=True)
    (tmp_path / "other/closed").chmod(0)
    open_way_to(tmp_path)
    tmp_path.chmod(0o755)
    said = in_own_process(f"""{IMPORT}
if os.geteuid() == 0:
    os.chown("{tmp_path}/other/closed", {USER}, {USER})
    os.setresgid({USER}, {USER}, {USER})
    os.setresuid({USER}, {USER}, {USER})
say(leftovers.is_too_full("{tmp_path}/other", most_bytes=1 << 40, most_files=1000))
""")
    assert said is True


def test_bytes_and_files_are_counted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(os.urandom(1 << 20))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/loop").symlink_to(tmp_path)
    with open(tmp_path / "folder/holes", "wb") as file:
        file.truncate(1 << 40)  # takes no room
    folder = str(tmp_path)
    used = 2 << 20
    assert not leftovers.is_too_full(folder, most_bytes=used + (1 << 16), most_files=5)
    assert leftovers.is_too_full(folder, most_bytes=used - 1, most_files=5)
    assert leftovers.is_too_full(folder, most_bytes=1 << 50, most_files=4)
    assert not leftovers.is_too_full(str(tmp_path / "missing"), most_bytes=0, most_files=0)


@needs_root
def test_threads_of_a_user_are_counted_even_where_none_may_look() -> None:
    said = in_own_process(f"""{IMPORT}
say_before = leftovers.num_tasks({USER})
os.setresuid({USER}, {USER}, {USER})
for _ in range(2):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
kernel.set_dumpable(False)
say([say_before, leftovers.num_tasks({USER}), leftovers.num_tasks({USER + 1})])
""")
    assert said == [0, 3, 0]


@needs_root
def test_all_processes_of_a_user_are_ended_and_no_others() -> None:
    said = in_own_process(f"""{IMPORT}
awake, waker = os.pipe()
alive, living = os.pipe()
def start(user, depth):
    pid = os.fork()
    if not pid:
        os.setresuid(user, user, user)
        os.setsid()
        kernel.set_dumpable(depth % 2 == 0)
        if depth:
            start(user, depth - 1)
        if user == {USER + 3}:
            os.close(living)
        os.write(waker, b"x")
        signal.pause()
    return pid
start({USER + 2}, 3)
other = start({USER + 3}, 0)
for _ in range(5):
    os.read(awake, 1)
os.close(living)
leftovers.end_user({USER + 2})
say([len(os.read(alive, 1)), os.waitpid(other, os.WNOHANG)])
os.kill(other, 9)
""")
    assert said == [0, [0, 0]]


def test_a_folder_that_becomes_a_file_while_it_is_looked_at_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes there can swap the two again and again, and the server would end of it."""
    (tmp_path / "swapped").mkdir()
    (tmp_path / "other").write_bytes(bytes(1 << 16))
    opened = leftovers._opened

    def after_the_swap(folder: str, inside: int | None = None) -> int:
        if folder == "swapped":
            (tmp_path / "swapped").rmdir()
            (tmp_path / "swapped").write_text("x")
        return opened(folder, inside)

    monkeypatch.setattr(leftovers, "_opened", after_the_swap)
    assert not leftovers.is_too_full(str(tmp_path), most_bytes=1 << 20, most_files=2)
    assert leftovers.is_too_full(str(tmp_path), most_bytes=1 << 15, most_files=2)
    assert leftovers.is_too_full(str(tmp_path), most_bytes=1 << 20, most_files=1)
