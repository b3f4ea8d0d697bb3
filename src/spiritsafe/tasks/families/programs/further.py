"""Inputs beyond the published tests of a problem, with what the gold answer gives for them.

In: a problem in Python with a gold answer. Out: a :class:`Further`: inputs like those of the published tests, those
first that kill mutants of the gold which the published tests let live.

Right answers must not fail: results are compared no more closely than the published tests do, which is found out by
having these judge golds whose results are disguised; and where they accept other results than the gold's for inputs of
their own, there is no telling what is right for others, and none are added.
"""

from __future__ import annotations

import ast
import doctest
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from textwrap import indent
from typing import Any, final

from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.code.duet.behaviour import Call, behaviours
from spiritsafe.tasks.code.duet.domain import inputs
from spiritsafe.tasks.code.duet.duet import run_duet
from spiritsafe.tasks.code.duet.inside.alike import is_alike
from spiritsafe.tasks.code.duet.inside.values import NotPlainError, decode, encode
from spiritsafe.tasks.code.duet.kills import kills_of
from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.families.programs.judges import further_checks
from spiritsafe.tasks.families.programs.layouts import Asked
from spiritsafe.tasks.sandbox.sandbox import Sandbox, shared_sandbox

_POOL = 1000
_SHARE = 0.5
"""Of the inputs that are left once mutants are killed: so many are for results that no other has."""
_MOST_RESULT = 2000
"""Characters of a result as JSON."""
_CPU_S = 5.0

_DISGUISED = """
def _disguise():
    gold = {{"__name__": "solution"}}
    exec({source!r}, gold)

    def change(value):
{change}

    def {entry}(*arguments, **named):
        return change(gold[{entry!r}](*arguments, **named))

    return {entry}


{entry} = _disguise()
"""
_DISGUISES = {
    "kind": "return tuple(value) if type(value) is list else list(value) if type(value) is tuple else value",
    "order": "return type(value)(value[::-1]) if type(value) in (list, tuple) else value",
    "truth": 'return value if type(value) is not bool else "yes" if value else None',
}
"""By what a comparison may leave out: what changes nothing else of a result."""
_BLUR = """if type(value) in (list, tuple):
    return type(value)(map(change, value))
return value + 1e-4 * max(1.0, abs(value)) if type(value) is float else value"""
"""So far no right answer is off, unless several are right."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Further:
    """What is known of a problem beyond its published tests.

    Attributes:
        calls: Arguments and results, as :func:`~spiritsafe.tasks.code.duet.inside.values.encode` writes them.
        ignored: What comparisons leave out; see :data:`~spiritsafe.tasks.code.duet.inside.alike.IGNORED`.
        why_none: In a few words, why there are no calls.
        num_mutants: Mutants of the gold.
        num_killed: Those that the published tests kill.
        num_told: Those of the others that an allowed input tells from the gold.
        seconds: What all this took.
    """

    calls: tuple[tuple[list[Any], Any], ...] = ()
    ignored: tuple[str, ...] = ()
    why_none: str = ""
    num_mutants: int = 0
    num_killed: int = 0
    num_told: int = 0
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """What a problem keeps of it."""
        found: dict[str, Any] = {"calls": [list(call) for call in self.calls], "ignored": list(self.ignored)}
        return {**found, "why_none": self.why_none} if self.why_none else found


def further_of(asked: Asked, count: int) -> Further:
    """Inputs beyond the published tests; the same for the same problem, and kept while the process lasts.

    Args:
        asked: The problem, in Python and with a gold answer.
        count: How many inputs; there may be fewer.

    Raises:
        SandboxFailure: The sandbox failed.
        BehaviourError: The gold could not be run.
    """
    suite = asked.suite
    return _further(
        asked.gold, asked.entry, asked.start, suite["prelude"], suite["tests"], tuple(suite["checks"]), count
    )


@lru_cache(maxsize=4096)
def _further(
    gold: str, entry: str, start: str, prelude: str, tests: str, checks: tuple[str, ...], count: int
) -> Further:
    started = time.perf_counter()
    work = _Work(shared_sandbox(), gold=gold, entry=entry, start=start, prelude=prelude, tests=tests, checks=checks)
    return work.further(count, started)


@final
class _Work:
    """The search for a problem's further inputs."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        gold: str,
        entry: str,
        start: str,
        prelude: str,
        tests: str,
        checks: tuple[str, ...],
    ) -> None:
        self._sandbox, self._gold, self._entry, self._start = sandbox, gold, entry, start
        self._suite = {"prelude": prelude, "tests": tests, "checks": list(checks)}

    def further(self, count: int, started: float) -> Further:
        mutants = mutants_of(self._gold, "python")
        disguises = [self._disguised(change) for change in (*_DISGUISES.values(), _BLUR)]
        kills = kills_of(
            self._sandbox, gold=self._gold, mutants=[*(m.source for m in mutants), *disguises], **self._suite
        )
        if kills.broken or kills.invalid:
            return Further(why_none="the gold does not pass the published tests", num_mutants=len(mutants))
        passed = [place not in kills.killed_by for place in range(len(mutants) + len(disguises))]
        alive = [m for m, lives in zip(mutants, passed, strict=False) if lives]
        ignored = tuple(name for name, lives in zip(_DISGUISES, passed[len(mutants) :], strict=False) if lives)
        num_killed = len(mutants) - len(alive)

        def told(**known: Any) -> Further:
            seconds = round(time.perf_counter() - started, 3)
            return Further(ignored=ignored, num_mutants=len(mutants), num_killed=num_killed, seconds=seconds, **known)

        known, results = self._known()
        if all(result is None for result in results):
            return told(why_none="the tests call nothing that gives a plain value")
        if passed[-1] and any(map(_has_float, results)):
            return told(why_none="the tests accept other numbers than the gold's")
        pool = known + inputs(known, _POOL, derive_seed(0, self._gold))
        gives = behaviours(self._sandbox, [self._gold, *(m.source for m in alive)], pool, cpu_s=_CPU_S, whole=True)
        golds = [_value(gives[0], place) for place in range(len(pool))]
        differing = [
            frozenset(
                place
                for place, gold in enumerate(golds)
                if gold is not _NOTHING and _differs(each, place, gold, ignored)
            )
            for each in gives[1:]
        ]
        for mutant, places in zip(alive, differing, strict=True):
            if mutant.edit.start >= len(self._start) and any(place < len(known) for place in places):
                return told(why_none="the tests accept other results than the gold's")
        usable = [place for place in range(len(known), len(pool)) if golds[place] is not _NOTHING]
        fresh = [places & frozenset(usable) for places in differing]
        chosen = _chosen(usable, fresh, pool, golds, count, Random(derive_seed(1, self._gold)))
        calls = [(pool[place][1], encode(golds[place])) for place in chosen]
        return told(calls=self._that_hold(calls, ignored), num_told=sum(map(bool, fresh)))

    def _disguised(self, change: str) -> str:
        return _DISGUISED.format(source=self._gold, entry=self._entry, change=indent(change, " " * 8))

    def _known(self) -> tuple[list[Call], list[Any]]:
        """Calls that the tests and the examples of the prompt make, for which the gold gives a plain value; and these."""
        result = run_duet(self._sandbox, programs=[self._gold], order=[0], record=True, cpu_s=_CPU_S, **self._suite)
        made = [call for turn in result.turns for call in turn.calls if call[0] == self._entry]
        calls = [*made, *((self._entry, arguments) for arguments in _examples(self._start, self._entry))]
        calls = list({json.dumps(arguments): (name, arguments) for name, arguments in calls}.values())
        gives = behaviours(self._sandbox, [self._gold], calls, cpu_s=_CPU_S, whole=True)[0]
        values = [_value(gives, place) for place in range(len(calls))]
        plain = [place for place, value in enumerate(values) if value is not _NOTHING]
        return [calls[place] for place in plain], [values[place] for place in plain]

    def _that_hold(
        self, calls: list[tuple[list[Any], Any]], ignored: Sequence[str]
    ) -> tuple[tuple[list[Any], Any], ...]:
        """Those that the gold passes when it is judged: results that change from one process to the next are none."""
        behind, checks = further_checks(self._entry, {"calls": calls, "ignored": ignored})
        result = run_duet(
            self._sandbox,
            tests=self._suite["tests"] + behind,
            checks=checks,
            prelude=self._suite["prelude"],
            programs=[self._gold],
            order=[0],
            cpu_s=_CPU_S,
        )
        tests = result.turns[0].tests if result.turns else ()
        return tuple(call for call, test in zip(calls, tests, strict=False) if test.outcome == "passed")


_NOTHING = object()


def _value(gives: Sequence[str], place: int) -> Any:
    """What a program gave, where that is a plain value which others can be compared with."""
    if place >= len(gives) or gives[place].startswith("!") or len(gives[place]) > _MOST_RESULT:
        return _NOTHING
    text = gives[place]
    if any(mark in text for mark in ('["opaque"', '["iterator"', "NaN", "Infinity")):
        return _NOTHING
    return decode(json.loads(text))


def _differs(gives: Sequence[str], place: int, gold: Any, ignored: Sequence[str]) -> bool:
    """Whether a program gave something else; where its end came early, for the call that ended it."""
    if place >= len(gives):
        return place == len(gives)
    return gives[place].startswith("!") or not is_alike(decode(json.loads(gives[place])), gold, ignored)


def _has_float(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_has_float, value))
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    return isinstance(value, float)


def _examples(start: str, entry: str) -> list[list[Any]]:
    """Arguments of the calls in a prompt's doctests."""
    found = []
    try:
        examples = doctest.DocTestParser().get_examples(start)
    except ValueError:
        return []
    for example in examples:
        try:
            call = ast.parse(example.source.strip(), mode="eval").body
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == entry:
                if not call.keywords:
                    found.append([encode(ast.literal_eval(each), strict=True) for each in call.args])
        except (SyntaxError, ValueError, NotPlainError):
            continue
    return found


def _chosen(
    usable: Sequence[int],
    differing: Sequence[frozenset[int]],
    pool: Sequence[Call],
    golds: Sequence[Any],
    count: int,
    rng: Random,
) -> list[int]:
    """Places of the inputs that are taken.

    1. As long as a mutant lives that some input kills: the input that kills most of them, of those the shortest.
    2. For half of what is left: inputs for which the gold gives what it gave for no other yet.
    3. For the rest: any.
    """
    chosen: list[int] = []
    living = [places for places in differing if places]
    while living and len(chosen) < count:  # 1
        kills = Counter(place for places in living for place in places)
        best = min(kills, key=lambda place: (-kills[place], len(json.dumps(pool[place])), place))
        chosen.append(best)
        living = [places for places in living if best not in places]
    rest = [place for place in usable if place not in set(chosen)]
    rng.shuffle(rest)
    seen = {repr(golds[place]) for place in chosen}
    most = len(chosen) + math.ceil(_SHARE * (count - len(chosen)))
    for place in list(rest):  # 2
        if len(chosen) == most:
            break
        if repr(golds[place]) not in seen:
            seen.add(repr(golds[place]))
            chosen.append(place)
            rest.remove(place)
    return [*chosen, *rest[: count - len(chosen)]]  # 3
