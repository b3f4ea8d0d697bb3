"""Inputs for which a right program's answer hangs on an order that should not matter, such as the first of two equals.

In: calls that are known, and others. Out: those of the others that are in doubt. Where turning round the lists of every
known call changes no result, order means nothing to the function; a call for which it does then has several right
answers, of which the right program gives one. The same for texts, and for the order of dictionaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from spiritsafe.tasks.code.duet.behaviour import ProgramCall, behaviours
from spiritsafe.tasks.code.duet.inside.alike import is_alike
from spiritsafe.tasks.code.duet.outcomes import plain_result
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_TURNS = ("list", "str", "dict")
_FEWEST = 3
"""Known calls that turning round changes, for their results to say anything."""


def turned(call: ProgramCall, kind: str) -> ProgramCall:
    """A call whose arguments of a kind are turned round."""
    name, arguments = call
    return name, [_turned(each, kind) for each in arguments]


def _turned(argument: Any, kind: str) -> Any:
    if isinstance(argument, str):
        return argument[::-1] if kind == "str" else argument
    if isinstance(argument, list) and argument[0] == kind:
        return [kind, argument[1][::-1]]
    return argument


def in_doubt(
    sandbox: Sandbox,
    gold: str,
    known: Sequence[ProgramCall],
    others: Sequence[ProgramCall],
    *,
    ignored: Sequence[str] = (),
    steps: int = 0,
    cpu_s: float = 2.0,
) -> frozenset[int]:
    """Places of the other calls that may have several right answers.

    Args:
        sandbox: Where the right program runs.
        gold: The right program.
        known: Calls that have one.
        others: Those in question.
        ignored: See :func:`~spiritsafe.tasks.code.duet.inside.alike.is_alike`.
        steps: See :func:`~spiritsafe.tasks.code.duet.behaviour.behaviours`, as for ``cpu_s``.

    Raises:
        SandboxFailure: The sandbox failed.
        BehaviourError: The right program could not be run.
    """
    program = _Program(sandbox, gold, ignored, steps, cpu_s)
    found = set[int]()
    for kind in _TURNS:
        num_turned, changed = program.changed(known, kind)
        if num_turned >= _FEWEST and not changed:
            found |= program.changed(others, kind)[1]
    return frozenset(found)


@final
@dataclass(frozen=True, slots=True)
class _Program:
    sandbox: Sandbox
    gold: str
    ignored: Sequence[str]
    steps: int
    cpu_s: float

    def changed(self, calls: Sequence[ProgramCall], kind: str) -> tuple[int, set[int]]:
        """How many calls are others when turned round; and places of those that then give something else."""
        turns = [(place, call, turned(call, kind)) for place, call in enumerate(calls)]
        turns = [(place, call, other) for place, call, other in turns if other[1] != call[1]]
        pairs = [each for _, call, other in turns for each in (call, other)]
        gives = behaviours(self.sandbox, [self.gold], pairs, whole=True, steps=self.steps, cpu_s=self.cpu_s)[0]
        found = set()
        for number, (place, _, _) in enumerate(turns):
            one, other = plain_result(gives, 2 * number), plain_result(gives, 2 * number + 1)
            if not one or not other or not is_alike(other[0], one[0], self.ignored):
                found.add(place)
        return len(turns), found
