"""One file of the tests that matter, out of several texts of tests: what is kept was run as it is kept.

In: texts of tests, of each the tests that are wanted. Out: a :class:`JoinedTests`. Tests that hold alone may not hold
beside others, and texts may not be what they seem: what cannot be brought to a file in which every test holds and is
needed is left out, text by text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from spiritsafe.assist.subject import Subject
from spiritsafe.assist.writing.cover import least_cover
from spiritsafe.core.text.safe_text import hidden_in
from spiritsafe.tasks.code import Kills

NEEDLESS = "it kills no mutant that the kept tests do not kill"
_MOST_REASON = 300
_MOST_TAKEN = 8
"""Fickle tests that are taken out of a text, each of which is another run; with more of them, none counts."""


@final
@dataclass(frozen=True, slots=True)
class SteadyTests:
    """Tests as they were run, and what is known of them.

    Attributes:
        text: The tests.
        kills: What they are worth; none of them is fickle, unless it cannot be taken out.
        invalid: Of those that do not hold, why; fickle ones that were taken out are among them.
    """

    text: str
    kills: Kills
    invalid: dict[str, str]


@final
@dataclass(frozen=True, slots=True)
class JoinedTests:
    """A file of tests.

    Attributes:
        text: The file; "": no test is left.
        kills: What its tests are worth, as they were run; each of them is needed.
        invalid: Of tests that did not hold in it, why.
        needless: Tests that were not needed in it.
    """

    text: str
    kills: Kills
    invalid: dict[str, str] = field(default_factory=dict)
    needless: list[str] = field(default_factory=list)


def killing_tests(kills: Kills) -> dict[str, frozenset[int]]:
    """Of each test that holds, which mutants it kills."""
    return {
        test: frozenset(mutant for mutant, tests in kills.killed_by.items() if test in tests) for test in kills.valid
    }


def steady_tests(subject: Subject, text: str) -> SteadyTests:
    """Run tests; one that passes and fails on the same code is taken out, as it spoils what is known of the others.

    So is one that holds what nobody can see: what people would read is not what was run.
    """
    kills = subject.examine(text)
    taken = _hidden_tests(subject, text, kills.tests)
    if taken and len(taken) == len(kills.tests):
        return SteadyTests(text, Kills(tests=kills.tests, invalid=taken, layer=kills.layer), taken)
    if taken:
        text = subject.only(text, [test for test in kills.tests if test not in taken])
        kills = subject.examine(text)
    while kills.fickle and len(kills.tests) > 1 and len(taken) < _MOST_TAKEN:
        without = subject.only(text, [test for test in kills.tests if test != kills.fickle])
        again = subject.examine(without)
        if kills.fickle in again.tests or again.broken:
            break
        taken[kills.fickle] = f"it passes and fails on the same code: {in_short(kills.invalid[kills.fickle])}"
        text, kills = without, again
    return SteadyTests(text, kills, taken | {test: in_short(why) for test, why in kills.invalid.items()})


def _hidden_tests(subject: Subject, text: str, names: Sequence[str]) -> dict[str, str]:
    """Tests that hold a character which cannot be seen, and which; all of them, where it is not in tests alone."""
    if (hidden := hidden_in(text)) is None:
        return {}
    found = {name: char for name in names if (char := hidden_in(subject.only(text, [name]))) is not None}
    rest = [name for name in names if name not in found]
    if hidden_in(subject.only(text, rest)) is not None:
        found |= dict.fromkeys(rest, hidden)
    return {name: f"it holds U+{ord(char):04X}, which nobody can see" for name, char in found.items()}


def needed_tests(subject: Subject, parts: Sequence[str]) -> JoinedTests:
    """One file of several texts of tests, less what does not hold in it.

    Raises:
        SandboxFailure: The sandbox failed.
    """
    if not parts:
        return JoinedTests("", Kills(layer=""))
    whole = _settled(subject, subject.joined(parts))
    if whole is not None:
        return whole
    good: list[str] = []
    best = JoinedTests("", Kills(layer=""))
    for part in parts if len(parts) > 1 else ():
        found = _settled(subject, subject.joined([*good, part]))
        if found is not None:
            good, best = [*good, part], found
    return best


def _settled(subject: Subject, text: str) -> JoinedTests | None:
    """The file without what does not hold or is not needed, run until nothing more is; None: it comes to no such end.

    Each time round there are fewer tests, so there is an end.
    """
    found = steady_tests(subject, text)
    invalid, needless = dict(found.invalid), list[str]()
    while not found.kills.broken:
        tests, killing = list(found.kills.tests), killing_tests(found.kills)
        names = least_cover(killing)
        needless += [test for test in killing if test not in names]
        if names == tests or not names:
            return JoinedTests(found.text if names else "", found.kills, invalid, needless)
        found = steady_tests(subject, subject.only(found.text, names))
        invalid |= found.invalid
        if len(found.kills.tests) >= len(tests):
            return None
    return None


def in_short(text: str) -> str:
    """A reason in one line, not too long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _MOST_REASON else f"{flat[: _MOST_REASON - 1]}…"
