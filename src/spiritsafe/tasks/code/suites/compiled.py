"""Tests in a compiled language: each program a run of its own, and the tests in another sandbox that talks to it.

In: how a language compiles its parts, tests, the right program and mutants. Out: a
:class:`~spiritsafe.tasks.code.duet.kills.Kills`. What tests are linked with is a substitute that asks the other side;
so they hold neither source nor machine code of what they test, their binary is the same for every program, and nothing
that they say of themselves but how each of them ended is heard: the sandbox tells that.

A program with mutants is compiled once and kept, for all answers to one problem.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.duet.duet import DuetTurn
from spiritsafe.tasks.code.duet.kills import FIRST_TURNS, Kills, judged_kills, later_order, mutant_cpu_s, why_broken
from spiritsafe.tasks.code.languages.signature import CodeSignature
from spiritsafe.tasks.code.suites import inside
from spiritsafe.tasks.code.suites.turns import TurnTests, run_turn, shortened
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep, RunStepResult
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_CPU_S = 5.0
_MOST_SLEEPS = 2
"""Turns that may be ended for it; then no more are begun."""
_COMPILER_CPU_S = 20.0
_COMPILER_WALL_S = 60.0
_MOST_PROGRAMS = 60
"""Compiled in one run, beside what they share."""
MOST_TESTS = 200
_KEPT = 32
"""Problems whose programs are kept compiled."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPart:
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
    part: BuildPart
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
    shared: Callable[[str, CodeSignature], BuildPart]
    program: Callable[[str, CodeSignature, str], BuildPart]
    tests: Callable[[str, CodeSignature], TestsPart | None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Programs:
    """What was compiled: the right program, then the mutants; None: it does not compile."""

    host: bytes
    objects: tuple[bytes | None, ...]


def c_file(name: str) -> str:
    """The text of a file that runs inside."""
    return Path(inside.__path__[0], name).read_text("utf-8")


def compiled_kills(
    language: CompiledLanguage,
    sandbox: Sandbox,
    *,
    tests: str,
    signature: CodeSignature,
    gold: str,
    mutants: Sequence[str],
) -> Kills:
    """Run tests against the right program and against mutants of it; see :func:`~.suite.run_suite`."""
    found = language.tests(tests, signature)
    if found is None:
        return Kills(broken="there are no tests", layer=sandbox.layer)
    if len(found.names) > MOST_TESTS:
        return Kills(broken=f"there are more than {MOST_TESTS} tests", layer=sandbox.layer)
    compiled = sandbox.run(compiling_run([found.part]))
    binary = compiled.files.get(found.part.made)
    if binary is None:
        return Kills(broken=f"the tests do not compile: {compiler_words(compiled.steps)}", layer=compiled.layer)
    with _lock_of(signature, gold):
        programs = _programs(language, sandbox, signature, gold, tuple(mutants))
    subject = TurnTests(binary=binary, names=found.names, is_program=found.is_program, host=programs.host)
    return kills_in_turns(sandbox, subject, programs.objects, compiled.layer)


def kills_in_turns(sandbox: Sandbox, tests: TurnTests, objects: Sequence[bytes | None], layer: str) -> Kills:
    """Let each program have its turns.

    Args:
        sandbox: Where.
        tests: All of them.
        objects: The right program, then the mutants; None: it does not compile, and nothing will be known of it.
        layer: Of the sandbox.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    gold, num_mutants = objects[0], len(objects) - 1
    assert gold is not None
    everything = range(len(tests.names))
    first = [run_turn(sandbox, tests, everything, 0, gold, _CPU_S)[0] for _ in range(FIRST_TURNS)]
    if broken := why_broken(first):
        return Kills(broken=broken, layer=layer)
    numbers = [number for number in everything if all(one.tests[number].outcome == "passed" for one in first)]
    if not numbers:
        return judged_kills(tests.names, first, None, num_mutants=num_mutants, layer=layer)
    timed = first
    if len(numbers) < len(everything):  # again without the others, which may have taken long
        timed = [run_turn(sandbox, tests, numbers, 0, gold, _CPU_S)[0]]
    cpu_s = min(mutant_cpu_s(timed), _CPU_S)
    later: list[DuetTurn] = []
    num_sleeps = 0
    for place in later_order([place for place, code in enumerate(objects) if place and code is not None]):
        if num_sleeps > _MOST_SLEEPS:
            break
        one, stop = run_turn(sandbox, tests, numbers, place, objects[place] or b"", cpu_s)
        later.append(one)
        num_sleeps += stop == "time"
    return judged_kills(tests.names, first, later, num_mutants=num_mutants, layer=layer)


def compiling_run(parts: Sequence[BuildPart]) -> Run:
    """What compiles parts, one after the other in one folder."""
    commands = [command for part in parts for command in part.commands]
    return Run(
        files={name: text for part in parts for name, text in part.files.items()},
        steps=tuple(RunStep(argv=command, must=False) for command in commands),
        collect=tuple(part.made for part in parts),
        limits=Limits(cpu_s=_COMPILER_CPU_S, wall_s=_COMPILER_WALL_S + 2.0 * len(commands)),
    )


@lru_cache(maxsize=_KEPT)
def _lock_of(signature: CodeSignature, gold: str) -> threading.Lock:
    """Of a problem, so that answers to it that come at once do not all compile it."""
    return threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lock_of.cache_clear)  # somebody who is not there may hold one


@lru_cache(maxsize=_KEPT)
def _programs(
    language: CompiledLanguage, sandbox: Sandbox, signature: CodeSignature, gold: str, mutants: tuple[str, ...]
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
        result = sandbox.run(compiling_run([shared, *parts]))
        host = result.files.get(shared.made)
        objects += [result.files.get(part.made) for part in parts]
        if host is None or objects[0] is None:
            raise TaskError(
                f"The right program does not compile as {language.title}: {compiler_words(result.steps)}",
                hint="Give a program that has the function of the signature.",
            )
    assert host is not None
    return _Programs(host=host, objects=tuple(objects))


def compiler_words(steps: Sequence[RunStepResult]) -> str:
    """What the first compiler that failed said."""
    failed = next((step for step in steps if step.code != 0), None)
    return "nothing" if failed is None else shortened(failed.errors or failed.text)
