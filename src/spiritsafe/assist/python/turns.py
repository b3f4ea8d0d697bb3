"""Turns of programs with tests under pytest: the programs' texts in one sandbox, the tests in another.

In: a module of a project, other texts for it, tests, and the order of turns. Out: how each turn went. The side of the
tests gets compiled code only, and imports it as the module that it stands for.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spiritsafe.assist.python import inside
from spiritsafe.assist.python.environment import PythonEnvironment
from spiritsafe.assist.python.project import PythonModule
from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.core.files.reading import parse_json
from spiritsafe.tasks import Limits, Run, RunStep, Sandbox, closed_folder, shown_at
from spiritsafe.tasks.code import DuetResult, DuetTurn, TestOutcome, TestRun, program_files

_FOLDER = inside.__name__.replace(".", "/")
_MAIN = f"""import os
import sys

sys.path.insert(0, os.getcwd())
from {inside.__name__}.{{}} import main

main()
"""
_ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_OUTPUT_BYTES = 64 << 20
_MEMORY_BYTES = 2 << 30
_FILE_BYTES = 32 << 20
_START_S = 60.0
_FEWEST_WALL_S, _TIMES_CPU = 10.0, 6
"""Of one turn, or so often what it may compute: what computes is ended sooner, so only what sleeps is."""
_SLEEPERS = 0.5
"""Of the turns, the share that may sleep until they are ended."""
_TIME_SIGNALS = (-9, -14, -24, -27)
"""Linux's SIGKILL, SIGALRM, SIGXCPU and SIGPROF."""
_WRITES = re.compile(
    r"\b(tmp_?path\w*|tmp_?dir\w*|tempfile|TemporaryDirectory|NamedTemporaryFile|mkdtemp|mkstemp|capfd\w*)\b"
)
"""In a text of tests: some of them need a folder."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTests:
    """Tests of a module.

    Attributes:
        module: What they are of.
        text: They.
        name: Of their file.
        without: Names of those that are left out.
    """

    module: PythonModule
    text: str
    name: str
    without: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class ModuleTurn:
    """One program's turn, before it.

    Attributes:
        program: Its place among the programs.
        shuffle: What the order of tests is drawn with; None: that of the text.
        is_traced: Whether the lines that are run are to be known.
    """

    program: int
    shuffle: int | None = None
    is_traced: bool = False


@cache
def _files(*names: str) -> dict[str, str]:
    own = {f"{_FOLDER}/{name}.py": Path(inside.__path__[0], f"{name}.py").read_text("utf-8") for name in names}
    return {**program_files("channel", "fenced"), **own}


@cache
def sandbox_with(extra: tuple[str, ...]) -> Sandbox:
    """The sandbox that shows these places too; it ends with the process.

    Raises:
        SandboxMissingError: There is none here.
    """
    sandbox = Sandbox(extra=extra)
    atexit.register(sandbox.close)
    os.register_at_fork(after_in_child=sandbox.forget)
    return sandbox


def run_module_turns(
    sandbox: Sandbox,
    tests: ModuleTests,
    programs: Sequence[str],
    turns: Sequence[ModuleTurn],
    *,
    cpu_s: float,
    stops_early: bool = False,
) -> DuetResult:
    """Let each program have its turns with the tests.

    Args:
        sandbox: Where; it shows the libraries that the project leans on, and not the project.
        tests: They.
        programs: Texts for the module; the first is its own.
        turns: In their order.
        cpu_s: Seconds that a turn may compute.
        stops_early: There are no more turns after one that did not come to its end.

    Raises:
        TaskError: The project is too large, or pytest is missing.
        SandboxFailure: The sandbox failed.
    """
    if not _WRITES.search(tests.text):
        return _run(sandbox, tests, programs, turns, cpu_s=cpu_s, stops_early=stops_early, writes=False)
    # what one turn writes, another one could read: so each has a run of its own, whose files are gone with it

    def run_one(turn: ModuleTurn) -> DuetResult:
        pair = [programs[0], programs[turn.program]]
        result = _run(sandbox, tests, pair, [replace(turn, program=1)], cpu_s=cpu_s, stops_early=False, writes=True)
        return replace(result, turns=tuple(replace(went, program=turn.program) for went in result.turns))

    results = sandbox.map(run_one, turns)
    return DuetResult(
        turns=tuple(went for result in results for went in result.turns),
        stop=next((result.stop for result in results if result.stop), None),
        layer=results[0].layer,
    )


def _run(
    sandbox: Sandbox,
    tests: ModuleTests,
    programs: Sequence[str],
    turns: Sequence[ModuleTurn],
    *,
    cpu_s: float,
    stops_early: bool,
    writes: bool,
) -> DuetResult:
    nonce = secrets.token_hex(16)
    module = tests.module
    wall_s = max(_FEWEST_WALL_S, _TIMES_CPU * cpu_s)
    limits = Limits(
        cpu_s=_START_S,
        wall_s=_START_S + len(turns) * (cpu_s + _SLEEPERS * wall_s),
        memory_bytes=_MEMORY_BYTES,
        output_bytes=_OUTPUT_BYTES,
    )
    environment = module.environment
    paths = dict.fromkeys(place for folder in environment.libraries for place in (shown_at(str(folder)), str(folder)))
    job: dict[str, Any] = {
        "nonce": nonce,
        "paths": list(paths),
        "tests": tests.text,
        "test_path": f"tests/{tests.name}",
        "test_name": tests.name.removesuffix(".py"),
        "without": list(tests.without),
        "module": module.name,
        "place": module.place,
        "is_package": module.is_package,
        "tops": list(module.tops),
        "turns": [(turn.shuffle, turn.is_traced) for turn in turns],
        "stops_early": stops_early,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "file_bytes": _FILE_BYTES if writes else 0,
    }
    options = ("-I", "-S", "-B", "-X", "no_debug_ranges")  # without columns, which would tell mutants apart
    executable = str(environment.executable)
    if any(environment.executable.is_relative_to(own) for own in environment.own) and "namespaces" in sandbox.layer:
        executable = shown_at(executable)
    python = (executable, *options, "main.py")  # anew, so that sets of strings are in another order
    of_tests = Run(
        files={
            **{f"project/{name}": content for name, content in module.files().items()},
            **_files("host", "session", "modules", "outcomes", "watch"),
            "main.py": _MAIN.format("host"),
            "pytest.ini": "[pytest]\n",
            f"tests/{tests.name}": tests.text,
        },
        steps=(RunStep(argv=python, stdin=json.dumps(job), has_channel=True),),
        environment=_ENVIRONMENT,
        read_only=not writes,
        limits=limits,
    )
    order = [0, *(turn.program for turn in turns)]
    of_programs = Run(
        files={**_files("compiler"), "main.py": _MAIN.format("compiler")},
        steps=(
            RunStep(
                argv=python,  # the same one: no other Python can read what it compiles
                stdin=json.dumps({"programs": list(programs), "order": order, "place": module.place}),
                has_channel=True,
            ),
        ),
        read_only=True,
        limits=limits,
    )
    one, other = sandbox.run_pair(of_tests, of_programs)
    lines = [line for line in one.steps[0].text.splitlines() if line.startswith(f"{nonce} ")]
    if not lines:
        said = one.steps[0].errors.strip().rpartition("\n")[2] or one.stop or f"it ended with {one.steps[0].code}"
        raise TaskError(
            f"pytest cannot be started in the sandbox ({one.layer}): {said}.",
            hint=_hint_for_start(environment, one.layer),
        )
    went = [_turn(line.partition(" ")[2], turn.program) for line, turn in zip(lines[1:], turns, strict=False)]
    return DuetResult(turns=tuple(went), stop=one.stop or other.stop, layer=one.layer)


def _hint_for_start(environment: PythonEnvironment, layer: str) -> str:
    """What to do where pytest does not start."""
    closed = closed_folder(environment.executable)
    if layer.startswith("landlock") and os.geteuid() == 0 and closed is not None:
        return (
            f"Tests run as another user, who cannot enter {closed}: let others enter it (chmod o+x {closed}), use a "
            "Python that is installed elsewhere, or install bubblewrap."
        )
    return f"Install pytest for {environment.named or 'the Python of spiritsafe'}."


class _Message(BaseModel):
    """What the process of a turn may say; it may say anything else too, and then that is its last."""

    model_config = ConfigDict(extra="forbid", strict=True)

    begin: str | None = Field(default=None, max_length=500)
    test: str | None = Field(default=None, max_length=500)
    outcome: TestOutcome = "unknown"
    why: str = Field(default="", max_length=1000)
    lost: str | None = None
    broken: str | None = None
    lines: frozenset[int] | None = None
    end: int | None = None


def _turn(line: str, program: int) -> DuetTurn:
    messages: list[_Message] = []
    said = parse_json(line, "the side of the tests")
    try:
        for message in said["said"]:
            messages.append(_Message.model_validate_json(json.dumps(message)))
    except (SourceError, ValidationError, RecursionError):
        pass
    has_ended = bool(messages) and messages[-1].end == sum(one.test is not None for one in messages)
    cases = [TestRun(one.test, one.outcome, one.why) for one in messages if one.test is not None]
    begun = next((one.begin for one in reversed(messages) if one.begin is not None), None)
    if not has_ended and begun is not None and (not cases or messages[-1].test is None):
        why = "it took too long" if said["code"] in _TIME_SIGNALS else "it ended its process"
        cases.append(TestRun(begun, "exited", why))
    return DuetTurn(
        program=program,
        tests=_whole(cases),
        has_ended=has_ended,
        lost=next((one.lost for one in messages if one.lost is not None), None),
        broken=next((one.broken for one in messages if one.broken is not None), None),
        cpu_s=float(said["cpu_s"]),
        lines=next((one.lines for one in messages if one.lines is not None), None),
    )


def _whole(cases: Sequence[TestRun]) -> tuple[TestRun, ...]:
    """All cases of a test as one: the worst that is not all."""
    found: dict[str, list[TestRun]] = {}
    for case in cases:
        found.setdefault(case.test, []).append(case)
    order: list[TestOutcome] = ["exited", "failed", "passed", "skipped", "unknown"]
    return tuple(min(its, key=lambda case: order.index(case.outcome)) for its in found.values())
