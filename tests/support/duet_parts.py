"""Tests against programs in a sandbox, in one line, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandboxes import sandbox_of

from spiritsafe.tasks.code.duet.duet import DuetResult, DuetTurn, run_duet
from spiritsafe.tasks.code.duet.kills import Kills, kills_of
from spiritsafe.tasks.sandbox.layers import strongest_layer


def duet(
    tests: str, *programs: str, order: Sequence[int] | None = None, on: str | None = None, **more: Any
) -> DuetResult:
    """Each program has a turn, unless the order says otherwise; in the best sandbox here, unless a layer is named."""
    turns = range(len(programs)) if order is None else order
    sandbox = sandbox_of(on or strongest_layer())
    return run_duet(sandbox, tests=tests, programs=programs, order=turns, **more)


def turn(tests: str, program: str, *, on: str | None = None, **more: Any) -> DuetTurn:
    """One program's turn."""
    (only,) = duet(tests, program, on=on, **more).turns
    return only


def outcomes(tests: str, program: str, *, on: str | None = None, **more: Any) -> dict[str, str]:
    """How each test went, by its name."""
    return {test.test: test.outcome for test in turn(tests, program, on=on, **more).tests}


def kills(tests: str, gold: str, *mutants: str, on: str | None = None, checks: Sequence[str] = ()) -> Kills:
    """What tests are worth."""
    return kills_of(sandbox_of(on or strongest_layer()), tests=tests, gold=gold, mutants=mutants, checks=checks)
