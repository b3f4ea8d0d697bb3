"""Tests against code, each in a sandbox of its own, for many programs in one go.

In: tests in Python, written by whomever, and programs in Python, written by whomever, and the order in which these have
their turns. Out: for each turn how each test went. Tests see functions that they can call, and no source, no file and
no trace of other turns; the code sees arguments, and neither tests nor what they expect. What each side says of the
other is plain values, and what equals what is decided on the side of the tests.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.reading import parse_json
from spiritsafe.tasks.code.duet.programs import program_files
from spiritsafe.tasks.sandbox.job import Limits, Run, RunResult, RunStep, Stop
from spiritsafe.tasks.sandbox.sandbox import Sandbox

TestOutcome = Literal["passed", "failed", "exited", "skipped", "unknown"]
"""How a test went; "unknown": the code was lost in an earlier one."""

_OUTPUT_BYTES = 16 << 20
_MEMORY_BYTES = 1 << 30
_MOST_TESTS = 200
_START_S = 20.0
_MOST_WALL_S = 10.0
"""Of one turn; what computes is ended sooner, so only what sleeps is."""


@final
@dataclass(frozen=True, slots=True)
class TestRun:
    """How one test went.

    Attributes:
        test: Its name.
        outcome: How it went.
        why: In a few words.
    """

    __test__ = False  # pytest would take it for tests

    test: str
    outcome: TestOutcome
    why: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DuetTurn:
    """One program's turn.

    Attributes:
        program: Which.
        tests: How each test went, as far as they came.
        has_ended: All of them came to an end.
        lost: Why the program could not be loaded; None: it was.
        broken: What the module of the tests raised outside any test; None: nothing.
        calls: The first calls, where they were to be recorded: name and arguments, as
            :func:`~spiritsafe.tasks.code.duet.inside.values.encoded` writes them.
        cpu_s: Seconds that tests and code computed.
        longest_call_s: Seconds that the code's longest call computed, as its own side says.
        lines: Numbers of the program's lines that were run, where the turn was traced.
    """

    program: int
    tests: tuple[TestRun, ...] = ()
    has_ended: bool = False
    lost: str | None = None
    broken: str | None = None
    calls: tuple[tuple[str, list[Any]], ...] = ()
    cpu_s: float = 0.0
    longest_call_s: float = 0.0
    lines: frozenset[int] | None = None

    @property
    def has_passed(self) -> bool:
        """All tests passed, and there were some."""
        fine = self.has_ended and self.lost is None and self.broken is None
        return fine and bool(self.tests) and all(test.outcome == "passed" for test in self.tests)

    @property
    def why_not(self) -> str:
        """In a few words, why not all passed."""
        bad = next((f"{test.test}: {test.why or test.outcome}" for test in self.tests if test.outcome != "passed"), "")
        broken = f"the tests do not load: {self.broken}" if self.broken is not None else ""
        lost = f"the program does not load: {self.lost}" if self.lost is not None else ""
        unended = "" if self.has_ended else "the tests did not come to their end"
        return lost or broken or bad or unended or ("" if self.tests else "there are no tests")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DuetResult:
    """How all turns went.

    Attributes:
        turns: In their order, as far as they came.
        stop: Why all was ended from outside; None: it was not.
        layer: What held both sides.
    """

    turns: tuple[DuetTurn, ...]
    stop: Stop | None
    layer: str


def run_duet(
    sandbox: Sandbox,
    *,
    tests: str,
    programs: Sequence[str],
    order: Sequence[int],
    checks: Sequence[str] = (),
    prelude: str = "",
    names: Sequence[str] | None = None,
    record: bool = False,
    traced: Sequence[int] = (),
    cpu_s: float = 2.0,
    call_cpu_s: float = 0.0,
) -> DuetResult:
    """Let each program have its turns with the tests.

    Args:
        sandbox: Where.
        tests: Text of a module. Where there are no checks, its tests are those that pytest would find, and each assert
            that stands alone. The functions of a program are its globals already, and are in ``solution`` too.
        programs: Texts of modules.
        order: Which program has which turn.
        checks: Statements, each a test, that run behind the module of tests.
        prelude: What runs before: definitions that tests lean on.
        names: Of a program, what the tests see; all of its public names when left out. A program that nobody vouches
            for could have an ``abs`` or ``set`` of its own, which would then be that of the tests.
        record: Keep the calls.
        traced: Turns, by their places in the order, whose lines are to be known; they compute longer.
        cpu_s: Seconds that tests and code may compute in a turn, each.
        call_cpu_s: Seconds that one call of the code may compute; 0: as many as the turn.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    nonce = secrets.token_hex(16)
    limits = Limits(
        cpu_s=_START_S,
        wall_s=_START_S + len(order) * (2 * cpu_s + 0.5),
        memory_bytes=_MEMORY_BYTES,
        output_bytes=_OUTPUT_BYTES,
    )
    bounds = {"cpu_s": cpu_s, "wall_s": _MOST_WALL_S}
    told: dict[str, Any] = {"nonce": nonce, "tests": tests, "checks": list(checks), "prelude": prelude, **bounds}
    told |= {"names": None if names is None else list(names), "record": record}
    job = {"programs": list(programs), "order": list(order), "traced": list(traced), "call_cpu_s": call_cpu_s}
    job |= bounds
    of_tests = Run(
        files=program_files("tests_host", "some_pytest", "channel", "fenced", "values", "alike"),
        steps=(RunStep(python="main.py", stdin=json.dumps(told), has_channel=True),),
        read_only=True,
        limits=limits,
    )
    of_code = Run(
        files={**program_files("code_host", "channel", "fenced", "values"), "job.json": json.dumps(job)},
        steps=(RunStep(python="main.py", has_channel=True),),
        read_only=True,
        limits=limits,
    )
    one, other = sandbox.run_pair(of_tests, of_code)
    return DuetResult(turns=_turns(one, nonce, order, other), stop=one.stop or other.stop, layer=one.layer)


def _turns(result: RunResult, nonce: str, order: Sequence[int], code: RunResult) -> tuple[DuetTurn, ...]:
    lines = [line for line in result.steps[0].text.splitlines() if line.startswith(f"{nonce} ")]
    of_code = [_of_code(line) for line in code.steps[0].text.splitlines()] + [_OfCode()] * len(order)
    return tuple(
        replace(
            _turn(line.partition(" ")[2], program, said.cpu_s), longest_call_s=said.longest_call_s, lines=said.lines
        )
        for line, program, said in zip(lines, order, of_code, strict=False)
    )


class _OfCode(BaseModel):
    """What the side of the code says of a turn."""

    cpu_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    longest_call_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    lines: frozenset[int] | None = None


def _of_code(line: str) -> _OfCode:
    try:
        return _OfCode.model_validate(parse_json(line, "the side of the code"))
    except (SourceError, ValidationError):  # what ran there may have said anything
        return _OfCode()


class _Message(BaseModel):
    """What the process of a turn may say; it may say anything else too, and then that is its last."""

    model_config = ConfigDict(extra="forbid", strict=True)

    test: str | None = Field(default=None, max_length=200)
    outcome: TestOutcome = "unknown"
    why: str = Field(default="", max_length=1000)
    lost: str | None = None
    broken: str | None = None
    calls: list[tuple[str, list[Any]]] = []
    end: int | None = None


def _turn(line: str, program: int, cpu_s: float) -> DuetTurn:
    messages = []
    try:
        said = parse_json(line, "the side of the tests")
        for message in said["said"]:
            messages.append(_Message.model_validate_json(json.dumps(message)))
    except (SourceError, ValidationError, RecursionError):
        pass
    else:
        cpu_s += float(said["cpu_s"])
    tests = [TestRun(one.test, one.outcome, one.why) for one in messages if one.test is not None][:_MOST_TESTS]
    return DuetTurn(
        program=program,
        tests=tuple(tests),
        has_ended=bool(messages) and messages[-1].end == len(tests),
        lost=next((one.lost for one in messages if one.lost is not None), None),
        broken=next((one.broken for one in messages if one.broken is not None), None),
        calls=tuple(call for one in messages for call in one.calls),
        cpu_s=round(cpu_s, 6),
    )
