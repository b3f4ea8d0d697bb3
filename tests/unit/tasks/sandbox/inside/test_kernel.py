from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest
from own_process import in_own_process

from spiritsafe.tasks.sandbox.inside import kernel

HEADERS = Path("/usr/include/linux")
NUMBERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")
needs_landlock = pytest.mark.skipif(not kernel.landlock_version(), reason="this kernel has no Landlock")
IMPORT = "import os\nfrom spiritsafe.tasks.sandbox.inside import kernel\n"


def defined(header: str) -> dict[str, int]:
    """The constants of a header of the kernel's."""
    path = HEADERS / header
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    text = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
    lines = re.findall(r"^\s*#\s*define\s+(\w+)\s+(.+?)\s*$|^\s*(MS_\w+)\s*=\s*(\w+)", text, flags=re.MULTILINE)
    found = {}
    for name, value, *_ in lines:
        value = re.sub(r"\bU?LL?\b|(?<=\d)U?LL?\b", "", value)
        if re.fullmatch(r"[\dxa-fA-F() <|]+", value):
            found[name] = int(eval(re.sub(r"\b0(\d+)", r"0o\1", value)))
    return found


def test_flags_are_those_of_the_kernels_headers() -> None:
    clones = defined("sched.h")
    flags = kernel.NEW_MOUNTS, kernel.NEW_PIDS, kernel.NEW_IPC
    assert flags == tuple(clones[f"CLONE_NEW{kind}"] for kind in ("NS", "PID", "IPC"))
    mounts = defined("mount.h")
    flags = kernel.NO_SUID, kernel.NO_DEVICES, kernel.NO_EXEC, kernel._PRIVATE, kernel._RECURSIVE
    assert flags == tuple(mounts[f"MS_{name}"] for name in ("NOSUID", "NODEV", "NOEXEC", "PRIVATE", "REC"))


def test_options_of_processes_are_those_of_the_kernels_headers() -> None:
    known = defined("prctl.h")
    for own, name in (
        (kernel._SET_DEATH_SIGNAL, "SET_PDEATHSIG"),
        (kernel._SET_DUMPABLE, "SET_DUMPABLE"),
        (kernel._SET_SECCOMP, "SET_SECCOMP"),
        (kernel._DROP_BOUND, "CAPBSET_DROP"),
        (kernel._SET_NO_NEW_PRIVILEGES, "SET_NO_NEW_PRIVS"),
        (kernel._AMBIENT, "CAP_AMBIENT"),
        (kernel._AMBIENT_CLEAR, "CAP_AMBIENT_CLEAR_ALL"),
        (kernel._SUBREAPER, "SET_CHILD_SUBREAPER"),
    ):
        assert own == known[f"PR_{name}"], name
    assert defined("capability.h")["_LINUX_CAPABILITY_VERSION_3"] == kernel._CAPABILITIES_3


def test_rights_are_those_of_the_kernels_headers() -> None:
    known = defined("landlock.h")
    files = {name.removeprefix("LANDLOCK_ACCESS_FS_"): bit for name, bit in known.items() if "ACCESS_FS" in name}
    assert files["EXECUTE"] | files["READ_FILE"] | files["READ_DIR"] == kernel._READ
    since = {2: ["REFER"], 3: ["TRUNCATE"], 5: ["IOCTL_DEV"]}
    for version, names in since.items():
        if all(name in files for name in names):
            assert sum(files[name] for name in names) == kernel._BY_VERSION[version]
    later = {name for names in since.values() for name in names}
    first = sum(bit for name, bit in files.items() if name not in later and bit < 1 << 13)
    assert first == kernel._BY_VERSION[1]
    ports = [bit for name, bit in known.items() if "ACCESS_NET" in name]
    assert not ports or sum(ports[:2]) == kernel._NETWORK
    scopes = [bit for name, bit in known.items() if "LANDLOCK_SCOPE" in name]
    assert not scopes or sum(scopes) == kernel._SCOPES


@pytest.mark.parametrize("processor", kernel._NUMBERS)
def test_numbers_are_those_of_the_kernels_headers(processor: str) -> None:
    if not NUMBERS[processor].exists():
        pytest.skip(f"{NUMBERS[processor]} is not installed")
    text = NUMBERS[processor].read_text("ascii")
    names = ("capset", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
    known = tuple(int(re.search(rf"#define __NR_{name}\s+(\d+)", text)[1]) for name in names)  # type: ignore[index]
    assert kernel._NUMBERS[processor] == known


def test_the_end_of_the_parent_is_the_end() -> None:
    heard = in_own_process(f"""{IMPORT}
import signal
awake, waker = os.pipe()
ready, readier = os.pipe()
parent = os.fork()
if not parent:
    if not os.fork():
        kernel.die_with_parent()
        os.write(readier, b"x")
        signal.pause()
    os.read(ready, 1)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(parent, 0)
os.close(waker)
say(len(os.read(awake, 1)))  # it can be read to its end once nobody holds the other one
""")
    assert heard == 0


def test_orphans_become_children() -> None:
    own, adopted = in_own_process(f"""{IMPORT}
kernel.take_orphans()
awake, waker = os.pipe()
if not os.fork():
    if not os.fork():
        os.read(awake, 1)
        os.write(1, b"[%d, " % os.getppid())
        os._exit(0)
    os._exit(0)
os.wait()
os.write(waker, b"x")
os.wait()
os.write(1, b"%d]" % os.getpid())
""")
    assert own == adopted


@needs_root
def test_rights_are_given_up_for_good() -> None:
    before, after = in_own_process(f"""{IMPORT}
def facts():
    lines = dict(line.split(":\\t") for line in open("/proc/self/status") if ":\\t" in line)
    return {{name: lines[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")}}
before = facts()
kernel.drop_capabilities()
kernel.forget_capabilities()
say([before, facts()])
""")
    assert int(before["CapEff"], 16) > 0
    assert after.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in after.values()} == {0}


def test_what_the_kernel_refuses_is_an_error_that_names_the_call() -> None:
    said = in_own_process(f"""{IMPORT}
import errno
kernel.drop_capabilities()
kernel.forget_capabilities()
said = []
for call in (lambda: kernel.mount("tmpfs", "/tmp"), kernel.keep_mounts_private,
             lambda: kernel.unshare(kernel.NEW_MOUNTS), lambda: kernel.restrict_calls(b"")):
    try:
        call()
    except OSError as error:
        said.append([errno.errorcode[error.errno], str(error).split("]")[1].split(":")[0].strip()])
say(said)
""")
    assert said == [["EPERM", "mount"], ["EPERM", "mount"], ["EPERM", "unshare"], ["EINVAL", "prctl"]]


def test_others_may_look_into_a_process_or_not() -> None:
    source = f"{IMPORT}import ctypes\nlook = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
    said = in_own_process(f"""{source}
said = [look()]
for is_dumpable in (False, True):
    kernel.set_dumpable(is_dumpable)
    said.append(look())
say(said)
""")
    assert said == [1, 0, 1]


@needs_root
def test_every_child_is_the_first_of_its_own_namespace() -> None:
    said = in_own_process(f"""{IMPORT}
said = []
for number in range(3):
    awake, waker = os.pipe()
    kernel.make_pid_namespace()
    child = os.fork()
    if not child:
        os.write(waker, b"%d" % os.getpid())
        os._exit(0)
    os.waitpid(child, 0)
    said.append(int(os.read(awake, 9)))
say(said)
""")
    assert said == [1, 1, 1]


@needs_root
def test_mounts_show_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    inside = in_own_process(f"""{IMPORT}
kernel.unshare(kernel.NEW_MOUNTS | kernel.NEW_IPC)
kernel.keep_mounts_private()
kernel.mount("tmpfs", "{tmp_path}", kernel.NO_SUID | kernel.NO_DEVICES | kernel.NO_EXEC, "size=65536,nr_inodes=3")
said = [os.listdir("{tmp_path}"), [line.split()[3] for line in open("/proc/self/mounts") if "{tmp_path}" in line]]
open("{tmp_path}/inside", "w").close()
for name, size in (("inside", 1 << 17), ("second", 0), ("third", 0)):
    try:
        with open("{tmp_path}/" + name, "w") as file:
            file.write("x" * size)
    except OSError as error:
        said.append(name)
say(said)
""")
    assert inside[0] == []
    assert {"nosuid", "nodev", "noexec"} <= {*inside[1][0].split(",")}
    assert inside[2:] == ["inside", "third"]  # too long, too many
    assert os.listdir(tmp_path) == ["outside"]


@needs_landlock
def test_landlock_holds_a_process_and_its_children_to_folders(tmp_path: Path) -> None:
    for name in ("read", "write", "hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    said = in_own_process(f"""{IMPORT}
import errno
os.chdir("{tmp_path}")
kernel.restrict_files(["read", "/dev/null"], ["write"])
if os.fork():
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
said = {{}}
for name, call in (
    ("read", lambda: open("read/file").read()), ("list", lambda: os.listdir("read")),
    ("change", lambda: open("read/file", "w")), ("add", lambda: open("read/new", "w")),
    ("remove", lambda: os.unlink("read/file")), ("cut", lambda: os.truncate("read/file", 0)),
    ("hidden", lambda: open("hidden/file")), ("hidden list", lambda: os.listdir("hidden")),
    ("back", lambda: open("write/../hidden/file")), ("device", lambda: open("/dev/null").read()),
    ("own", lambda: open("write/file").read()), ("own add", lambda: os.mkdir("write/new")),
    ("own remove", lambda: os.unlink("write/file")), ("link", lambda: os.link("read/file", "write/link")),
):
    try:
        said[name] = str(call())
    except OSError as error:
        said[name] = errno.errorcode[error.errno]
say(said)
""")
    assert said.pop("link") in ("EACCES", "EXDEV")
    if kernel.landlock_version() < 3:
        del said["cut"]  # until then it was not Landlock's
    assert said == {
        "read": "read", "list": "['file']", "hidden list": "EACCES", "device": "", "own": "write",
        "own add": "None", "own remove": "None",
        **dict.fromkeys({"change", "add", "remove", "cut", "hidden", "back"} & said.keys(), "EACCES"),
    }  # fmt: skip


@pytest.mark.skipif(kernel.landlock_version() < 6, reason="this kernel's Landlock knows no signals")
def test_landlock_keeps_signals_and_nameless_sockets_within(tmp_path: Path) -> None:
    said = in_own_process(f"""{IMPORT}
import signal, socket
server = socket.socket(socket.AF_UNIX)
server.bind("\\0spiritsafe-test-%d" % os.getpid())
server.listen()
outside = os.fork()
if not outside:
    signal.pause()
if not os.fork():
    kernel.restrict_files([], ["{tmp_path}"])
    said = []
    for call in (lambda: os.kill(outside, 0), lambda: socket.socket(socket.AF_UNIX).connect(server.getsockname())):
        try:
            call()
        except OSError as error:
            said.append(error.errno)
    say(said)
    os._exit(0)
os.wait()
os.kill(outside, 9)
os.wait()
""")
    assert said == [1, 1]


def test_a_filter_holds_a_process_and_its_children() -> None:
    processor = platform.machine()
    said = in_own_process(f"""{IMPORT}
from spiritsafe.tasks.sandbox.inside import seccomp
kernel.drop_capabilities()
kernel.restrict_calls(seccomp.filter_program("{processor}", has_namespaces=False))
if os.fork():
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
try:
    os.kill(os.getppid(), 0)
except PermissionError as error:
    say(error.errno)
""")
    assert said == 1


def test_landlock_of_another_kernel_or_processor_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert kernel.landlock_version() == 0
