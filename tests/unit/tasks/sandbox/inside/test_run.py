from __future__ import annotations

import json
import math
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.sandbox.inside import run as module
from spiritsafe.tasks.sandbox.inside.run import Setting, folder_of
from spiritsafe.tasks.sandbox.job import MOST_STEPS, Limits, Run, RunResult, RunStep

FACTS = """
import ctypes, json, os, resource, signal, struct
libc = ctypes.CDLL(None)
rights = ctypes.create_string_buffer(24)
libc.capget(struct.pack("<Ii", 0x20080522, 0), rights)
def is_open(number):
    try:
        return bool(os.fstat(number))
    except OSError:
        return False
print(json.dumps({
    "rights": sum(rights.raw), "bound": [libc.prctl(23, number, 0, 0, 0) for number in range(38)],
    "ambient": [libc.prctl(47, 1, number, 0, 0) for number in range(38)],
    "no new rights": libc.prctl(39, 0, 0, 0, 0), "filter": libc.prctl(21, 0, 0, 0, 0), "groups": os.getgroups(),
    "users": sorted({*os.getresuid(), *os.getresgid()}), "umask": os.umask(0),
    "leads": os.getsid(0) == os.getpid(), "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "ignored": [n for n in range(1, 32) if n not in (9, 19) and signal.getsignal(n) is signal.SIG_IGN],
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"},
    "descriptors": [number for number in range(1024) if is_open(number)],
}))
"""


def run_one(layer: str, **what: Any) -> RunResult:
    return sandbox_of(layer).run(Run(**what))


def facts(layer: str, limits: Limits, *, is_warm: bool) -> dict[str, Any]:
    """What a program finds itself in, in the warm interpreter or as a process of its own."""
    programs = "import sys, os; os.execv(sys.executable, [sys.executable, 'facts.py'])"
    step = RunStep(python="facts.py" if is_warm else "starts.py")
    result = run_one(layer, files={"facts.py": FACTS, "starts.py": programs}, steps=(step,), limits=limits)
    found: dict[str, Any] = json.loads(result.steps[0].text or result.steps[0].errors)
    return found


@every_layer
@pytest.mark.parametrize("is_warm", [True, False])
def test_a_step_has_no_rights_and_its_limits(layer: str, is_warm: bool) -> None:
    limits = Limits(cpu_s=2.3, memory_bytes=1 << 29, file_bytes=1 << 20, processes=9)
    found = facts(layer, limits, is_warm=is_warm)
    assert (found["rights"], {*found["bound"]}, {*found["ambient"]}) == (0, {0}, {0})
    assert (found["no new rights"], found["filter"]) == (1, 2)
    assert len(found["users"]) == 1
    if os.geteuid() == 0:
        assert found["users"][0] >= 1 << 30
        assert found["groups"] == []
        assert found["limits"]["RLIMIT_NPROC"] == [9 + module._OWN_PROCESSES] * 2
    assert (found["umask"], found["leads"], found["blocked"]) == (0o022, False, [])
    assert found["limits"]["RLIMIT_AS"] == [1 << 29] * 2
    assert found["limits"]["RLIMIT_FSIZE"] == [1 << 20] * 2
    assert found["limits"]["RLIMIT_CPU"] == [3, 4]
    for name in ("CORE", "MEMLOCK", "MSGQUEUE"):
        assert found["limits"][f"RLIMIT_{name}"] == [0, 0]
    assert found["descriptors"] == [0, 1, 2]
    assert found["ignored"] == [signal.SIGPIPE, signal.SIGXFSZ]  # as in any Python


@every_layer
def test_programs_that_are_no_python_ignore_no_signal(layer: str) -> None:
    result = run_one(layer, steps=(RunStep(argv=("/bin/sh", "-c", "yes | head -n 1; yes 2>&1 > full | cat")),))
    # `yes` that heard of the closed pipe, and not by signal, would say so
    assert result.steps[0].text == "y\n"
    assert "File size limit exceeded" in result.steps[0].errors
    assert "yes" not in result.steps[0].errors


@every_layer
@pytest.mark.parametrize("is_python", [True, False])
def test_the_environment_is_four_names_and_what_is_given(
    layer: str, is_python: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "hidden")
    step = RunStep(python="a.py") if is_python else RunStep(argv=("/usr/bin/env",))
    source = "import os\nfor name, value in os.environ.items(): print(f'{name}={value}')"
    result = run_one(layer, files={"a.py": source}, steps=(step,), environment={"OWN": "ü", "LANG": "C"})
    found = dict(line.split("=", 1) for line in result.steps[0].text.splitlines())
    home = found.pop("HOME")
    assert found == {"PATH": "/usr/bin:/bin", "TMPDIR": home, "LANG": "C", "OWN": "ü"}
    assert home == "/tmp" if layer == "namespaces" else home.startswith("/")


@every_layer
def test_home_can_be_written_to(layer: str) -> None:
    source = "import os, tempfile; open(os.environ['HOME'] + '/x', 'w'); print(tempfile.TemporaryFile().fileno() > 2)"
    result = run_one(layer, files={"a.py": source}, steps=(RunStep(python="a.py"),))
    assert result.steps[0].text == "True\n", result.steps[0].errors


@every_layer
def test_standard_input_is_whole_and_can_be_sought_in(layer: str) -> None:
    text = "grüße \ud800" + "x" * (1 << 20)
    source = (
        "import sys\ndata = sys.stdin.buffer.read()\nsys.stdin.buffer.seek(0)\nsys.stdout.buffer.write(data[:12])\n"
    )
    result = run_one(
        layer,
        files={"a.py": source + "print(len(data), len(sys.stdin.buffer.read()))"},
        steps=(
            RunStep(python="a.py", stdin=text),
            RunStep(argv=("/usr/bin/wc", "-c"), stdin=text),
            RunStep(argv=("/bin/cat",)),
        ),
    )
    size = len(text.encode("utf-8", "surrogatepass"))
    assert result.steps[0].out.startswith(text.encode("utf-8", "surrogatepass")[:12])
    assert result.steps[0].text.endswith(f"{size} {size}\n")
    assert result.steps[1].text == f"{size}\n"
    assert result.steps[2].out == b""


@every_layer
def test_later_steps_run_only_if_those_that_must_went_well(layer: str) -> None:
    fails, works = ("/bin/sh", "-c", "echo ran; exit 3"), ("/bin/sh", "-c", "echo ran")
    killed = ("/bin/sh", "-c", "echo ran; ulimit -t 1; while :; do :; done")
    for first, must, codes in (
        (works, True, [0, 0]),
        (fails, True, [3, None]),
        (fails, False, [3, 0]),
        (killed, True, [-9, None]),
        (killed, False, [-9, 0]),
        (("/no/such/program",), True, [125, None]),
        (("/no/such/program",), False, [125, 0]),
    ):
        result = run_one(layer, steps=(RunStep(argv=first, must=must), RunStep(argv=works)))
        found = [step.code for step in result.steps]
        assert found == codes or (first == killed and found == [-24, *codes[1:]]), first
        assert result.steps[1].text == ("ran\n" if codes[1] == 0 else "")
        assert result.stop is None


@every_layer
def test_a_program_that_is_missing_is_named(layer: str) -> None:
    result = run_one(layer, steps=(RunStep(argv=("/no/such/program",)),))
    assert "No such file" in result.steps[0].errors


@every_layer
def test_programs_are_found_by_name(layer: str) -> None:
    assert run_one(layer, steps=(RunStep(argv=("expr", "2", "+", "2")),)).steps[0].text == "4\n"


@every_layer
def test_steps_share_files_and_nothing_else(layer: str) -> None:
    leaves = """
import os, time
os.makedirs("made/here")
open("made/here/file", "w").write("left")
os.environ["LEFT"] = "x"
if not os.fork():
    os.setsid()
    for number in (0, 1, 2):
        os.close(number)
    while True:
        time.sleep(0.01)
        open("alive", "w").close()
"""
    looks = """
import os, time
print(open("made/here/file").read(), "LEFT" in os.environ)
if os.path.exists("alive"):
    os.unlink("alive")
time.sleep(0.2)
print(os.path.exists("alive"))
"""
    steps = (RunStep(python="leaves.py"), RunStep(python="looks.py"))
    result = run_one(layer, files={"leaves.py": leaves, "looks.py": looks}, steps=steps)
    alive = "False" if layer == "namespaces" else "True"  # there it is ended with its run
    assert result.steps[1].text == f"left False\n{alive}\n", result.steps[1].errors


@every_layer
def test_files_are_as_they_were_given(layer: str) -> None:
    every = bytes(range(256))
    files = {"a.bin": every, "deep/er/b": "ü\r\n\0\ud800", "empty": "", "c": b""}
    result = run_one(layer, files=files, steps=(RunStep(argv=("/bin/true",)),), collect=tuple(files))
    assert result.files == {
        name: text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass") for name, text in files.items()
    }


@every_layer
def test_what_is_collected_is_a_file_of_the_run(layer: str) -> None:
    source = f"""
import os
from contextlib import suppress
os.symlink("/etc/passwd", "link")
os.symlink("/proc/self/environ", "other")
with suppress(OSError):
    os.mkfifo("pipe")
os.mkdir("folder")
open("fits", "wb").write(bytes({module._MOST_FILE_BYTES}))
open("large", "wb").write(bytes({module._MOST_FILE_BYTES} + 1))
open("unreadable", "w").write("x")
os.chmod("unreadable", 0)
os.link("fits", "again")
"""
    wanted = (
        "link",
        "other",
        "pipe",
        "folder",
        "fits",
        "large",
        "unreadable",
        "again",
        "missing",
        "a.py/x",
        "/etc/passwd",
    )
    result = run_one(layer, files={"a.py": source}, steps=(RunStep(python="a.py"),), collect=wanted)
    assert result.steps[0].code == 0, result.steps[0].errors
    assert {name: len(data) for name, data in result.files.items()} == dict.fromkeys(
        ("fits", "again"), module._MOST_FILE_BYTES
    )


@every_layer
def test_files_are_collected_though_steps_failed(layer: str) -> None:
    steps = (RunStep(argv=("/bin/sh", "-c", "echo x > made; exit 1")), RunStep(argv=("/bin/true",)))
    assert run_one(layer, steps=steps, collect=("made",)).files == {"made": b"x\n"}


@every_layer
def test_many_large_files_that_are_wanted_lose_no_run(layer: str) -> None:
    """What runs may write any of them, and nothing would be known of it if all came back."""
    source = "for n in range(7):\n    open(f'{n}.txt', 'wb').write(b'x' * (8 << 20))"
    names = tuple(f"{n}.txt" for n in range(7))
    result = run_one(layer, files={"a.py": source}, steps=(RunStep(python="a.py"),), collect=names)
    assert result.has_ended_well, result.steps[0].errors
    assert {name: len(content) for name, content in result.files.items()} == dict.fromkeys(names[:4], 8 << 20)


def test_a_run_that_uses_up_memory_ends_alone() -> None:
    """The kernel would take the largest process, which is the server where all others are small."""
    sandbox = sandbox_of("namespaces")
    hoard = "for n in 1 2 3; do head -c 20000000 /dev/zero > $n; done"
    run = Run(steps=(RunStep(argv=("/bin/sh", "-c", hoard)),), limits=Limits(memory_bytes=1 << 26))
    result = sandbox.run(run)
    if not result.layer.endswith("+cgroup"):
        pytest.skip("no control group can be made here")
    assert result.stop == "memory"
    assert sandbox.run(Run(steps=(RunStep(argv=("/bin/true",)),))).has_ended_well


@every_layer
@pytest.mark.parametrize("read_only", [True, False])
def test_what_runs_cannot_have_the_kernel_spare_it(layer: str, read_only: bool) -> None:
    source = "path = '/proc/self/oom_score_adj'\nprint(open(path).read().strip())\nopen(path, 'w').write('0')"
    result = run_one(layer, files={"a.py": source}, steps=(RunStep(python="a.py"),), read_only=read_only)
    assert result.steps[0].text == ("1000\n" if layer == "namespaces" and not read_only else "")
    assert result.steps[0].code == 1


@every_layer
def test_a_run_can_have_the_most_steps(layer: str) -> None:
    steps = tuple(RunStep(argv=("/bin/cat",), stdin=str(number)) for number in range(MOST_STEPS))
    result = run_one(layer, steps=steps)
    assert [step.text for step in result.steps] == [str(number) for number in range(MOST_STEPS)]


@every_layer
def test_the_process_that_runs_steps_is_out_of_their_reach(layer: str) -> None:
    source = """
import os
parent = os.getppid()
for attempt in (
    lambda: os.listdir(f"/proc/{parent}/fd"), lambda: open(f"/proc/{parent}/mem", "rb"),
    lambda: open(f"/proc/{parent}/environ", "rb").read(), lambda: os.readlink(f"/proc/{parent}/root"),
):
    try:
        print("GOT", attempt())
    except OSError as error:
        print(error.errno in (1, 13))
try:
    os.kill(parent, 9)  # the first process of a namespace of processes hears only what it wants to
except OSError as error:
    pass
print("alive", os.getppid() == parent)
"""
    result = run_one(layer, files={"a.py": source}, steps=(RunStep(python="a.py"),))
    assert result.steps[0].text == "True\n" * 4 + "alive True\n", result.steps[0].errors
    assert result.steps[0].code == 0


def test_walls_that_cannot_be_made_are_a_failed_run_and_nothing_runs(tmp_path: Path) -> None:
    """In this process's own child: no folder can be made where the run's should be."""
    report, says = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    setting = Setting(has_namespaces=False, user=None, scratch=str(tmp_path / "missing"))
    pid = module.begin(setting, 1, [null, null, says, null, null], private=())
    os.close(says)
    assert os.waitpid(pid, 0)[1] == 0
    with os.fdopen(report, "rb") as file:
        (line,) = file.read().splitlines()
    os.close(null)
    assert json.loads(line)["failed"].startswith("FileNotFoundError: ")


def test_a_limit_is_never_raised() -> None:
    """What is inherited may be lower already."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert own == resource.RLIM_INFINITY or own >= 256
    pid = os.fork()
    if not pid:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        module._limit({"memory_bytes": 1 << 40, "file_bytes": 1000, "processes": 1 << 20, "cpu_s": math.pi})
        is_kept = resource.getrlimit(resource.RLIMIT_FSIZE) == (100, 100)
        os._exit(0 if is_kept and resource.getrlimit(resource.RLIMIT_CPU) == (4, 5) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_each_run_has_a_folder_of_its_own() -> None:
    setting = Setting(has_namespaces=False, user=None, scratch="/scratch")
    assert [folder_of(setting, number) for number in (1, 2)] == ["/scratch/1", "/scratch/2"]
