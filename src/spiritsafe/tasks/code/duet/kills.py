"""Which tests hold for the right program, and which mutants each of them kills.

In: tests, the right program, mutants of it. Out: a :class:`Kills`. A test counts only if it passes on the right program
every time; each time and each mutant is a process that knows nothing of the others, and the right program has its turns
among the mutants, in an order that nobody can foresee. So a test can tell a mutant from the right program by what the
program does, and by nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import final

from spiritsafe.tasks.code.duet.duet import DuetResult, Turn, run_duet
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_FIRST_TURNS, _LATER_TURNS = 2, 3
"""Of the right program: before any mutant, and among them."""
_CPU_S = 5.0
_FEWEST_CPU_S, _TIMES_CPU = 0.1, 20
"""Of a mutant: so often what the right program takes, and at least so much."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kills:
    """What tests are worth.

    Attributes:
        tests: Names of all tests, in their order.
        invalid: Of each test that does not hold for the right program, why.
        killed_by: Of each mutant that was killed, by its place, the tests that did.
        not_run: Mutants of which nothing is known, by their places.
        broken: Why there are no tests at all; "" where there are.
        layer: What held it all.
    """

    tests: tuple[str, ...] = ()
    invalid: Mapping[str, str] = field(default_factory=dict)
    killed_by: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    not_run: frozenset[int] = frozenset()
    broken: str = ""
    layer: str

    @property
    def valid(self) -> list[str]:
        """Tests that hold, in their order."""
        return [test for test in self.tests if test not in self.invalid]


def kills_of(
    sandbox: Sandbox, *, tests: str, gold: str, mutants: Sequence[str], checks: Sequence[str] = (), prelude: str = ""
) -> Kills:
    """Run tests against the right program and against mutants of it.

    Args:
        sandbox: Where.
        tests: See :func:`~spiritsafe.tasks.code.duet.duet.run_duet`, as for ``checks`` and ``prelude``.
        gold: The right program.
        mutants: Programs with a fault.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    first = run_duet(
        sandbox, tests=tests, checks=checks, prelude=prelude, programs=[gold], order=[0] * _FIRST_TURNS, cpu_s=_CPU_S
    )
    broken = _why_broken(first)
    names = tuple(dict.fromkeys(test.test for turn in first.turns for test in turn.tests))
    if broken or not names:
        return Kills(broken=broken or "there are no tests", layer=first.layer)
    invalid = _invalid(names, first.turns)
    if len(invalid) == len(names):
        return Kills(tests=names, invalid=invalid, layer=first.layer)
    order = [0] * _LATER_TURNS + list(range(1, len(mutants) + 1))
    Random(secrets.randbits(64)).shuffle(order)  # a seed that tests could know would tell them which turn is whose
    cpu_s = max(_FEWEST_CPU_S, _TIMES_CPU * max(turn.cpu_s for turn in first.turns))
    second = run_duet(
        sandbox, tests=tests, checks=checks, prelude=prelude, programs=[gold, *mutants], order=order, cpu_s=cpu_s
    )
    num_golds = sum(turn.program == 0 for turn in second.turns)
    invalid |= _invalid(names, [turn for turn in second.turns if turn.program == 0])
    if num_golds < _LATER_TURNS:
        stopped = second.stop or "its process is gone"
        invalid |= {name: f"it was ended with the rest: {stopped}" for name in names if name not in invalid}
    killed_by = {
        turn.program - 1: _killers(turn, names, invalid)
        for turn in second.turns
        if turn.program and _killers(turn, names, invalid)
    }
    ran = {turn.program - 1 for turn in second.turns}
    return Kills(
        tests=names,
        invalid=invalid,
        killed_by=killed_by,
        not_run=frozenset(range(len(mutants))) - ran,
        layer=second.layer,
    )


def _why_broken(result: DuetResult) -> str:
    """Why the right program has no tests at all."""
    if len(result.turns) < _FIRST_TURNS:
        return f"it was ended: {result.stop or 'its process is gone'}"
    return next((turn.why_not for turn in result.turns if turn.lost or turn.broken or not turn.has_ended), "")


def _invalid(names: Sequence[str], turns: Sequence[Turn]) -> dict[str, str]:
    """Tests that did not pass in one of the right program's turns."""
    found: dict[str, str] = {}
    for turn in turns:
        runs = {test.test: test for test in turn.tests}
        for name in names:
            run = runs.get(name)
            if turn.lost is not None or turn.broken is not None or run is None:
                found.setdefault(name, "it does not run every time")
            elif run.outcome != "passed":
                found.setdefault(name, run.why or run.outcome)
    return found


def _killers(turn: Turn, names: Sequence[str], invalid: Mapping[str, str]) -> tuple[str, ...]:
    """Valid tests that a mutant fails; all of them where it does not even load, the first where tests did not end."""
    valid = [name for name in names if name not in invalid]
    if turn.lost is not None or turn.broken is not None:
        return tuple(valid)
    runs = {test.test: test.outcome for test in turn.tests}
    failed = [name for name in valid if runs.get(name) in ("failed", "exited")]
    unended = [name for name in valid if name not in runs] if not turn.has_ended else []
    return tuple(failed or unended[:1])
