from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from spiritsafe.tasks.sandbox.inside.seccomp import (
    _CLONE,
    _CLONE3,
    _FCNTL,
    _IOCTL,
    _PRIORITIES,
    _PRLIMIT,
    _REFUSED,
    _SIGNALS,
    _SOCKET,
    PROCESSORS,
    filter_program,
)

ALLOW, END, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
every_processor = pytest.mark.parametrize("processor", PROCESSORS)


def answer(program: bytes, processor: str, number: int, *arguments: int) -> int:
    """What the kernel's machine says, as seccomp(2) and its source describe it."""
    data = struct.pack("<IIQ6Q", number, PROCESSORS[processor], 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    instructions = list(struct.iter_unpack("<HBBI", program))
    place = accumulator = 0
    while True:
        code, if_true, if_false, value = instructions[place]
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return value
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            place += if_true if holds else if_false


@every_processor
@pytest.mark.parametrize("has_namespaces", [True, False])
@pytest.mark.parametrize("leaves_nothing", [True, False])
def test_calls_that_reach_out_are_refused_and_others_are_not(
    processor: str, has_namespaces: bool, leaves_nothing: bool
) -> None:
    program = filter_program(processor, has_namespaces=has_namespaces, leaves_nothing=leaves_nothing)
    column = list(PROCESSORS).index(processor)
    special = {numbers[column] for numbers in (_CLONE, _CLONE3, _SOCKET, _IOCTL, _FCNTL, _PRLIMIT)}
    refused = {numbers[column] for numbers in _REFUSED.values()}
    signals = {numbers[column] for numbers in _SIGNALS.values()}
    priorities = {numbers[column] for numbers in _PRIORITIES.values()}
    for number in range(500):
        if number in special:
            continue
        is_refused = number in refused or (number in signals and not has_namespaces)
        is_refused = is_refused or (number in priorities and (leaves_nothing or not has_namespaces))
        assert answer(program, processor, number) == (EPERM if is_refused else ALLOW), number


@every_processor
def test_arguments_decide(processor: str) -> None:
    column = list(PROCESSORS).index(processor)
    inside = filter_program(processor, has_namespaces=True)
    alone = filter_program(processor, has_namespaces=False)
    fork, thread = 0x01200011, 0x003D0F00
    for flags in (fork, thread):
        assert answer(inside, processor, _CLONE[column], flags) == ALLOW
    for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer(inside, processor, _CLONE[column], fork | flag) == EPERM
    assert answer(inside, processor, _CLONE3[column]) == ENOSYS
    unix, internet, packet = 1, 2, 17
    assert answer(inside, processor, _SOCKET[column], unix) == ALLOW
    assert answer(alone, processor, _SOCKET[column], unix) == EPERM
    assert {answer(inside, processor, _SOCKET[column], family) for family in (0, internet, 10, packet, 40)} == {EPERM}
    assert answer(inside, processor, _IOCTL[column], 0, 0x5413) == ALLOW  # the size of a terminal
    assert {answer(inside, processor, _IOCTL[column], 0, command) for command in (0x5412, 0x541C)} == {EPERM}
    assert answer(inside, processor, _PRLIMIT[column], 0) == ALLOW
    assert answer(inside, processor, _PRLIMIT[column], 4711) == EPERM


@every_processor
def test_descriptors_signal_nobody_whom_no_namespace_hides(processor: str) -> None:
    column = list(PROCESSORS).index(processor)
    inside = filter_program(processor, has_namespaces=True)
    alone = filter_program(processor, has_namespaces=False)
    setters = {_FCNTL[column]: (8, 10, 15), _IOCTL[column]: (0x8901, 0x8902)}
    for call, commands in setters.items():
        assert {answer(alone, processor, call, 3, command) for command in commands} == {EPERM}
        assert {answer(inside, processor, call, 3, command) for command in commands} == {ALLOW}
    assert {answer(alone, processor, _FCNTL[column], 3, command) for command in (0, 1, 2, 3, 4, 9, 1030)} == {ALLOW}


@every_processor
def test_other_processors_numbers_end_the_process(processor: str) -> None:
    program = filter_program(processor, has_namespaces=True)
    other = next(name for name in PROCESSORS if name != processor)
    assert answer(program, other, 0) == END
    if processor == "x86_64":
        assert answer(program, processor, 0x40000000) == END


def test_an_unknown_processor_has_no_filter() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        filter_program("riscv64", has_namespaces=True)


@every_processor
def test_numbers_are_those_of_the_kernels_headers(processor: str) -> None:
    if not HEADERS[processor].exists():
        pytest.skip(f"{HEADERS[processor]} is not installed")
    text = HEADERS[processor].read_text("ascii")
    known = {name.removeprefix("3264_"): int(n) for name, n in re.findall(r"#define __NR3?2?6?4?_(\w+)\s+(\d+)", text)}
    column = list(PROCESSORS).index(processor)
    special = {"clone": _CLONE, "clone3": _CLONE3, "socket": _SOCKET, "ioctl": _IOCTL, "prlimit64": _PRLIMIT}
    special |= {"fcntl": _FCNTL}
    for name, numbers in (_REFUSED | _SIGNALS | _PRIORITIES | special).items():
        assert known.get(name) == numbers[column], name
