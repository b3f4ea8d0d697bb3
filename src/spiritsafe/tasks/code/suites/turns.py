"""One program's turn with tests: the program in one sandbox, the tests in another, and a channel between.

In: both, compiled. Out: how each test went. Nothing is believed of what tests say but how their processes ended.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.tasks.code.duet.duet import DuetTurn, TestRun
from spiritsafe.tasks.sandbox.job import Limits, Run, RunResult, RunStep, RunStepResult, Stop
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_WALL_S = 20.0
"""Of one turn; what computes is ended sooner, so only what sleeps is."""
_LOST = 96
"""See ``inside/channel.c``."""
_FIRST_CODE, _NUM_CODES = 100, 100
"""Of a test that has returned: one of these, so that none ends its process as if it had."""
_TIME_SIGNALS = (24, 27)
"""Linux's SIGXCPU and SIGPROF, which not every system has."""
_MOST_WHY = 300


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTests:
    """Tests that are compiled.

    Attributes:
        binary: They, started as ``inside/tests.c`` says.
        names: Of all.
        is_program: They are a whole program, which is the only test.
        host: What calls programs; None: the tests load the program themselves, from ``code.so`` beside them.
    """

    binary: bytes
    names: tuple[str, ...]
    is_program: bool
    host: bytes | None


def run_turn(
    sandbox: Sandbox, tests: TurnTests, numbers: Sequence[int], place: int, code: bytes, cpu_s: float
) -> tuple[DuetTurn, Stop | None]:
    """One program's turn, in runs that nothing is left of; and why these were ended from outside.

    Args:
        sandbox: Where.
        tests: Those that there are.
        numbers: Of those to run.
        place: Of the program among all.
        code: The program, a shared object.
        cpu_s: Seconds that each test, and the function in each test, may compute.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    mark, returned, told = _told(numbers)
    microseconds = str(int(cpu_s * 1e6))
    limits = Limits(cpu_s=cpu_s, wall_s=_WALL_S)
    of_tests = Run(
        files={"tests": tests.binary} | ({"code.so": code} if tests.host is None else {}),
        steps=(RunStep(argv=("./tests", microseconds), stdin=told, has_channel=tests.host is not None),),
        read_only=True,
        limits=limits,
    )
    if tests.host is None:
        results: tuple[RunResult, ...] = (sandbox.run(of_tests),)
    else:
        of_code = Run(
            files={"host": tests.host, "code.so": code},
            steps=(RunStep(argv=("./host", microseconds), has_channel=True),),
            read_only=True,
            limits=limits,
        )
        results = sandbox.run_pair(of_tests, of_code)
    step = results[0].steps[0]
    names = [tests.names[number] for number in numbers]
    if tests.is_program:
        runs = [_run_of_program(names[0], step)] if step.code is not None else []
    else:
        runs = [_test_run(name, *end, returned) for name, end in zip(names, _ends(step.out, mark), strict=False)]
    used_s = sum(step.cpu_s for result in results for step in result.steps)
    went = DuetTurn(program=place, tests=tuple(runs), has_ended=len(runs) == len(names), cpu_s=used_s)
    return went, next((result.stop for result in results if result.stop), None)


def run_traced(
    sandbox: Sandbox,
    tests: TurnTests,
    numbers: Sequence[int],
    code: bytes,
    limits: Limits,
    *,
    environment: Mapping[str, str],
    collect: tuple[str, ...],
) -> Mapping[str, bytes] | None:
    """Tests that load a program which writes down what it runs: the files it left; None: not every test returned.

    Args:
        sandbox: Where; files can be written, by the tests too, so they say nothing on which anything depends.
        tests: Those that there are; they have no host.
        numbers: Of those to run.
        code: The program, a shared object.
        limits: Of the run; each test may compute ``cpu_s``.
        environment: Of the program.
        collect: The files that are wanted.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    mark, returned, told = _told(numbers)
    step = RunStep(argv=("./tests", str(int(limits.cpu_s * 1e6))), stdin=told)
    files = {"tests": tests.binary, "code.so": code}
    result = sandbox.run(Run(files=files, steps=(step,), environment=environment, collect=collect, limits=limits))
    codes = [code for code, _ in _ends(result.steps[0].out, mark)]
    return result.files if codes == [returned] * len(numbers) else None


def _told(numbers: Sequence[int]) -> tuple[str, int, str]:
    """A word that no test knows, the exit code of tests that return, and what ``inside/tests.c`` reads of both."""
    mark = secrets.token_hex(16)
    returned = _FIRST_CODE + secrets.randbelow(_NUM_CODES)
    return mark, returned, " ".join([mark, str(returned), *map(str, numbers)])


def _ends(out: bytes, mark: str) -> list[tuple[int, str]]:
    """Of each test its exit code, negative for a signal, and what it printed; as far as that makes sense."""
    printed, *rest = out.decode("utf-8", "replace").split(f"\n{mark} ")
    ends = []
    for part in rest:
        said = re.match(r"(\d{1,5})\n", part)
        if said is None:
            break
        status = int(said[1])
        ends.append((-(status & 127) if status & 127 else status >> 8, printed))
        printed = part[said.end() :]
    return ends


def _test_run(name: str, code: int, printed: str, returned: int) -> TestRun:
    if code == returned:
        return TestRun(name, "passed")
    if code == _LOST:
        return TestRun(name, "unknown", "the function was lost in an earlier test")
    why = shortened(printed)
    if code == 0:
        return TestRun(name, "exited", why or "it ended its process")
    if -code in _TIME_SIGNALS:
        return TestRun(name, "failed", "it took too long")
    return TestRun(name, "failed", why or f"it ended with {code}")


def _run_of_program(name: str, step: RunStepResult) -> TestRun:
    """Of a whole program: it passes where it ends well and complains of nothing."""
    if step.code == 0 and not step.err.strip():
        return TestRun(name, "passed")
    return TestRun(name, "failed", shortened(step.errors) or f"it ended with {step.code}")


def shortened(text: str) -> str:
    """What somebody said, in one line."""
    return " ".join(text.split())[:_MOST_WHY]
