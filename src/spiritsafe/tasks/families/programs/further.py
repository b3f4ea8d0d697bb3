"""Inputs beyond the published tests of a problem, with what the gold answer gives for them.

In: a problem in Python with a gold answer. Out: a :class:`Further`: inputs like those of the published tests, those
first that kill mutants of the gold which the published tests let live.

Right answers must not fail: results are compared no more closely than the published tests do, and where these accept
other results than the gold's for inputs of their own, there is no telling what is right for others, and none are added.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, final

from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.code.duet.behaviour import ProgramCall, behaviours
from spiritsafe.tasks.code.duet.disguises import disguised, is_changed
from spiritsafe.tasks.code.duet.domain import inputs
from spiritsafe.tasks.code.duet.duet import DuetResult, run_duet
from spiritsafe.tasks.code.duet.inside.alike import LEFT_OUT, is_alike
from spiritsafe.tasks.code.duet.inside.values import NotPlainError, encoded
from spiritsafe.tasks.code.duet.kills import kills_of
from spiritsafe.tasks.code.duet.outcomes import plain_result, telling
from spiritsafe.tasks.code.duet.symmetry import in_doubt
from spiritsafe.tasks.code.mutants.mutant import Mutant
from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.families.programs.examples import examples_in
from spiritsafe.tasks.families.programs.judges import further_checks
from spiritsafe.tasks.families.programs.layouts import AskedProgram
from spiritsafe.tasks.sandbox.sandbox import Sandbox, shared_sandbox

_POOL = 1000
_SHARE = 0.5
"""Of the inputs that are left once mutants are killed: so many are for results that no other has."""
_CPU_S = 10.0
_STEPS = 20_000
"""Of the gold for one input."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Further:
    """What is known of a problem beyond its published tests.

    Attributes:
        calls: Arguments and results, as :func:`~spiritsafe.tasks.code.duet.inside.values.encoded` writes them.
        ignored: What comparisons leave out; see :data:`~spiritsafe.tasks.code.duet.inside.alike.LEFT_OUT`.
        why_none: In a few words, why there are no calls.
        known: Calls that the tests make and the problem shows.
        num_mutants: Mutants of the gold.
        living: Those that the published tests let live.
        seconds: What all this took.
    """

    calls: tuple[tuple[list[Any], Any], ...] = ()
    ignored: tuple[str, ...] = ()
    why_none: str = ""
    known: tuple[ProgramCall, ...] = ()
    num_mutants: int = 0
    living: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    def facts(self) -> dict[str, Any]:
        """What a problem keeps of it."""
        found: dict[str, Any] = {"calls": [list(call) for call in self.calls], "ignored": list(self.ignored)}
        return {**found, "why_none": self.why_none} if self.why_none else found


def further_of(asked: AskedProgram, count: int) -> Further:
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
    search = _Search(shared_sandbox(), gold=gold, entry=entry, prelude=prelude, tests=tests, checks=checks)
    found = search.further(start, count)
    return Further(**found, seconds=round(time.perf_counter() - started, 3))


def allowed_inputs(
    sandbox: Sandbox, gold: str, known: Sequence[ProgramCall], ignored: Sequence[str], seed: int
) -> tuple[list[ProgramCall], list[str]]:
    """The known calls and some thousand that are like them, each with the one right result, as the gold gives it.

    Those are left out that take the gold many steps, since right answers may be slower; those whose result is of a type
    that no known result has, since they are likely no input that the problem means; and those that have several right
    results.

    Args:
        sandbox: Where the gold runs.
        gold: The gold.
        known: Calls that are known.
        ignored: What comparisons leave out.
        seed: Sets which.
    """
    of_known = behaviours(sandbox, [gold], known, cpu_s=_CPU_S, whole=True)[0]
    types = {_type(value) for place in range(len(known)) for value in plain_result(of_known, place)}
    fresh = inputs(known, _POOL, seed)
    gives = behaviours(sandbox, [gold], fresh, cpu_s=_CPU_S, whole=True, steps=_STEPS)[0]
    plain = [p for p in range(len(fresh)) for value in plain_result(gives, p) if _type(value) in types]
    fresh, gives = [fresh[place] for place in plain], [gives[place] for place in plain]
    doubts = in_doubt(sandbox, gold, known, fresh, ignored=ignored, steps=2 * _STEPS, cpu_s=_CPU_S)
    clear = [place for place in range(len(fresh)) if place not in doubts]
    return [*known, *(fresh[place] for place in clear)], [*of_known, *(gives[place] for place in clear)]


def _type(value: Any) -> type:
    return float if type(value) is int else type(value)


@final
class _Search:
    """The search for a problem's further inputs."""

    def __init__(
        self, sandbox: Sandbox, *, gold: str, entry: str, prelude: str, tests: str, checks: tuple[str, ...]
    ) -> None:
        self._sandbox, self._gold, self._entry = sandbox, gold, entry
        self._prelude, self._tests, self._checks = prelude, tests, checks

    def further(self, start: str, count: int) -> dict[str, Any]:
        """Fields of what is found.

        1. What do the published tests let live: mutants, and disguises of the gold?
        2. Which calls are known, and what does the gold give for them?
        3. Which mutants give something else, for these calls and for others that are like them?
        4. The calls that are taken, as far as the gold passes them.
        """
        mutants = mutants_of(self._gold, "python")
        living, disguises, why_none = self._living(mutants)  # 1
        found = {"num_mutants": len(mutants), "living": tuple(mutant.source for mutant in living)}
        if why_none:
            return {**found, "why_none": why_none}
        num_made, known, results = self._known(start)  # 2
        passed = {name for name in disguises if any(is_changed(name, result) for result in results)}
        ignored = tuple(name for name in LEFT_OUT if name in passed)
        found |= {"known": tuple(known), "ignored": ignored}
        if all(result is None for result in results):
            return {**found, "why_none": "the tests call nothing that gives a plain value"}
        if "number" in passed:
            return {**found, "why_none": "the tests accept other numbers than the gold's"}
        pool, gold = allowed_inputs(self._sandbox, self._gold, known, ignored, derive_seed(0, self._gold))  # 3
        others = behaviours(self._sandbox, [mutant.source for mutant in living], pool, whole=True)
        told = [telling(gold, other, ignored) for other in others]
        for mutant, places in zip(living, told, strict=True):
            # a mutant of the given beginning may change what the tests lean on themselves
            if mutant.edit.start >= len(start) and any(place < num_made for place in places):
                return {**found, "why_none": "the tests accept other results than the gold's"}
        values = {place: plain_result(gold, place)[0] for place in range(num_made, len(pool))}
        chosen = _chosen(values, told, pool, count, Random(derive_seed(1, self._gold)))  # 4
        return {**found, "calls": self._that_hold([(pool[p][1], encoded(values[p])) for p in chosen], ignored)}

    def _living(self, mutants: Sequence[Mutant]) -> tuple[list[Mutant], list[str], str]:
        """Mutants and disguises that pass the published tests; and why the gold does not."""
        disguises = disguised(self._gold, self._entry)
        kills = kills_of(
            self._sandbox,
            tests=self._tests,
            gold=self._gold,
            mutants=[*(mutant.source for mutant in mutants), *disguises.values()],
            checks=self._checks,
            prelude=self._prelude,
        )
        if kills.broken or kills.invalid:
            return [], [], "the gold does not pass the published tests"
        things = [*mutants, *disguises]
        passed = [thing for place, thing in enumerate(things) if place not in kills.killed_by]
        return (
            [thing for thing in passed if isinstance(thing, Mutant)],
            [thing for thing in passed if isinstance(thing, str)],
            "",
        )

    def _known(self, start: str) -> tuple[int, list[ProgramCall], list[Any]]:
        """How many calls the tests make; these and those that the prompt shows; and what the gold gives for them.

        Left out is what gives no plain value, and what the prompt says gives something else.
        """
        result = self._of_gold(self._tests, self._checks, record=True)
        made = [arguments for turn in result.turns for name, arguments in turn.calls if name == self._entry]
        calls: dict[str, list[Any]] = {json.dumps(arguments): arguments for arguments in made}
        num_made, wanted = len(calls), dict[str, tuple[Any, ...]]()
        for example in examples_in(start, self._entry):
            with suppress(NotPlainError):
                arguments = [encoded(each, strict=True) for each in example.arguments]
                text = json.dumps(arguments)
                calls.setdefault(text, arguments)
                wanted.setdefault(text, example.result)
        listed = [(self._entry, arguments) for arguments in calls.values()]
        gives = behaviours(self._sandbox, [self._gold], listed, cpu_s=_CPU_S, whole=True)[0]
        kept, values = [], []
        for place, text in enumerate(calls):
            given = plain_result(gives, place)
            said = wanted.get(text, ()) if place >= num_made else ()
            if given and all(is_alike(given[0], each, ("kind",)) for each in said):
                kept.append(place)
                values.append(given[0])
        return sum(place < num_made for place in kept), [listed[place] for place in kept], values

    def _that_hold(
        self, calls: list[tuple[list[Any], Any]], ignored: Sequence[str]
    ) -> tuple[tuple[list[Any], Any], ...]:
        """Those that the gold passes when it is judged: results that change from one process to the next are none."""
        behind, checks = further_checks(self._entry, {"calls": calls, "ignored": ignored})
        result = self._of_gold(self._tests + behind, checks)
        tests = result.turns[0].tests if result.turns else ()
        return tuple(call for call, test in zip(calls, tests, strict=False) if test.outcome == "passed")

    def _of_gold(self, tests: str, checks: Sequence[str], *, record: bool = False) -> DuetResult:
        """One turn of the gold."""
        return run_duet(
            self._sandbox,
            tests=tests,
            checks=checks,
            prelude=self._prelude,
            programs=[self._gold],
            order=[0],
            record=record,
            cpu_s=_CPU_S,
        )


def _chosen(
    values: dict[int, Any], told: Sequence[frozenset[int]], pool: Sequence[ProgramCall], count: int, rng: Random
) -> list[int]:
    """Places of the inputs that are taken.

    1. As long as a mutant lives that some input kills: the input that kills most of them, of those the shortest.
    2. For half of what is left: inputs for which the gold gives what it gave for no other yet.
    3. For the rest: any.

    Args:
        values: What the gold gives, by place.
        told: For each mutant, the places of the inputs that kill it.
        pool: All inputs.
        count: How many to take.
        rng: Sets which.
    """
    chosen: list[int] = []
    living = [places & values.keys() for places in told if places & values.keys()]
    while living and len(chosen) < count:  # 1
        kills = Counter(place for places in living for place in places)
        best = min(kills, key=lambda place: (-kills[place], len(json.dumps(pool[place])), place))
        chosen.append(best)
        living = [places for places in living if best not in places]
    rest = [place for place in values if place not in set(chosen)]
    rng.shuffle(rest)
    seen = {repr(values[place]) for place in chosen}
    most = len(chosen) + math.ceil(_SHARE * (count - len(chosen)))
    for place in list(rest):  # 2
        if len(chosen) == most:
            break
        if repr(values[place]) not in seen:
            seen.add(repr(values[place]))
            chosen.append(place)
            rest.remove(place)
    return [*chosen, *rest[: count - len(chosen)]]  # 3
