"""Tests in a compiled language: each program a run of its own, and the tests in another sandbox that talks to it.

In: how a language compiles its parts, tests, the right program and mutants. Out: a
:class:`~spiritsafe.tasks.code.duet.kills.Kills`. What tests are linked with is a substitute that asks the other side;
so they hold neither source nor machine code of what they test, their binary is the same for every program, and nothing
that they say of themselves but how each of them ended is heard: the sandbox tells that.

A program with mutants is compiled once and kept, for all answers to one problem.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.duet.duet import TestRun, Turn
from spiritsafe.tasks.code.duet.kills import FIRST_TURNS, Kills, judged_kills, later_order, mutant_cpu_s, why_broken
from spiritsafe.tasks.code.languages.signature import Signature
from spiritsafe.tasks.code.suites import inside
from spiritsafe.tasks.sandbox.job import Limits, Run, Step, StepResult, Stop
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_CPU_S = 5.0
_WALL_S = 20.0
"""Of one turn; what computes is ended sooner, so only what sleeps is."""
_MOST_SLEEPS = 2
"""Turns that may be ended for it; then no more are begun."""
_COMPILER_CPU_S = 20.0
_COMPILER_WALL_S = 60.0
_MOST_PROGRAMS = 60
"""Compiled in one run, beside what they share."""
MOST_TESTS = 200
_KEPT = 32
"""Problems whose programs are kept compiled."""
_LOST = 96
"""See ``inside/channel.c``."""
_FIRST_CODE, _NUM_CODES = 100, 100
"""Of a test that has returned: one of these, so that none ends its process as if it had."""
_TIME_SIGNALS = (signal.SIGPROF, signal.SIGXCPU)
_MOST_WHY = 300


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something to compile.

    Attributes:
        files: What there is to begin with.
        commands: Compilers, one after the other.
        made: The file that they make.
    """

    files: Mapping[str, str | bytes]
    commands: tuple[tuple[str, ...], ...]
    made: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TestsPart:
    """Tests to compile.

    Attributes:
        names: Of the tests, in their order.
        part: How; what it makes is started as ``inside/tests.c`` says.
        is_program: It is a whole program instead, the only test.
    """

    __test__ = False  # pytest would take it for tests

    names: tuple[str, ...]
    part: Part
    is_program: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledLanguage:
    """How a language compiles.

    Attributes:
        title: For readers.
        shared: What all programs with one signature are linked with, made beside the right program; it makes the
            executable ``host``.
        program: One of them, by its place; it makes a shared object.
        tests: Tests, without any program; None: there are none.
    """

    title: str
    shared: Callable[[str, Signature], Part]
    program: Callable[[str, Signature, str], Part]
    tests: Callable[[str, Signature], TestsPart | None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Programs:
    """What was compiled: the right program, then the mutants; None: it does not compile."""

    host: bytes
    objects: tuple[bytes | None, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _TurnRun:
    """What a turn needs: the numbers of the tests to run, what was compiled, and seconds to compute."""

    tests: TestsPart
    numbers: Sequence[int]
    binary: bytes
    host: bytes
    code: bytes
    cpu_s: float


def c_file(name: str) -> str:
    """The text of a file that runs inside."""
    return Path(inside.__path__[0], name).read_text("utf-8")


def compiled_kills(
    language: CompiledLanguage,
    sandbox: Sandbox,
    *,
    tests: str,
    signature: Signature,
    gold: str,
    mutants: Sequence[str],
) -> Kills:
    """Run tests against the right program and against mutants of it; see :func:`~.suite.run_suite`."""
    found = language.tests(tests, signature)
    if found is None:
        return Kills(broken="there are no tests", layer=sandbox.layer)
    if len(found.names) > MOST_TESTS:
        return Kills(broken=f"there are more than {MOST_TESTS} tests", layer=sandbox.layer)
    compiled = sandbox.run(_compiling([found.part]))
    binary = compiled.files.get(found.part.made)
    if binary is None:
        return Kills(broken=f"the tests do not compile: {_said(compiled.steps)}", layer=compiled.layer)
    with _lock_of(signature, gold):
        programs = _programs(language, sandbox, signature, gold, tuple(mutants))

    def turn(place: int, numbers: Sequence[int], cpu_s: float) -> tuple[Turn, Stop | None]:
        code = programs.objects[place]
        assert code is not None
        run = _TurnRun(tests=found, numbers=numbers, binary=binary, host=programs.host, code=code, cpu_s=cpu_s)
        return _turn(sandbox, run, place)

    everything = range(len(found.names))
    first = [turn(0, everything, _CPU_S)[0] for _ in range(FIRST_TURNS)]
    if broken := why_broken(first):
        return Kills(broken=broken, layer=compiled.layer)
    numbers = [number for number in everything if all(one.tests[number].outcome == "passed" for one in first)]
    if not numbers:
        return judged_kills(found.names, first, None, num_mutants=len(mutants), layer=compiled.layer)
    if len(numbers) < len(everything):  # so that one that took long lends its time to no other
        cpu_s = mutant_cpu_s([turn(0, numbers, _CPU_S)[0]])
    else:
        cpu_s = mutant_cpu_s(first)
    later: list[Turn] = []
    num_sleeps = 0
    for place in later_order([place for place, code in enumerate(programs.objects) if place and code is not None]):
        if num_sleeps > _MOST_SLEEPS:
            break
        one, stop = turn(place, numbers, min(cpu_s, _CPU_S))
        later.append(one)
        num_sleeps += stop == "time"
    return judged_kills(found.names, first, later, num_mutants=len(mutants), layer=compiled.layer)


def _compiling(parts: Sequence[Part]) -> Run:
    commands = [command for part in parts for command in part.commands]
    return Run(
        files={name: text for part in parts for name, text in part.files.items()},
        steps=tuple(Step(argv=command, must=False) for command in commands),
        collect=tuple(part.made for part in parts),
        limits=Limits(cpu_s=_COMPILER_CPU_S, wall_s=_COMPILER_WALL_S + 2.0 * len(commands)),
    )


@lru_cache(maxsize=_KEPT)
def _lock_of(signature: Signature, gold: str) -> threading.Lock:
    """Of a problem, so that answers to it that come at once do not all compile it."""
    return threading.Lock()


@lru_cache(maxsize=_KEPT)
def _programs(
    language: CompiledLanguage, sandbox: Sandbox, signature: Signature, gold: str, mutants: tuple[str, ...]
) -> _Programs:
    shared = language.shared(gold, signature)
    sources = (gold, *mutants)
    host: bytes | None = None
    objects: list[bytes | None] = []
    for first in range(0, len(sources), _MOST_PROGRAMS):
        parts = [
            language.program(source, signature, f"p{first + place}")
            for place, source in enumerate(sources[first : first + _MOST_PROGRAMS])
        ]
        result = sandbox.run(_compiling([shared, *parts]))
        host = result.files.get(shared.made)
        objects += [result.files.get(part.made) for part in parts]
        if host is None or objects[0] is None:
            raise TaskError(
                f"The right program does not compile as {language.title}: {_said(result.steps)}",
                hint="Give a program that has the function of the signature.",
            )
    assert host is not None
    return _Programs(host=host, objects=tuple(objects))


def _said(steps: Sequence[StepResult]) -> str:
    """What the first compiler that failed said."""
    failed = next((step for step in steps if step.code != 0), None)
    return "nothing" if failed is None else _shortened(failed.errors or failed.text)


def _turn(sandbox: Sandbox, turn: _TurnRun, place: int) -> tuple[Turn, Stop | None]:
    """One program's turn, in two runs that nothing is left of; and why these were ended from outside."""
    mark = secrets.token_hex(16)
    returned = _FIRST_CODE + secrets.randbelow(_NUM_CODES)
    microseconds = str(int(turn.cpu_s * 1e6))
    limits = Limits(cpu_s=turn.cpu_s, wall_s=_WALL_S)
    told = " ".join([mark, str(returned), *map(str, turn.numbers)])
    of_tests = Run(
        files={"tests": turn.binary},
        steps=(Step(argv=("./tests", microseconds), stdin=told, has_channel=True),),
        read_only=True,
        limits=limits,
    )
    of_code = Run(
        files={"host": turn.host, "code.so": turn.code},
        steps=(Step(argv=("./host", microseconds), has_channel=True),),
        read_only=True,
        limits=limits,
    )
    one, other = sandbox.run_pair(of_tests, of_code)
    step = one.steps[0]
    names = [turn.tests.names[number] for number in turn.numbers]
    if turn.tests.is_program:
        runs = [_run_of_program(names[0], step)] if step.code is not None else []
    else:
        runs = [_test_run(name, *end, returned) for name, end in zip(names, _ends(step.out, mark), strict=False)]
    cpu_s = sum(step.cpu_s for result in (one, other) for step in result.steps)
    went = Turn(program=place, tests=tuple(runs), has_ended=len(runs) == len(names), cpu_s=cpu_s)
    return went, one.stop or other.stop


def _ends(out: bytes, mark: str) -> list[tuple[int, str]]:
    """Of each test its exit code, negative for a signal, and what it printed."""
    printed, *rest = out.decode("utf-8", "replace").split(f"\n{mark} ")
    ends = []
    for part in rest:
        status, _, following = part.partition("\n")
        ends.append((os.waitstatus_to_exitcode(int(status)), printed))
        printed = following
    return ends


def _test_run(name: str, code: int, printed: str, returned: int) -> TestRun:
    if code == returned:
        return TestRun(name, "passed")
    if code == _LOST:
        return TestRun(name, "unknown", "the function was lost in an earlier test")
    why = _shortened(printed)
    if code == 0:
        return TestRun(name, "exited", why or "it ended its process")
    if -code in _TIME_SIGNALS:
        return TestRun(name, "failed", "it took too long")
    return TestRun(name, "failed", why or f"it ended with {code}")


def _run_of_program(name: str, step: StepResult) -> TestRun:
    """Of a whole program: it passes where it ends well and complains of nothing."""
    if step.code == 0 and not step.err.strip():
        return TestRun(name, "passed")
    return TestRun(name, "failed", _shortened(step.errors) or f"it ended with {step.code}")


def _shortened(text: str) -> str:
    return " ".join(text.split())[:_MOST_WHY]
