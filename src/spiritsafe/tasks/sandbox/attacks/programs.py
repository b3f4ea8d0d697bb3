"""Attacks: each a function that tries one thing that foreign code must not be able to do.

``python programs.py NAME FACTS`` runs one where it stands. In: facts of the machine outside, as JSON: a secret file, a
process, ports and sockets that await visitors. Out: ``GOT`` and what was got, if the attack succeeded. It stands on
Python's own library alone, since it is handed into the sandbox as a file.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

try:
    import resource
except ImportError:  # nothing below is reached there
    resource = None  # type: ignore[assignment]

AttackFacts = dict[str, Any]
ATTACKS: dict[str, Callable[[AttackFacts], object]] = {}
_LIBC = ctypes.CDLL(None, use_errno=True)


def attack(function: Callable[[AttackFacts], object]) -> Callable[[AttackFacts], object]:
    """Add it to the list; its docstring is what it tries."""
    ATTACKS[function.__name__] = function
    return function


def _read(path: str, size: int = 4096) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)


def _write(path: str) -> str:
    with open(path, "wb") as file:
        file.write(b"written by an attack")
    return path


def _secret_in(data: bytes, facts: AttackFacts) -> bool:
    return facts["secret"].encode() in data


def _syscall(number: int, *arguments: Any) -> int:
    """The result of a system call of this processor; raises where it is refused."""
    result: int = _LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _call(x86_64: int, aarch64: int, *arguments: Any) -> int:
    return _syscall(x86_64 if os.uname().machine == "x86_64" else aarch64, *arguments)


def _pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


# files


@attack
def read_secret_file(facts: AttackFacts) -> object:
    """Read a file of the user's."""
    return _secret_in(_read(facts["file"]), facts)


@attack
def read_accounts(facts: AttackFacts) -> object:
    """Read /etc/passwd."""
    return _read("/etc/passwd")


@attack
def list_homes(facts: AttackFacts) -> object:
    """List the folders of users."""
    return [name for place in ("/home", facts["home"]) for name in os.listdir(place) if name != ".pyenv"]


@attack
def read_grader(facts: AttackFacts) -> object:
    """Read the grader's own source."""
    return _read(facts["grader"])


@attack
def follow_processes_root(facts: AttackFacts) -> object:
    """Reach files through another process's root."""
    return any(_secret_in(_read(f"/proc/{pid}/root{facts['file']}"), facts) for pid in (facts["pid"], os.getppid()))


@attack
def write_to_system(facts: AttackFacts) -> object:
    """Write to /usr."""
    return _write("/usr/attack")


@attack
def write_to_root(facts: AttackFacts) -> object:
    """Write to /."""
    return _write("/attack")


@attack
def write_to_devices(facts: AttackFacts) -> object:
    """Write to /dev."""
    return _write("/dev/attack")


@attack
def write_beside(facts: AttackFacts) -> object:
    """Write to a folder outside."""
    return _write(os.path.join(facts["folder"], "attack"))


@attack
def change_the_harness(facts: AttackFacts) -> object:
    """Overwrite what started this program."""
    return [_write(f"/run/inside/{name}") for name in os.listdir("/run/inside")]


@attack
def open_disks(facts: AttackFacts) -> object:
    """Read the disk or the memory as a device."""
    for name in ("/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/mem", "/dev/kmsg"):
        with suppress(OSError):
            return _read(name, 512)
    return None


@attack
def make_device(facts: AttackFacts) -> object:
    """Make a device of its own for the disk."""
    os.mknod("disk", 0o600 | 0o060000, os.makedev(254, 0))
    return _read("disk", 512)


@attack
def set_kernel_switch(facts: AttackFacts) -> object:
    """Change a setting of the kernel."""
    return [_write(f"/proc/sys/kernel/{name}") for name in ("core_pattern", "hostname")]


@attack
def leave_control_group(facts: AttackFacts) -> object:
    """Leave its control group."""
    places = [place for place, _, names in os.walk("/sys/fs/cgroup") if "cgroup.procs" in names]
    with open(os.path.join(places[0], "cgroup.procs"), "w", encoding="ascii") as file:
        file.write("0")
    return places[0]


# network and sockets


def _connect(family: int, kind: int, address: Any) -> object:
    with socket.socket(family, kind) as visitor:
        visitor.settimeout(2.0)
        visitor.connect(address)
        return visitor.recv(100) if kind == socket.SOCK_STREAM else None


@attack
def connect_by_tcp(facts: AttackFacts) -> object:
    """Connect to a server of this machine."""
    return _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", facts["port"]))


@attack
def send_by_udp(facts: AttackFacts) -> object:
    """Send a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"attack", ("127.0.0.1", facts["port"]))


@attack
def send_by_ipv6(facts: AttackFacts) -> object:
    """Send a datagram by IPv6."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"attack", ("::1", facts["port"]))


@attack
def listen_for_others(facts: AttackFacts) -> object:
    """Open a port."""
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        return server.getsockname()


@attack
def open_raw_socket(facts: AttackFacts) -> object:
    """Open a raw socket."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        return raw.fileno()


@attack
def talk_to_kernel(facts: AttackFacts) -> object:
    """Open a netlink socket."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as link:
        return link.fileno()


@attack
def talk_to_host(facts: AttackFacts) -> object:
    """Open a socket to the virtual machine's host."""
    with socket.socket(40, socket.SOCK_STREAM) as host:  # AF_VSOCK
        return host.fileno()


@attack
def connect_to_abstract_socket(facts: AttackFacts) -> object:
    """Connect to a Unix socket without a file."""
    return _connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + facts["abstract"])


@attack
def connect_to_socket_file(facts: AttackFacts) -> object:
    """Connect to a Unix socket."""
    return _connect(socket.AF_UNIX, socket.SOCK_STREAM, facts["socket"])


# other processes


@attack
def kill_other(facts: AttackFacts) -> object:
    """Signal a process outside."""
    os.kill(facts["pid"], 0)
    return facts["pid"]


@attack
def signal_by_owner(facts: AttackFacts) -> object:
    """Have a pipe signal a process outside."""
    import fcntl

    pipe, _ = os.pipe()
    fcntl.fcntl(pipe, fcntl.F_SETOWN, facts["pid"])
    fcntl.fcntl(pipe, 10, signal.SIGURG)  # F_SETSIG
    return fcntl.fcntl(pipe, fcntl.F_GETOWN)


@attack
def kill_all(facts: AttackFacts) -> object:
    """End every process that it may, and go on."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    os.kill(facts["pid"], 0)
    return facts["pid"]


@attack
def kill_parent(facts: AttackFacts) -> object:
    """End what started it."""
    parent = os.getppid()
    os.kill(parent, signal.SIGKILL)
    time.sleep(0.2)
    return os.getppid() != parent


@attack
def read_environments(facts: AttackFacts) -> object:
    """Find a secret in some process's environment."""
    found = False
    for pid in _pids():
        with suppress(OSError):
            found = found or _secret_in(_read(f"/proc/{pid}/environ", 1 << 20), facts)
    return found


@attack
def read_command_lines(facts: AttackFacts) -> object:
    """Find a secret in some process's arguments."""
    return any(_secret_in(_read(f"/proc/{pid}/cmdline", 1 << 20), facts) for pid in _pids())


@attack
def read_parents_memory(facts: AttackFacts) -> object:
    """Read the memory of what started it."""
    with open(f"/proc/{os.getppid()}/maps", "rb") as file:
        start = int(file.readline().split(b"-")[0], 16)
    with open(f"/proc/{os.getppid()}/mem", "rb", buffering=0) as memory:
        memory.seek(start)
        return memory.read(16)


@attack
def copy_parents_memory(facts: AttackFacts) -> object:
    """The same by process_vm_readv."""
    here = ctypes.create_string_buffer(b"held by both", 16)
    pieces = struct.pack("PN", ctypes.addressof(here), 16)
    other = os.fork() if facts["outside"] else os.getppid()  # a parent that is no copy has other addresses
    if not other:
        time.sleep(2.0)
        os._exit(0)
    one = ctypes.c_ulong(1)
    return _call(310, 270, ctypes.c_int(other), pieces, one, pieces, one, ctypes.c_ulong(0))


@attack
def trace_parent(facts: AttackFacts) -> object:
    """Attach a debugger to what started it."""
    return _call(101, 117, 16, ctypes.c_int(facts["pid"] if facts["outside"] else os.getppid()), None, None) == 0


@attack
def take_descriptor(facts: AttackFacts) -> object:
    """Take a descriptor out of another process."""
    handle = _call(434, 434, ctypes.c_int(facts["pid"] if facts["outside"] else os.getppid()), 0)
    return _call(438, 438, handle, 1, 0) + 1


@attack
def use_forgotten_descriptors(facts: AttackFacts) -> object:
    """Find descriptors that were left open."""
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found = []
    for number in range(3, min(highest, 4096)):
        with suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


@attack
def slow_others_down(facts: AttackFacts) -> object:
    """Lower a process's limits from outside."""
    pid = facts["pid"] if facts["outside"] else os.getppid()
    return _call(302, 261, ctypes.c_int(pid), 7, struct.pack("QQ", 64, 64), None) == 0


# the kernel


@attack
def become_root(facts: AttackFacts) -> object:
    """Become root."""
    os.setresuid(0, 0, 0)  # where it is root of a namespace by number, it must have no right of root's
    with open("/proc/self/status", encoding="ascii") as file:
        return [line for line in file if line.startswith("CapEff") and int(line.split()[1], 16)]


@attack
def use_setuid_program(facts: AttackFacts) -> object:
    """Gain rights by a program that has them."""
    with open("/proc/self/status", encoding="ascii") as file:
        return "NoNewPrivs:\t0\n" in file


@attack
def make_user_namespace(facts: AttackFacts) -> object:
    """Be root in a namespace of its own."""
    return _call(272, 97, 0x10000000) == 0


@attack
def make_namespace_by_clone(facts: AttackFacts) -> object:
    """The same by clone."""
    child = _call(56, 220, ctypes.c_ulong(0x10000000 | signal.SIGCHLD), None, None, None, None)
    if not child:
        os._exit(0)
    return child


@attack
def make_namespace_by_clone3(facts: AttackFacts) -> object:
    """The same by clone3."""
    child = _call(435, 435, struct.pack("QQQQQQQQ", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), ctypes.c_size_t(64))
    if not child:
        os._exit(0)
    return child


@attack
def mount_something(facts: AttackFacts) -> object:
    """Mount a file system."""
    os.makedirs("there", exist_ok=True)
    return _call(165, 40, b"tmpfs", b"there", b"tmpfs", ctypes.c_ulong(0), None) == 0


@attack
def unmount_walls(facts: AttackFacts) -> object:
    """Unmount what hides the rest."""
    return _call(166, 39, b"/tmp" if not facts["outside"] else facts["mounted"].encode(), 2) == 0


@attack
def change_root(facts: AttackFacts) -> object:
    """Chroot."""
    os.chroot(".")
    return os.listdir("/") is not None


@attack
def enter_namespace(facts: AttackFacts) -> object:
    """Enter another process's namespaces."""
    place = os.open(f"/proc/{facts['pid'] if facts['outside'] else 1}/ns/net", os.O_RDONLY)
    return _call(308, 268, place, 0) == 0


@attack
def load_bpf(facts: AttackFacts) -> object:
    """Load a program into the kernel."""
    return _call(321, 280, 0, struct.pack("IIIII", 2, 4, 4, 1, 0) + bytes(100), ctypes.c_uint(72)) + 1


@attack
def watch_performance(facts: AttackFacts) -> object:
    """Open performance counters."""
    attribute = struct.pack("IIQ", 1, 112, 0) + bytes(96)
    return _call(298, 241, attribute, 0, -1, -1, ctypes.c_ulong(0)) + 1


@attack
def keep_key(facts: AttackFacts) -> object:
    """Leave a key with the kernel."""
    return _call(248, 217, b"user", b"attack", b"x", ctypes.c_size_t(1), ctypes.c_int(-4))


@attack
def open_io_ring(facts: AttackFacts) -> object:
    """Do input and output past the filter."""
    return _call(425, 425, 4, bytes(120)) + 1


@attack
def catch_page_faults(facts: AttackFacts) -> object:
    """Halt the kernel in page faults."""
    return _call(323, 282, 1) + 1


@attack
def use_other_calls(facts: AttackFacts) -> object:
    """Call the kernel by the numbers of another processor."""
    if os.uname().machine != "x86_64":
        return None
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20 (getpid); int 0x80; ret
    room = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    room.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid()


@attack
def type_into_terminal(facts: AttackFacts) -> object:
    """Type into the terminal."""
    terminal = os.open("/dev/tty", os.O_RDWR)
    import fcntl

    fcntl.ioctl(terminal, 0x5412, b"x")
    return terminal


@attack
def leave_shared_memory(facts: AttackFacts) -> object:
    """Leave shared memory that outlives it."""
    return _call(29, 194, facts["key"], ctypes.c_size_t(4096), 0o1600) + 1


@attack
def read_shared_memory(facts: AttackFacts) -> object:
    """Read shared memory of others by its number."""
    _LIBC.shmat.restype = ctypes.c_void_p
    address = _LIBC.shmat(facts["segment"], None, 0o10000)  # SHM_RDONLY
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return _secret_in(ctypes.string_at(address, 4096), facts)


@attack
def set_clock(facts: AttackFacts) -> object:
    """Set the clock."""
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "set"


@attack
def rename_machine(facts: AttackFacts) -> object:
    """Rename the machine."""
    socket.sethostname(socket.gethostname())
    return "renamed"


# resources


@attack
def eat_memory(facts: AttackFacts) -> object:
    """Hold 3 GiB."""
    held = bytearray(3 << 30)
    return len(held)


@attack
def eat_memory_together(facts: AttackFacts) -> object:
    """Hold 3 GiB in 8 processes."""
    done = []
    for _ in range(8):
        awake, waker = os.pipe()
        pid = os.fork()
        if not pid:
            held = bytearray(384 << 20)
            os.write(waker, b"x" if held[-1] == 0 else b"")
            time.sleep(2.0)
            os._exit(0)
        os.close(waker)
        done.append((pid, awake))
    return sum(os.read(awake, 1) == b"x" for _, awake in done) == len(done)


@attack
def eat_memory_in_files(facts: AttackFacts) -> object:
    """Hold memory that no process is said to have."""
    place = os.memfd_create("memory")
    return os.write(place, bytes(1 << 20))


@attack
def fork_many(facts: AttackFacts) -> object:
    """Run 200 processes."""
    for _ in range(200):
        if not os.fork():
            time.sleep(3.0)
            os._exit(0)
    return 200


@attack
def start_threads(facts: AttackFacts) -> object:
    """Run 200 threads."""
    threading.stack_size(1 << 16)
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(2.0,), daemon=True).start()
    return 200


@attack
def fill_disk(facts: AttackFacts) -> object:
    """Write 200 MiB in files of 16."""
    for number in range(13):
        with open(f"part{number}", "wb") as file:
            for _ in range(16):
                file.write(bytes(1 << 20))
            file.flush()
        time.sleep(0.05)
    time.sleep(0.3)
    return 13


@attack
def make_files(facts: AttackFacts) -> object:
    """Make 20000 files."""
    for number in range(20_000):
        with open(f"f{number}", "wb"):
            pass
    time.sleep(0.5)
    return 20_000


@attack
def write_huge_file(facts: AttackFacts) -> object:
    """Write a file of 100 MiB."""
    with open("huge", "wb") as file:
        for _ in range(100):
            file.write(bytes(1 << 20))
    return os.path.getsize("huge")


@attack
def fill_shared_memory(facts: AttackFacts) -> object:
    """Fill /dev/shm with 200 MiB."""
    for number in range(13):
        with open(f"/dev/shm/attack{number}", "wb") as file:
            for _ in range(16):
                file.write(bytes(1 << 20))
    return 13


@attack
def compute_for_ever(facts: AttackFacts) -> object:
    """Compute without end."""
    started = time.monotonic()
    while time.monotonic() - started < 20.0:
        pass
    return "20 seconds"


@attack
def ignore_limit_on_time(facts: AttackFacts) -> object:
    """Ignore the signal that ends computing."""
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    return compute_for_ever(facts)


@attack
def sleep_for_ever(facts: AttackFacts) -> object:
    """Sleep."""
    time.sleep(20.0)
    return "20 seconds"


@attack
def raise_limits(facts: AttackFacts) -> object:
    """Raise its own limits."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "unlimited"


@attack
def print_without_end(facts: AttackFacts) -> object:
    """Print 8 MiB."""
    for _ in range(128):
        os.write(1, b"x" * (1 << 16))
    return "8 MiB"


# what outlives it


@attack
def leave_daemon(facts: AttackFacts) -> object:
    """Leave a process behind."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            for number in (0, 1, 2):
                os.close(number)
            os.execv(sys.executable, [sys.executable, "-c", f"import time; time.sleep(30)  # {facts['mark']}"])
        os._exit(0)
    os.wait()
    time.sleep(0.3)
    return None


@attack
def leave_file(facts: AttackFacts) -> object:
    """Leave a file for the next run."""
    for place in (".", "..", "/tmp", "/dev/shm", "/var/tmp"):
        with suppress(OSError):
            _write(os.path.join(place, facts["mark"]))
    return None


@attack
def find_what_was_left(facts: AttackFacts) -> object:
    """Find a file or process of the run before."""
    places = [os.path.join(p, facts["mark"]) for p in (".", "..", "/tmp", "/dev/shm", "/var/tmp")]
    return [path for path in places if os.path.exists(path)]


def main() -> None:
    """Run the attack of the arguments."""
    try:
        got = ATTACKS[sys.argv[1]](json.loads(sys.argv[2]))
        said = f"GOT {str(got)[:80]}" if got else "denied: nothing was got"
    except (OSError, MemoryError, RuntimeError, IndexError, ValueError) as error:
        said = f"denied: {type(error).__name__}: {error}"
    sys.stdout.write(said + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
