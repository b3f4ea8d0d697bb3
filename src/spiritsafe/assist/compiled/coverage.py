"""Which lines of a compiled file tests run: told beside what they kill, and never rewarded.

In: how a language compiles a file that counts its lines, and compiled tests. Out: the share of its lines that they run,
of those that the compiler makes code of; None where gcov is missing, is of another version than the compiler, or what
was counted makes no sense.

The tests are run once more, with this file in place of the one that they are judged by, each in a process that writes
its counts when it ends. What a test writes into these files itself is a lie about a figure that decides nothing.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from pydantic import BaseModel, ValidationError

from spiritsafe.tasks import Limits, Run, RunStep, Sandbox
from spiritsafe.tasks.code import BuildPart, TurnTests, compiling_run, run_traced

_CODE, _NOTES, _COUNTS = "code.so", "code.gcno", "code.gcda"
_ENVIRONMENT = {"LD_PRELOAD": f"./{_CODE}", "GCOV_PREFIX": ".", "GCOV_PREFIX_STRIP": "99"}
"""The code's own ``_exit`` is everybody's, and counts are written where the tests run, not where it was compiled."""
_TESTS = Limits(cpu_s=30.0, wall_s=120.0)
"""More than where tests are judged: what counts is slower, and not optimised."""
_READER = Limits(cpu_s=20.0, wall_s=60.0, output_bytes=64 << 20)
TRACE_SOURCE = "trace.c"
TRACE_OBJECT = "trace.o"
_TRACE = """
#include <sys/syscall.h>
#include <unistd.h>

void __gcov_dump(void);

/* A test that returns ends its process at once, and gcov writes at exit only. */
void _exit(int code) {
    __gcov_dump();
    for (;;) syscall(SYS_exit_group, code);
}
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LineTracing:
    """How a language compiles a file that counts its lines.

    Attributes:
        gcov: Reads the counts.
        source: The file's text as it is compiled for this, with the same lines.
        commands: Compile ``trace.c`` and the file, as ``code.so`` with ``code.gcno`` beside it.
        listing: A file that the compiler writes beside these, which tells of lines; "": none is needed.
        lines: Numbers of the lines that may count, by the listing.
    """

    gcov: str
    source: str
    commands: tuple[tuple[str, ...], ...]
    listing: str
    lines: Callable[[str], frozenset[int]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TracedCode:
    """A file that counts its lines, compiled.

    Attributes:
        gcov: Reads the counts.
        name: Of the file.
        code: The shared object.
        notes: What gcov has to know of it.
        lines: Numbers of the lines that may count.
    """

    gcov: str
    name: str
    code: bytes
    notes: bytes
    lines: frozenset[int]


def gcov_beside(compiler: str, name: str) -> str | None:
    """The gcov of that name in a compiler's folder, or elsewhere; None: there is none."""
    beside = Path(compiler).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name)


def traced_code(sandbox: Sandbox, tracing: LineTracing, name: str, part: BuildPart) -> TracedCode | None:
    """Compile a file that counts its lines; None: this compiler cannot.

    Args:
        sandbox: Where.
        tracing: How.
        name: Of the file.
        part: What lies beside it, and has to be compiled before it.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    files = {**part.files, name: tracing.source.encode("utf-8", "replace"), TRACE_SOURCE: _TRACE}
    counting = BuildPart(files=files, commands=(*part.commands, *tracing.commands), made=_CODE)
    left = [BuildPart(files={}, commands=(), made=one) for one in (_NOTES, tracing.listing) if one]
    made = sandbox.run(compiling_run([counting, *left])).files
    if not {_CODE, _NOTES} <= made.keys():
        return None
    lines = tracing.lines(made.get(tracing.listing, b"").decode("utf-8", "replace"))
    return TracedCode(gcov=tracing.gcov, name=name, code=made[_CODE], notes=made[_NOTES], lines=lines)


def compiled_coverage(sandbox: Sandbox, traced: TracedCode, tests: TurnTests, numbers: Sequence[int]) -> float | None:
    """The share of a file's lines that some tests run; None: it is not known, or there are no lines.

    Args:
        sandbox: Where.
        traced: The file.
        tests: All tests.
        numbers: Of those that hold.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    files = run_traced(sandbox, tests, numbers, traced.code, _TESTS, environment=_ENVIRONMENT, collect=(_COUNTS,))
    if files is None or _COUNTS not in files:
        return None
    reading = Run(
        files={_NOTES: traced.notes, _COUNTS: files[_COUNTS]},
        steps=(RunStep(argv=(traced.gcov, "--json-format", "--stdout", _COUNTS)),),
        read_only=True,
        limits=_READER,
    )
    result = sandbox.run(reading)
    return counted_share(result.steps[0].out, traced.name, traced.lines) if result.has_ended_well else None


class _Line(BaseModel):
    line_number: int
    count: int


class _File(BaseModel):
    file: str
    lines: list[_Line]


class _Counted(BaseModel):
    files: list[_File]


def counted_share(told: bytes, name: str, lines: frozenset[int]) -> float | None:
    """The share of a file's lines that were run, of those that may count and that the compiler made code of.

    Args:
        told: By gcov, as JSON.
        name: Of the file; what it includes has names of its own.
        lines: Numbers of the lines that may count.
    """
    try:
        counted = _Counted.model_validate_json(told)
    except ValidationError:
        return None
    counts = Counter[int]()
    for line in (line for file in counted.files if file.file == name for line in file.lines):
        counts[line.line_number] += max(line.count, 0)  # a line may be in several procedures, or twice in one
    known = counts.keys() & lines
    return sum(counts[line] > 0 for line in known) / len(known) if known else None
