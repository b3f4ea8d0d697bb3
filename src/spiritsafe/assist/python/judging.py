"""What tests of a module are worth: which hold for it, and which of its other versions each of them notices.

In: a module, tests, other texts for it. Out: a :class:`~spiritsafe.tasks.code.duet.kills.Kills`. A test that ends its
process, or hangs, or passes only at times, is left out, and the others are tried without it.
"""

from __future__ import annotations

import ast
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from spiritsafe.assist.python.turns import ModuleTests, ModuleTurn, run_module_turns
from spiritsafe.tasks import Sandbox
from spiritsafe.tasks.code import (
    FIRST_TURNS,
    DuetResult,
    DuetTurn,
    Kills,
    judged_kills,
    later_order,
    line_coverage,
    mutant_cpu_s,
    why_broken,
)

TURN_CPU_S = 5.0
"""Of the module itself with all tests."""
_MOST_LEFT_OUT = 8
"""Tests that ended or hung; with more of them, none of all is looked at."""
_MOST_FICKLE = 2
"""How often fickle tests are left out: one that only chance lets pass would have to pass in every further round too."""
_FEWEST_TURNS = 30
"""So many are worth the start of pytest."""
_FICKLE = "it passes and fails on the same program"
_FIRST = [*[ModuleTurn(0)] * FIRST_TURNS, ModuleTurn(0, is_traced=True)]


def kills_in_module(sandbox: Sandbox, tests: ModuleTests, programs: Sequence[str]) -> Kills:
    """What tests are worth, by how they go with the module and with other texts for it.

    Raises:
        TaskError: The project is too large, or pytest is missing.
        SandboxFailure: The sandbox failed.
    """
    left_out: dict[str, str] = {}
    num_fickle = 0
    while True:
        begun = _begun(sandbox, tests, left_out)
        tests = replace(tests, without=tuple(left_out))
        first = begun.turns[:FIRST_TURNS]
        names = tuple(dict.fromkeys(test.test for turn in first for test in turn.tests))
        broken = next((turn.why_not for turn in first if not turn.has_ended), "") or why_broken(first, stop=begun.stop)
        broken = broken or ("" if names or left_out else "there are no tests")
        if broken:
            return Kills(broken=broken, layer=begun.layer)
        found, golds = _judged(sandbox, tests, programs, begun, names)
        fickle = [name for name in names if len(_outcomes(name, golds) - {"unknown"}) > 1]
        if not fickle or num_fickle == _MOST_FICKLE:
            break
        num_fickle += 1
        left_out |= dict.fromkeys(fickle, _FICKLE)
    traced = begun.turns[FIRST_TURNS:]
    return replace(
        found,
        tests=_in_order([*names, *left_out], tests.text),
        invalid={**found.invalid, **left_out},
        coverage=line_coverage(tests.module.source, traced[0].lines) if traced else None,
    )


def _begun(sandbox: Sandbox, tests: ModuleTests, left_out: dict[str, str]) -> DuetResult:
    """First turns of the module itself, without tests that ended one; these go to those left out."""
    for _ in range(_MOST_LEFT_OUT + 1):
        tests = replace(tests, without=tuple(left_out))
        begun = run_module_turns(sandbox, tests, [tests.module.source], _FIRST, cpu_s=TURN_CPU_S, stops_early=True)
        ended = next((turn for turn in begun.turns[:FIRST_TURNS] if not turn.has_ended and turn.tests), None)
        if ended is None:
            break
        left_out[ended.tests[-1].test] = ended.tests[-1].why or ended.tests[-1].outcome
    return begun


def _judged(
    sandbox: Sandbox, tests: ModuleTests, programs: Sequence[str], begun: DuetResult, names: Sequence[str]
) -> tuple[Kills, list[DuetTurn]]:
    """What tests are worth, and all turns of the module itself."""
    first = begun.turns[:FIRST_TURNS]
    if not any(all(_outcomes(name, [turn]) == {"passed"} for turn in first) for name in names):
        return judged_kills(names, first, None, num_mutants=len(programs), layer=begun.layer), []
    later = [ModuleTurn(program, secrets.randbits(32)) for program in later_order(range(1, len(programs) + 1))]
    versions, cpu_s = [tests.module.source, *programs], mutant_cpu_s(first)
    num_parts = min(sandbox.num_boxes, max(1, len(later) // _FEWEST_TURNS))

    def part(place: int) -> DuetResult:
        return run_module_turns(sandbox, tests, versions, later[place::num_parts], cpu_s=cpu_s)

    parts = sandbox.map(part, range(num_parts))
    turns = [turn for one in parts for turn in one.turns]
    stop = next((one.stop for one in parts if one.stop), None)
    found = judged_kills(names, first, turns, num_mutants=len(programs), layer=begun.layer, stop=stop)
    return found, [*first, *(turn for turn in turns if turn.program == 0)]


def _outcomes(name: str, turns: Sequence[DuetTurn]) -> set[str]:
    return {test.outcome for turn in turns for test in turn.tests if test.test == name}


def _in_order(names: Sequence[str], text: str) -> tuple[str, ...]:
    """Names of tests as they stand in the text."""
    places: dict[str, int] = {}
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                places[node.name] = node.lineno
    return tuple(sorted(dict.fromkeys(names), key=lambda name: places.get(name.rpartition(".")[2], 0)))
