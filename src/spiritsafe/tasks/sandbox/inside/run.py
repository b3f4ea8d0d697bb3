"""One run in a sandbox: its own namespaces, limits and files; its steps, one after the other.

In: descriptors, in this order: what is to be done, as JSON; the channel to another run, or nothing; where the report
goes; standard output and error of each step. Out: the report, one JSON object a line: ``{"ready": true}``, for
each step ``{"step": i, "code": n, "cpu_s": x, "memory_bytes": b}``, at last ``{"files": {…}}``; or
``{"failed": "…"}``: the sandbox could not be made, and nothing ran.

The first process of a run makes its walls, forks the steps and runs nothing foreign itself. Steps reach neither its
descriptors nor its memory.
"""

from __future__ import annotations

import base64
import fcntl
import json
import math
import os
import platform
import resource
import signal
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from spiritsafe.tasks.sandbox.inside import kernel, leftovers, python_file, seccomp

_WORK = "/tmp/work"
_PLACES = {
    "/tmp": kernel.NO_SUID | kernel.NO_DEVICES,
    "/dev/shm": kernel.NO_SUID | kernel.NO_DEVICES | kernel.NO_EXEC,
}
"""Where there are namespaces: what can be written to, and how it is mounted."""
_CHANNEL = 3
"""Number of the descriptor."""
_MOST_FILE_BYTES, _MOST_COLLECTED_BYTES = 8 << 20, 32 << 20
"""Of a file that is wanted, and of all of them: what is too large for the report would lose the run."""
_OWN_PROCESSES = 4
"""Of the sandbox, which the kernel counts as the run's."""
_SPARED_LEAST = "1000"
"""What the kernel is told of processes that it shall end before all others where memory is used up."""


@dataclass
class Setting:
    """What the sandbox is made of here.

    Attributes:
        has_namespaces: Runs get namespaces of their own; else Landlock holds them.
        user: Number of the user that runs are; None: they cannot be another one than this process.
        scratch: Where there are no namespaces: the folder below which each run has one that it may write to.
        readable: Where there are no namespaces: folders and files that runs may read.
        scratch_bytes: What a run may write in all.
        scratch_files: How many files and folders.
        doors: Descriptors of control groups; whoever writes 0 to them is inside.
    """

    has_namespaces: bool
    user: int | None
    scratch: str = ""
    readable: list[str] = field(default_factory=list)
    scratch_bytes: int = 64 << 20
    scratch_files: int = 8192
    doors: list[int] = field(default_factory=list)


def begin(setting: Setting, number: int, descriptors: list[int], *, private: tuple[int, ...]) -> int:
    """Fork the first process of a run; its number, which ends when all of the run has."""
    if setting.has_namespaces:
        kernel.make_pid_namespace()
    first = os.fork()
    if first:
        return first
    report = descriptors[2]
    try:
        kernel.die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for descriptor in private:
            os.close(descriptor)
        _be_ended_first()
        if setting.has_namespaces:
            kernel.unshare(kernel.NEW_MOUNTS | kernel.NEW_IPC)
            work = _make_places(setting)
        else:
            work = _make_folder(setting, number)
        _first_process(setting, work, descriptors)
    except BaseException as error:  # noqa: BLE001  the boundary of the process: what it says is all that is known of it
        _say(report, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def _be_ended_first() -> None:
    """Where memory is used up, the run ends and not the server, which may be larger."""
    kernel.set_dumpable(True)  # else what tells of this process belongs to root
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(_SPARED_LEAST)
    kernel.set_dumpable(False)


def _make_places(setting: Setting) -> str:
    """New and empty: where files may be written, and what tells of processes."""
    kernel.keep_mounts_private()
    room = f"size={setting.scratch_bytes},nr_inodes={setting.scratch_files},mode=1777"
    for place, flags in _PLACES.items():
        kernel.mount("tmpfs", place, flags, room)
    kernel.mount("proc", "/proc", kernel.NO_SUID | kernel.NO_DEVICES | kernel.NO_EXEC | kernel.READ_ONLY)
    os.mkdir(_WORK, 0o777)
    os.chmod(_WORK, 0o777)
    return _WORK


def _make_folder(setting: Setting, number: int) -> str:
    kernel.take_orphans()
    work = folder_of(setting, number)
    os.mkdir(work, 0o700)
    if setting.user is not None:
        os.chown(work, setting.user, setting.user)
    return work


def folder_of(setting: Setting, number: int) -> str:
    """Where there are no namespaces: the folder of a run."""
    return os.path.join(setting.scratch, str(number))


def _say(report: int, message: dict[str, Any]) -> None:
    line = json.dumps(message).encode("ascii") + b"\n"
    while line:
        line = line[os.write(report, line) :]


def _in_memory(text: str) -> int:
    """A descriptor from which a text can be read."""
    place = os.memfd_create("in")
    rest = text.encode("utf-8", "surrogatepass")
    while rest:
        rest = rest[os.write(place, rest) :]
    os.lseek(place, 0, os.SEEK_SET)
    return place


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts)


def _first_process(setting: Setting, work: str, descriptors: list[int]) -> None:
    task, channel, report, *outputs = descriptors
    job = json.loads(_read_all(task))
    os.umask(0o022)
    is_user_shared = not setting.has_namespaces and setting.user is None
    job["limits"]["processes"] += _OWN_PROCESSES + (leftovers.num_tasks(os.getuid()) if is_user_shared else 0)
    os.chdir(work)
    if job["read_only"] and setting.has_namespaces:
        _write_files(job["files"])
        for folder, flags in _PLACES.items():
            kernel.forbid_writing(folder, flags)
        # what tells of processes would let one that ends tell a later one something
        kernel.mount("tmpfs", "/proc", kernel.NO_SUID | kernel.NO_DEVICES | kernel.NO_EXEC, "size=4096,nr_inodes=1")
    _become_nobody(setting)
    if job["read_only"] and not setting.has_namespaces:
        _write_files(job["files"])
        kernel.restrict_files([*setting.readable, work], [os.devnull])
    elif not setting.has_namespaces:
        kernel.restrict_files(setting.readable, [work, os.devnull])
    inputs = [_in_memory(step["stdin"]) for step in job["steps"]]  # the filter refuses such files
    calls = seccomp.filter_program(
        platform.machine(), has_namespaces=setting.has_namespaces, leaves_nothing=job["read_only"]
    )
    kernel.restrict_calls(calls)
    kernel.set_dumpable(False)
    home = os.path.dirname(work) if setting.has_namespaces else work
    environment = {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", **job["environment"]}
    if not job["read_only"]:
        _write_files(job["files"])
    _say(report, {"ready": True})
    for place, step in enumerate(job["steps"]):
        output, errors = outputs[2 * place : 2 * place + 2]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        pid = os.fork()
        if not pid:
            _run_step(step, job["limits"], environment, (inputs[place], output, errors, channel))
        for descriptor in (inputs[place], output, errors):
            os.close(descriptor)
        code, memory_bytes = _wait_for(pid, is_alone=setting.has_namespaces)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        _say(report, {"step": place, "code": code, "cpu_s": cpu_s, "memory_bytes": memory_bytes})
        if code != 0 and step["must"]:
            break
    for descriptor in outputs[2 * (place + 1) :]:
        os.close(descriptor)
    _say(report, {"files": _collected(job["collect"])})


def _become_nobody(setting: Setting) -> None:
    kernel.drop_capabilities()
    if setting.user is not None:
        os.setgroups([])
        os.setresgid(setting.user, setting.user, setting.user)
        os.setresuid(setting.user, setting.user, setting.user)
    kernel.forget_capabilities()
    kernel.die_with_parent()  # which becoming another user undid


def _write_files(files: dict[str, Any]) -> None:
    for name, content in files.items():
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        is_text = isinstance(content, str)
        with open(name, "wb") as file:
            file.write(content.encode("utf-8", "surrogatepass") if is_text else base64.b64decode(content["base64"]))
            os.fchmod(file.fileno(), 0o755)  # a program that an earlier run compiled can be one of them


def _wait_for(pid: int, *, is_alone: bool) -> tuple[int, int]:
    """How a step ended.

    Args:
        is_alone: Nobody else is in this namespace: whatever the step left is ended. Without one, what it left is ended
            with the run, by the fork server.
    """
    _, status, used = os.wait4(pid, 0)
    with suppress(ChildProcessError):
        while is_alone:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            os.waitpid(-1, 0)
    return os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024


def _limit(limits: dict[str, Any]) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    seconds = max(1, math.ceil(limits["cpu_s"]))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU says what it was; then SIGKILL


def _run_step(
    step: dict[str, Any], limits: dict[str, Any], environment: dict[str, str], descriptors: tuple[int, ...]
) -> None:
    """In a step's process, whose first descriptors these become: never returns."""
    code = 125
    try:
        kernel.die_with_parent()
        out_of_the_way = [fcntl.fcntl(one, fcntl.F_DUPFD, _CHANNEL + 1) for one in descriptors]
        for place, one in enumerate(out_of_the_way):
            os.dup2(one, place)
        os.closerange(_CHANNEL + step["channel"], 1 << 16)
        _limit(limits)
        if "argv" in step:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python, and nobody else, ignores
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execvpe(step["argv"][0], step["argv"], environment)
        os.environ.clear()
        os.environ.update(environment)
        kernel.set_dumpable(True)
        code = python_file.run_file(step["python"], step["arguments"])
    except OSError as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(code)


def _collected(names: list[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    left = _MOST_COLLECTED_BYTES
    for name in names:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        facts = os.fstat(descriptor)
        if stat.S_ISREG(facts.st_mode) and facts.st_size <= min(_MOST_FILE_BYTES, left):
            left -= facts.st_size
            files[name] = base64.b64encode(_read_all(descriptor)).decode("ascii")
        else:
            os.close(descriptor)
    return files
