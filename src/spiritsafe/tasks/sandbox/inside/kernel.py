"""System calls that Python's own library does not have: namespaces, mounts, capabilities, seccomp, Landlock.

Each raises :class:`OSError` where the kernel refuses.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)

NEW_MOUNTS, NEW_PIDS, NEW_IPC = 0x00020000, 0x20000000, 0x08000000
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC = 1, 2, 4, 8
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14
_REMOUNT = 32
_SET_DEATH_SIGNAL, _SET_DUMPABLE, _SET_SECCOMP, _DROP_BOUND = 1, 4, 22, 24
_SET_NO_NEW_PRIVILEGES, _AMBIENT, _AMBIENT_CLEAR, _SUBREAPER = 38, 47, 4, 36
_CAPABILITIES_3 = 0x20080522
_NUMBERS = {"x86_64": (126, 444, 445, 446), "aarch64": (91, 444, 445, 446)}
"""capset, landlock_create_ruleset, landlock_add_rule, landlock_restrict_self."""


def _call(name: str, *arguments: object) -> int:
    result: int = getattr(_LIBC, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _syscall(place: int, *arguments: object) -> int:
    number = _NUMBERS[platform.machine()][place]
    return _call("syscall", ctypes.c_long(number), *arguments)


def unshare(flags: int) -> None:
    """Leave shared namespaces for new ones; that of processes holds for children."""
    _call("unshare", ctypes.c_int(flags))


_own_pids: list[int] = []


def make_pid_namespace() -> None:
    """The next child is the first process of a namespace of its own."""
    if not _own_pids:
        _own_pids.append(os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC))
    # back from that which the last child was given, since they do not stand in each other
    _call("setns", ctypes.c_int(_own_pids[0]), ctypes.c_int(NEW_PIDS))
    unshare(NEW_PIDS)


def mount(kind: str, place: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system that is of no device."""
    _call("mount", kind.encode(), place.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def forbid_writing(place: str, flags: int) -> None:
    """Have a mounted file system take no more changes, of files and of folders."""
    _call("mount", b"none", place.encode(), None, ctypes.c_ulong(_REMOUNT | READ_ONLY | flags), None)


def keep_mounts_private() -> None:
    """What is mounted from here on shows nowhere else."""
    _call("mount", b"none", b"/", None, ctypes.c_ulong(_PRIVATE | _RECURSIVE), None)


def _prctl(option: int, *values: object) -> int:
    wide = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in values]
    return _call("prctl", ctypes.c_int(option), *wide)


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    _prctl(_SET_DEATH_SIGNAL, 9, 0, 0, 0)


def take_orphans() -> None:
    """Orphans below become children."""
    _prctl(_SUBREAPER, 1, 0, 0, 0)


def set_dumpable(is_dumpable: bool) -> None:
    """Whether processes of the same user may look into this one."""
    _prctl(_SET_DUMPABLE, int(is_dumpable), 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability, for good, whatever is executed."""
    _prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _prctl(_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    for number in range(64):
        try:
            _prctl(_DROP_BOUND, number, 0, 0, 0)
        except OSError:  # beyond the last that the kernel knows; or they are not ours to drop
            break


def forget_capabilities() -> None:
    """Empty this process's own sets."""
    header, data = struct.pack("<Ii", _CAPABILITIES_3, 0), bytes(24)
    _syscall(0, header, data)


def restrict_calls(program: bytes) -> None:
    """Hold this process and all that come from it to a seccomp filter."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _prctl(_SET_SECCOMP, 2, ctypes.c_char_p(header), 0, 0)


def landlock_version() -> int:
    """Of the kernel's Landlock; 0: it has none, or none that we may use."""
    try:
        return _syscall(1, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except (OSError, KeyError):
        return 0


_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, read a folder
_BY_VERSION = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Rights to files that a version of Landlock knows more than the one before."""
_NETWORK = 0b11
_SCOPES = 0b11
"""Abstract Unix sockets, and signals."""


def restrict_files(readable: list[str], writable: list[str]) -> None:
    """Hold this process and all that come from it to some folders and files, with Landlock.

    Where Landlock knows of networks and signals, there are none beyond this process's own tree.
    """
    version = landlock_version()
    everything = sum(rights for since, rights in _BY_VERSION.items() if version >= since)
    numbers = (everything, _NETWORK if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    attribute = struct.pack("<QQQ", *numbers)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _syscall(1, attribute, ctypes.c_size_t(len(attribute)), ctypes.c_uint32(0))
    try:
        for paths, rights in ((readable, _READ), (writable, everything)):
            for path in paths:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
                try:
                    # rights to folders make no sense for a file, and are refused
                    own = rights if os.path.isdir(path) else rights & (1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15)
                    rule = struct.pack("<Qi", own & everything, place)
                    _syscall(2, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0))
                finally:
                    os.close(place)
        _prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _syscall(3, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)
