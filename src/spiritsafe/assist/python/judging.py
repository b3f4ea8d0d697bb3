"""What tests of a module are worth: which hold for it, and which of its other versions each of them notices.

In: a module, tests, other texts for it. Out: a :class:`~spiritsafe.tasks.code.duet.kills.Kills`. A test that ends its
process, or hangs, is left out and the others are tried without it.
"""

from __future__ import annotations

import ast
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from spiritsafe.assist.python.turns import ModuleTests, ModuleTurn, run_module_turns
from spiritsafe.tasks.code.duet.coverage import line_coverage
from spiritsafe.tasks.code.duet.duet import DuetTurn
from spiritsafe.tasks.code.duet.kills import (
    FIRST_TURNS,
    Kills,
    judged_kills,
    later_order,
    mutant_cpu_s,
    why_broken,
)
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_CPU_S = 5.0
_MOST_LEFT_OUT = 8
_FIRST = [*[ModuleTurn(0)] * FIRST_TURNS, ModuleTurn(0, is_traced=True)]


def kills_in_module(sandbox: Sandbox, tests: ModuleTests, programs: Sequence[str]) -> Kills:
    """What tests are worth, by how they go with the module and with other texts for it.

    Raises:
        TaskError: The project is too large.
        SandboxFailure: The sandbox failed.
    """
    source = tests.module.source
    left_out: dict[str, str] = {}
    while True:
        tests = replace(tests, without=tuple(left_out))
        begun = run_module_turns(sandbox, tests, [source], _FIRST, cpu_s=_CPU_S)
        first = begun.turns[:FIRST_TURNS]
        ended_by = next((turn.tests[-1] for turn in first if not turn.has_ended and turn.tests), None)
        if ended_by is None or len(left_out) == _MOST_LEFT_OUT:
            break
        left_out[ended_by.test] = ended_by.why or ended_by.outcome
    traced = begun.turns[FIRST_TURNS:]
    coverage = line_coverage(source, traced[0].lines) if traced else None
    names = tuple(dict.fromkeys(test.test for turn in first for test in turn.tests))
    every = _in_order([*names, *left_out], tests.text)
    broken = why_broken(first, stop=begun.stop)
    if broken or not every:
        return Kills(broken=broken or "there are no tests", layer=begun.layer)
    if not _any_holds(first):
        found = judged_kills(names, first, None, num_mutants=len(programs), layer=begun.layer)
    else:
        order = later_order(range(1, len(programs) + 1))
        later = [ModuleTurn(program, secrets.randbits(32)) for program in order]
        second = run_module_turns(sandbox, tests, [source, *programs], later, cpu_s=mutant_cpu_s(first))
        found = judged_kills(
            names, first, second.turns, num_mutants=len(programs), layer=second.layer, stop=second.stop
        )
    return replace(found, tests=every, invalid={**found.invalid, **left_out}, coverage=coverage)


def _any_holds(first: Sequence[DuetTurn]) -> bool:
    passed = [{test.test for test in turn.tests if test.outcome == "passed"} for turn in first]
    return bool(set.intersection(*passed))


def _in_order(names: Sequence[str], text: str) -> tuple[str, ...]:
    """Names of tests as they stand in the text."""
    places: dict[str, int] = {}
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                places[node.name] = node.lineno
    return tuple(sorted(dict.fromkeys(names), key=lambda name: places.get(name.rpartition(".")[2], 0)))
