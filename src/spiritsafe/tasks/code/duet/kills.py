"""Which tests hold for the right program, and which mutants each of them kills.

In: tests, the right program, mutants of it. Out: a :class:`Kills`. A test counts only if it passes on the right program
every time; each time and each mutant is a process that knows nothing of the others, and the right program has its turns
among the mutants, in an order that nobody can foresee. So a test can tell a mutant from the right program by what the
program does, and by nothing else. One that fails by chance, or by the clock, rarely gains: it would have to pass in
all turns of the right program and to fail in both of a mutant.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import final

from spiritsafe.tasks.code.duet.coverage import line_coverage
from spiritsafe.tasks.code.duet.duet import DuetResult, DuetTurn, run_duet
from spiritsafe.tasks.sandbox.sandbox import Sandbox

FIRST_TURNS, LATER_TURNS = 2, 10
"""Of the right program: before any mutant, and among them."""
_CPU_S = 5.0
_FEWEST_CPU_S, _TIMES_CPU = 0.1, 20
_MOST_CPU_S = 2 * _CPU_S
"""Of a mutant: so often what the right program takes, and at least and at most so much."""
_FEWEST_CALL_CPU_S = 0.02
"""Likewise of one call: what loops for ever is told from what is slow as soon as that."""
_FEWEST_TURNS = 20
"""So many are worth the start of a sandbox's two sides."""


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
        fickle: The test that both passed and failed on the right program, for which no other counts either; "": none.
        layer: What held it all.
        coverage: Share of the right program's lines that the tests run; None: it is not known. It is told, and earns
            nothing.
    """

    tests: tuple[str, ...] = ()
    invalid: Mapping[str, str] = field(default_factory=dict)
    killed_by: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    not_run: frozenset[int] = frozenset()
    broken: str = ""
    fickle: str = ""
    layer: str
    coverage: float | None = None

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
    begun = run_duet(
        sandbox,
        tests=tests,
        checks=checks,
        prelude=prelude,
        programs=[gold],
        order=[0] * (FIRST_TURNS + 1),
        traced=[FIRST_TURNS],
        cpu_s=_CPU_S,
    )
    first, traced = begun.turns[:FIRST_TURNS], begun.turns[FIRST_TURNS:]
    coverage = line_coverage(gold, traced[0].lines) if traced else None
    broken = why_broken(first, stop=begun.stop)
    names = tuple(dict.fromkeys(test.test for turn in first for test in turn.tests))
    if broken or not names:
        return Kills(broken=broken or "there are no tests", layer=begun.layer)
    if len(_invalid(names, first)) == len(names):
        found = judged_kills(names, first, None, num_mutants=len(mutants), layer=begun.layer)
        return replace(found, coverage=coverage)

    def second(order: Sequence[int]) -> DuetResult:
        return run_duet(
            sandbox,
            tests=tests,
            checks=checks,
            prelude=prelude,
            programs=[gold, *mutants],
            order=order,
            cpu_s=mutant_cpu_s(first),
            call_cpu_s=max(_FEWEST_CALL_CPU_S, _TIMES_CPU * max(turn.longest_call_s for turn in first)),
        )

    order = later_order(range(1, len(mutants) + 1))
    num_parts = min(sandbox.num_boxes, max(1, len(order) // _FEWEST_TURNS))
    parts = sandbox.map(second, [order[place::num_parts] for place in range(num_parts)])
    turns = [turn for part in parts for turn in part.turns]
    stop = next((part.stop for part in parts if part.stop), None)
    found = judged_kills(names, first, turns, num_mutants=len(mutants), layer=begun.layer, stop=stop)
    return replace(found, coverage=coverage)


def later_order(mutants: Iterable[int]) -> list[int]:
    """Whose turn it is, after the first ones: those mutants, by their places from 1, and the right program, 0."""
    order = [0] * LATER_TURNS + list(mutants)
    Random(secrets.randbits(64)).shuffle(order)  # a seed that tests could know would tell them which turn is whose
    return order


def mutant_cpu_s(first: Sequence[DuetTurn]) -> float:
    """Seconds that a mutant may compute, by what the right program took."""
    return min(_MOST_CPU_S, max(_FEWEST_CPU_S, _TIMES_CPU * max(turn.cpu_s for turn in first)))


def judged_kills(
    names: Sequence[str],
    first: Sequence[DuetTurn],
    later: Sequence[DuetTurn] | None,
    *,
    num_mutants: int,
    layer: str,
    stop: str | None = None,
) -> Kills:
    """What tests are worth, by how all turns went.

    A test that both passes and fails on the right program leaves no test valid: with many such tests, some would pass
    it every time by chance, and fail on mutants by chance too.

    Args:
        names: Of the tests.
        first: Turns of the right program alone.
        later: Turns in the order of :func:`later_order`, as far as they came; None where no test was valid.
        num_mutants: How many there are.
        layer: What held it all.
        stop: Why the later turns were ended from outside.
    """
    golds = [turn for turn in (*first, *(later or ())) if turn.program == 0]
    invalid = _invalid(names, golds)
    if later is not None and len(golds) < len(first) + LATER_TURNS:
        stopped = stop or "its process is gone"
        invalid |= {name: f"it was ended with the rest: {stopped}" for name in names if name not in invalid}
    if (fickle := _fickle(names, golds)) is not None:
        invalid |= {name: f"{fickle} passes and fails on the same program" for name in names if name not in invalid}
    mutants = [turn for turn in later or () if turn.program]
    killers = {turn.program - 1: _killers(turn, names, invalid) for turn in mutants}
    return Kills(
        tests=tuple(names),
        invalid=invalid,
        killed_by={mutant: tests for mutant, tests in killers.items() if tests},
        not_run=frozenset(range(num_mutants)) - killers.keys() if later is not None else frozenset(),
        fickle=fickle or "",
        layer=layer,
    )


def _fickle(names: Sequence[str], golds: Sequence[DuetTurn]) -> str | None:
    """A test that passed in one of the right program's turns and failed in another."""
    outcomes = {name: {test.outcome for turn in golds for test in turn.tests if test.test == name} for name in names}
    return next((name for name in names if "passed" in outcomes[name] and outcomes[name] & {"failed", "exited"}), None)


def why_broken(first: Sequence[DuetTurn], *, stop: str | None = None) -> str:
    """Why the right program has no tests at all."""
    if len(first) < FIRST_TURNS:
        return f"it was ended: {stop or 'its process is gone'}"
    return next((turn.why_not for turn in first if turn.lost or turn.broken or not turn.has_ended), "")


def _invalid(names: Sequence[str], turns: Sequence[DuetTurn]) -> dict[str, str]:
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


def _killers(turn: DuetTurn, names: Sequence[str], invalid: Mapping[str, str]) -> tuple[str, ...]:
    """Valid tests that a mutant fails; all of them where it does not even load, the first where tests did not end."""
    valid = [name for name in names if name not in invalid]
    if turn.lost is not None or turn.broken is not None:
        return tuple(valid)
    runs = {test.test: test.outcome for test in turn.tests}
    failed = [name for name in valid if runs.get(name) in ("failed", "exited")]
    unended = [name for name in valid if name not in runs] if not turn.has_ended else []
    return tuple(failed or unended[:1])
