"""What shall run in a sandbox, and how it went.

In: files, and steps that run one after the other (a compiler, then what it made). Out: of each step how it ended and
what it said. What a program says of itself, its exit code too, is only what it says: whoever grades compares its output
outside, with values that the sandbox never held.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

Stop = Literal["time", "output", "memory", "scratch"]
"""What a run was ended for: it took too long, said too much, held or wrote too much."""
MOST_STEPS = 80
"""Of one run: each has two descriptors, and there is a bound to these."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use.

    Attributes:
        cpu_s: Seconds of each process, counted by the kernel, so that a crowded machine fails nobody.
        wall_s: Seconds from beginning to end; generous, because it only has to catch what sleeps.
        memory_bytes: Address space of each process, and memory that all of them hold together.
        output_bytes: Of all that is written to standard output and error.
        file_bytes: Of any one file.
        processes: At once, threads counted.
    """

    cpu_s: float = 5.0
    wall_s: float = 30.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 20
    file_bytes: int = 32 << 20
    processes: int = 32


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """One program.

    Attributes:
        argv: To execute.
        python: Instead: a Python file, run in the interpreter that is warm already.
        arguments: Of the Python file.
        stdin: What it can read.
        must: Whether later steps run only if this one ends with exit code 0.
        has_channel: Whether descriptor 3 is the way to the other run; see :meth:`Sandbox.run_pair`.
    """

    argv: tuple[str, ...] = ()
    python: str | None = None
    arguments: tuple[str, ...] = ()
    stdin: str = ""
    must: bool = True
    has_channel: bool = False

    def to_json(self) -> dict[str, Any]:
        """As the sandbox reads it."""
        program = {"argv": self.argv} if self.python is None else {"python": self.python, "arguments": self.arguments}
        return {**program, "stdin": self.stdin, "must": self.must, "channel": self.has_channel}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run.

    Attributes:
        files: By their paths in the folder where the steps begin.
        steps: One after the other.
        environment: Beside PATH, HOME, TMPDIR and LANG, which is all there is.
        collect: Files that are wanted afterwards.
        read_only: Nothing can be written, no process be looked at and none be slowed down, so that what runs in it
            leaves nothing to what runs in it later.

    Raises:
        ValueError: There are more steps than one run can have.
    """

    files: Mapping[str, str | bytes] = field(default_factory=dict)
    steps: tuple[RunStep, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    collect: tuple[str, ...] = ()
    read_only: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if len(self.steps) > MOST_STEPS:
            raise ValueError(f"a run has at most {MOST_STEPS} steps, not {len(self.steps)}")

    def to_json(self) -> dict[str, Any]:
        """As the sandbox reads it."""
        limits = self.limits
        return {
            "files": {
                name: text if isinstance(text, str) else {"base64": base64.b64encode(text).decode("ascii")}
                for name, text in self.files.items()
            },
            "steps": [step.to_json() for step in self.steps],
            "environment": dict(self.environment),
            "collect": list(self.collect),
            "read_only": self.read_only,
            "limits": {
                "cpu_s": limits.cpu_s,
                "memory_bytes": limits.memory_bytes,
                "file_bytes": limits.file_bytes,
                "processes": limits.processes,
            },
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunStepResult:
    """How a step went.

    Attributes:
        code: Its exit code; negative: the signal that ended it; None: it was ended with its run, or never began.
        out: What it wrote to standard output.
        err: Likewise to standard error.
        cpu_s: Seconds that it and its children computed.
        memory_bytes: The most that one of its processes held.
    """

    code: int | None = None
    out: bytes = b""
    err: bytes = b""
    cpu_s: float = 0.0
    memory_bytes: int = 0

    @property
    def text(self) -> str:
        """Standard output; what is not UTF-8 is replaced."""
        return self.out.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        """Standard error, likewise."""
        return self.err.decode("utf-8", "replace")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run went.

    Attributes:
        steps: One for each that was asked for.
        stop: Why it was ended from outside; None: it was not.
        files: Those that were wanted and are there.
        layer: What held it: see :mod:`~spiritsafe.tasks.sandbox.layers`.
    """

    steps: tuple[RunStepResult, ...]
    stop: Stop | None
    files: Mapping[str, bytes]
    layer: str

    @property
    def has_ended_well(self) -> bool:
        """Whether every step ended with exit code 0."""
        return self.stop is None and all(step.code == 0 for step in self.steps)
