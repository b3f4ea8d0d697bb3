"""The filter of system calls for foreign code, as classic BPF (seccomp(2)).

In: a processor, whether namespaces stand around the code as well. Out: the program's bytes. What is refused gives
EPERM: calls that reach other processes, mount, make namespaces, load code into the kernel, or open sockets other than
those of Unix. A call by another processor's numbers ends the process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _END, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_UNIX_SOCKETS = 1
_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI, which types into a terminal, and TIOCLINUX, which pastes into one."""
_OWNERS, _OWNERS_BY_IOCTL = (8, 10, 15), (0x8901, 0x8902)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX of fcntl; FIOSETOWN, SIOCSPGRP of ioctl: a descriptor then signals a process."""
_NAMESPACES = 0x7E020080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET; see clone(2)."""

PROCESSORS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""By the name of a processor what the kernel calls it."""

_REFUSED = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "move_pages": (279, 239), "migrate_pages": (256, 238),
    # file systems and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268),
    "unshare": (272, 97), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "swapon": (167, 224), "swapoff": (168, 225), "mknod": (133, None), "mknodat": (259, 33),
    "fanotify_init": (300, 262),
    # the kernel
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "syslog": (103, 116), "reboot": (169, 142),
    "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "personality": (135, 92), "vhangup": (153, 58),
    "lookup_dcookie": (212, 18), "vmsplice": (278, 75), "uselib": (134, None), "remap_file_pages": (216, 234),
    # memory that no process is said to have
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # what outlives a process
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    # what others have of these: it is known by numbers, which can be guessed
    "shmat": (30, 196), "shmctl": (31, 195), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "semop": (65, 193), "semtimedop": (220, 192), "semctl": (66, 191), "mq_unlink": (241, 181),
}  # fmt: skip
"""By name, the numbers on x86_64 and aarch64; None: there is no such call."""

_SIGNALS = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
"""Refused where no namespace hides other processes."""

_PRIORITIES = {
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
}  # fmt: skip
"""Likewise; and where nothing shall be left: a process can set those of the one that forked it, which keeps them."""

_CLONE, _CLONE3, _SOCKET, _IOCTL, _PRLIMIT = (56, 220), (435, 435), (41, 198), (16, 29), (302, 261)
_FCNTL = (72, 25)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _refusal(error: int = _EPERM) -> bytes:
    return _instruction(_RETURN, _REFUSE | error)


def _at_number(number: int, body: Iterable[bytes]) -> list[bytes]:
    """Do something at one call; the body ends with the filter's answer, or loads the number again."""
    block = list(body)
    return [_instruction(_JUMP_IF_EQUAL, number, 0, len(block)), *block]


def _argument(place: int) -> bytes:
    return _instruction(_LOAD, _FIRST_ARGUMENT + 8 * place)


def _unless(place: int, refused: Iterable[int]) -> list[bytes]:
    """Allow a call unless an argument is one of those."""
    checks = [part for value in refused for part in (_instruction(_JUMP_IF_EQUAL, value, 0, 1), _refusal())]
    return [_argument(place), *checks, _instruction(_RETURN, _ALLOW)]


def filter_program(architecture: str, *, has_namespaces: bool, leaves_nothing: bool = False) -> bytes:
    """The filter for a processor.

    Args:
        architecture: One of ``PROCESSORS``.
        has_namespaces: Other processes are hidden, and sockets lead nowhere.
        leaves_nothing: A process shall leave nothing to those that begin after its end.

    Raises:
        ValueError: Another processor.
    """
    column = list(PROCESSORS).index(architecture)
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_IF_EQUAL, PROCESSORS[architecture], 1, 0),
        _instruction(_RETURN, _END),
        _instruction(_LOAD, _NUMBER),
    ]
    if architecture == "x86_64":  # calls of its 32-bit kind have other numbers
        program += [_instruction(_JUMP_IF_AT_LEAST, 0x40000000, 0, 1), _instruction(_RETURN, _END)]
    refused = _REFUSED if has_namespaces else _REFUSED | _SIGNALS | _PRIORITIES
    if leaves_nothing:
        refused = refused | _PRIORITIES
    for numbers in refused.values():
        number = numbers[column]
        if number is not None:
            program += _at_number(number, [_refusal()])
    # clone3 hides its flags in memory; whoever is told that there is none uses clone
    program += _at_number(_CLONE3[column], [_refusal(_ENOSYS)])
    allow = _instruction(_RETURN, _ALLOW)
    program += _at_number(
        _CLONE[column], [_argument(0), _instruction(_JUMP_IF_SET, _NAMESPACES, 0, 1), _refusal(), allow]
    )
    unix = [_argument(0), _instruction(_JUMP_IF_EQUAL, _UNIX_SOCKETS, 0, 1), allow, _refusal()]
    program += _at_number(_SOCKET[column], unix if has_namespaces else [_refusal()])
    program += _at_number(_IOCTL[column], _unless(1, _TERMINAL_INPUT + (() if has_namespaces else _OWNERS_BY_IOCTL)))
    program += _at_number(_FCNTL[column], _unless(1, () if has_namespaces else _OWNERS))
    program += _at_number(_PRLIMIT[column], [_argument(0), _instruction(_JUMP_IF_EQUAL, 0, 1, 0), _refusal(), allow])
    return b"".join([*program, allow])
