"""What programs do with the same calls: whether a mutant can be told from its original at all.

In: programs in Python that nobody hostile wrote, and calls of their functions. Out: for each program and call a digest
of what it gave, or what it gave. Two programs that give the same on many calls are suspected to be equivalent; that
they are is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.duet.programs import program_files
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
from spiritsafe.tasks.sandbox.sandbox import Sandbox

ProgramCall = tuple[str, list[Any]]
"""Name of a function, and its arguments as :func:`~spiritsafe.tasks.code.duet.inside.values.encoded` writes them."""

_START_S = 20.0
_ROOM_S = 60.0
_OUTPUT_BYTES = 64 << 20
_PARTS = 200
"""Programs in one run."""


@final
class BehaviourError(TaskError):
    """Programs could not be compared."""


def behaviours(
    sandbox: Sandbox,
    programs: Sequence[str],
    calls: Sequence[ProgramCall],
    *,
    cpu_s: float = 2.0,
    whole: bool = False,
    steps: int = 0,
) -> list[list[str]]:
    """Of each program a digest for each call; fewer where it did not come to its end.

    An error has a digest too, behind an exclamation mark.

    Args:
        sandbox: Where.
        programs: Texts of modules.
        calls: What to call.
        cpu_s: Seconds that each program may compute.
        whole: Instead of digests, results as JSON, and nothing of what became of the arguments. One that is very long
            is told as an error is.
        steps: Lines and calls that Python may run in a call, in all of them together a hundred times as many; what
            needs more is told as an error is. 0: any number.

    Raises:
        BehaviourError: The run was ended from outside.
        SandboxFailure: The sandbox failed.
    """
    found: list[list[str]] = []
    files = program_files("replay", "code_host", "channel", "fenced", "values")
    for first in range(0, len(programs), _PARTS):
        part = list(programs[first : first + _PARTS])
        job = {
            "programs": part,
            "calls": list(calls),
            "cpu_s": cpu_s,
            "wall_s": _ROOM_S,
            "whole": whole,
            "steps": steps,
        }
        limits = Limits(cpu_s=_START_S, wall_s=_ROOM_S + 2 * cpu_s * len(part), output_bytes=_OUTPUT_BYTES)
        run = Run(
            files={**files, "job.json": json.dumps(job)},
            steps=(RunStep(python="main.py"),),
            read_only=True,
            limits=limits,
        )
        result = sandbox.run(run)
        lines = result.steps[0].text.splitlines()
        if len(lines) != len(part):
            raise BehaviourError(
                f"Programs could not be compared: {result.stop or result.steps[0].errors.strip()[-200:]}.",
                hint="Run the same command again.",
            )
        found += [json.loads(line) for line in lines]
    return found


def first_difference(gold: Sequence[str], other: Sequence[str]) -> int | None:
    """The first call of which the gold gives a value and the other something else; None: there is none."""
    for place, value in enumerate(gold):
        if not value.startswith("!") and (place >= len(other) or other[place] != value):
            return place
    return None


def varied_calls(calls: Sequence[ProgramCall], *, count: int, seed: int) -> list[ProgramCall]:
    """More calls that look like those: arguments a little changed, or taken from another call of the same function.

    Returns:
        The calls themselves, then ``count`` more.
    """
    rng = Random(seed)
    by_name: dict[str, list[list[Any]]] = {}
    for name, arguments in calls:
        by_name.setdefault(name, []).append(arguments)
    names = sorted(name for name, known in by_name.items() if any(known))
    varied = [(name, list(arguments)) for name, arguments in calls]
    for _ in range(count if names else 0):
        name = rng.choice(names)
        known = [arguments for arguments in by_name[name] if arguments]
        arguments = list(rng.choice(known))
        for place in range(len(arguments)):
            if rng.random() < 0.6:
                others = [other[place] for other in known if place < len(other)]
                arguments[place] = _varied(rng.choice(others) if rng.random() < 0.4 else arguments[place], rng)
        varied.append((name, arguments))
    return varied


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 .,-_()[]{}<>+*/?!'\""


def _varied(value: Any, rng: Random) -> Any:
    if isinstance(value, bool):
        return rng.random() < 0.5
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, 2 * value, value // 2, 0, 1, rng.randint(-20, 120)))
    if isinstance(value, float):
        return rng.choice((value + 1, value - 0.5, -value, 2 * value, value / 3, 0.0, float(rng.randint(-9, 9))))
    if isinstance(value, str):
        return "".join(_varied_items(list(value), rng, lambda: rng.choice(value or _LETTERS + " "), str))
    if isinstance(value, list) and len(value) == 2 and value[0] in ("list", "tuple", "deque", "set", "frozenset"):
        items = _varied_items(value[1], rng, lambda: rng.choice(value[1]) if value[1] else 0, lambda x: _varied(x, rng))
        return [value[0], items]
    if isinstance(value, list) and len(value) == 2 and value[0] in ("dict", "Counter", "OrderedDict"):
        pairs = [[key, _varied(each, rng) if rng.random() < 0.5 else each] for key, each in value[1]]
        return [value[0], rng.sample(pairs, rng.randint(0, len(pairs)))]
    return value


def _varied_items(items: Iterable[Any], rng: Random, another: Any, change: Any) -> list[Any]:
    """A list with one thing left out, put in, moved or changed."""
    items = list(items)
    what = rng.randrange(6)
    place = rng.randrange(len(items) + 1)
    if what == 0:
        items.insert(place, another())
    elif what == 1:
        items = items[:place]
    elif what == 2:
        rng.shuffle(items)
    elif what == 3 and items:
        items.pop(place % len(items))
    elif what == 4 and items:
        items += items[: 1 + place % len(items)]
    elif items:
        items[place % len(items)] = change(items[place % len(items)])
    return items
