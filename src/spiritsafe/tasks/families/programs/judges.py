"""What runs a program that answers a published problem, and says whether it is right.

In: a program and the suite of its problem. Out: a :class:`Judged`. Programs run in the sandbox only; what they are
compared with never enters the part that they run in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

from spiritsafe.tasks.code.duet.duet import run_duet
from spiritsafe.tasks.code.duet.inside import alike, values
from spiritsafe.tasks.sandbox.job import Limits, Run, RunResult, RunStep
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_LIMITS = Limits(cpu_s=10.0, wall_s=120.0)
_CLOSE = 0.001
"""How far a float may be off, as COBOLEval's own harness has it."""
_NEGATIVE = "pqrstuvwxy"
"""The digits of what is below zero, from 0 to 9."""
_LINE = r"^(?![ \t]*\*)(?:.{6} )?[ \t]*"
"""Of code, behind six columns for numbers, or none."""
_SECTION = re.compile(rf"{_LINE}(WORKING-STORAGE[ \t]+SECTION|LINKAGE[ \t]+SECTION|PROCEDURE[ \t]+DIVISION)\b", re.I)
_PROGRAM = re.compile(rf"{_LINE}(?:IDENTIFICATION|ID)[ \t]+DIVISION\b", re.I | re.M)
_PROCEDURE = re.compile(rf"{_LINE}PROCEDURE[ \t]+DIVISION[ \t]*\.", re.I | re.M)
_LINKED = re.compile(r"(?<![\w-])LINKED-ITEMS(?![\w-])", re.I)
_FREE = re.compile(r"^[ \t]{0,6}(?:>>[ \t]*SOURCE\b|(?:IDENTIFICATION|ID)[ \t]+DIVISION\b|PROGRAM-ID\b)", re.I | re.M)
"""At the beginning of a line, where numbers would be in a program with columns."""


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a program.

    Attributes:
        is_right: It passed everything.
        reason: In a few words.
        layer: What held it.
    """

    is_right: bool
    reason: str
    layer: str


_FURTHER = f"""
from {alike.__name__} import is_alike as _is_alike
from {values.__name__} import decoded as _decode

def _check_further(function, arguments, wanted, ignored):
    given = [_decode(each) for each in arguments]
    found = function(*given)
    assert _is_alike(found, _decode(wanted), ignored), f"{{arguments}} gives {{found!r}}"
"""


def further_checks(entry: str, further: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What stands behind the module of tests, and the checks that lean on it, for inputs beyond the published tests.

    Args:
        entry: The function.
        further: ``calls``, pairs of arguments and result as JSON means values, and what of these is ``ignored``.
    """
    ignored = tuple(further["ignored"])
    checks = [
        f"_check_further({entry}, {arguments!r}, {result!r}, {ignored!r})" for arguments, result in further["calls"]
    ]
    return (_FURTHER, checks) if checks else ("", [])


def judge_python(sandbox: Sandbox, program: str, suite: Mapping[str, Any], entry: str) -> Judged:
    """Run the suite's checks against a program's function.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    behind, further = further_checks(entry, suite["further"]) if "further" in suite else ("", [])
    result = run_duet(
        sandbox,
        tests=suite["tests"] + behind,
        checks=[*suite["checks"], *further],
        prelude=suite["prelude"],
        names=[entry],
        programs=[program],
        order=[0],
        cpu_s=_LIMITS.cpu_s,
    )
    if not result.turns:
        return Judged(False, f"it was ended: {result.stop or 'its process is gone'}", result.layer)
    turn = result.turns[0]
    return Judged(turn.has_passed, turn.why_not or "all checks passed", result.layer)


def judge_cobol(sandbox: Sandbox, program: str, suite: Mapping[str, Any], entry: str) -> Judged:
    """Compile each caller with the program, run it, and compare what it wrote.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    callers, output = suite["callers"], f"{entry}.TXT"
    files = {"solution.cbl": in_order(program)}
    steps = []
    for number, test in enumerate(callers):
        files[f"caller{number}.cbl"] = test["caller"]
        compiled = f"./test{number}"
        build = (
            "cobc",
            "-w",
            "-fformat=variable",
            "-ffold-call=UPPER",
            "-x",
            "-o",
            compiled,
            f"caller{number}.cbl",
            "solution.cbl",
        )
        keep = ("/bin/sh", "-c", f"{compiled} && mv -- '{output}' {number}.txt")
        steps += [RunStep(argv=build), RunStep(argv=keep, must=False)]
    collected = tuple(f"{number}.txt" for number in range(len(callers)))
    result = sandbox.run(Run(files=files, steps=tuple(steps), collect=collected, limits=_LIMITS))
    for number, test in enumerate(callers):
        why = _why_wrong(result, number, test)
        if why is not None:
            return Judged(False, f"test {number}: {why}", result.layer)
    return Judged(True, f"all {len(callers)} tests passed", result.layer)


def _why_wrong(result: RunResult, number: int, test: Mapping[str, Any]) -> str | None:
    if result.stop is not None:
        return f"it was ended: {result.stop}"
    built = result.steps[2 * number]
    if built.code != 0:
        return f"it does not compile: {(built.errors or built.text).strip()[:200]}"
    written = result.files.get(f"{number}.txt")
    if written is None:
        return f"it wrote no result: {result.steps[2 * number + 1].errors.strip()[:200]}"
    lines = written.decode("latin-1").splitlines()
    wanted = test["value"] if test["is_list"] else [test["value"]]
    try:
        found = [_READ[test["type"]](line.strip()) for line in lines[: len(wanted)]]
    except ValueError:
        return "its result cannot be read"
    fine = len(found) == len(wanted) and all(map(_is_same, found, wanted))
    return None if fine else f"it gave {str(found)[:100]}"


def _signed(text: str) -> str:
    """A number as GnuCOBOL's fields with a leading sign hold it: in negative ones the first digit is a letter."""
    return f"-{_NEGATIVE.index(text[0])}{text[1:]}" if text and text[0] in _NEGATIVE else text


_READ: dict[str, Callable[[str], Any]] = {
    "Bool": lambda text: text == "1",
    "Int": lambda text: int(_signed(text)),
    "Float": lambda text: float(_signed(text)),
    "String": lambda text: text,
}


def _is_same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return math.isclose(found, wanted, abs_tol=_CLOSE)
    return bool(found == wanted)


def in_order(program: str) -> str:
    """Programs whose sections stand as GnuCOBOL wants them.

    COBOLEval's prompts put LINKAGE before WORKING-STORAGE, and leave out what the procedure is called with; and they
    have columns, which an answer that begins anew may do without.
    """
    starts = [0, *(found.start() for found in _PROGRAM.finditer(program)), len(program)]
    ordered = "".join(_in_order(program[start:end]) for start, end in pairwise(starts))
    return f"       >>SOURCE FORMAT IS FREE\n{ordered}" if _FREE.search(program) else ordered


def _in_order(program: str) -> str:
    """One program."""
    if _LINKED.search(program):
        program = _PROCEDURE.sub("       PROCEDURE DIVISION USING LINKED-ITEMS.", program)
    parts: dict[str, list[str]] = {"": []}
    current = ""
    for line in program.splitlines():
        section = _SECTION.match(line)
        if section is not None:
            current = section[1].upper().split()[0].split("-")[0]
            if current in parts and current != "PROCEDURE":
                continue  # it goes on with a section that the prompt has begun
        parts.setdefault(current, []).append(line)
    ordered = [parts.pop(name, []) for name in ("", "WORKING", "LINKAGE", "PROCEDURE")]
    return "".join(f"{line}\n" for part in ordered for line in part)
