"""What a model is asked for tests: with the code, and with what its earlier tests were worth.

In: a subject, and how far it has come. Out: a question. Each stands by itself, so that none grows with those before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from random import Random
from typing import final

from spiritsafe.assist.routines.routine import Routine, routines_of
from spiritsafe.assist.subject import Subject
from spiritsafe.tasks.code import Mutant, fenced, language_named

_MOST_SOURCE = 24_000
"""Characters of code in a question; of more, an outline and the routines that matter are shown."""
_MOST_SURVIVORS, _MOST_FAILED, _MOST_NAMES = 6, 6, 60


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TestsSoFar:
    """What a question tells of.

    Attributes:
        number: Of the question, from 1.
        kept: Names of the tests that there are.
        survivors: Mutants that no test kills.
        failed: Of tests in the last answer that do not hold, why.
        trouble: What else was wrong with the last answer; "": nothing.
    """

    __test__ = False  # pytest would take it for tests

    number: int
    kept: Sequence[str] = ()
    survivors: Sequence[Mutant] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


def next_tests_question(subject: Subject, so_far: TestsSoFar) -> str:
    """The next question."""
    routines = routines_of(subject.source, subject.language)
    survivors = spread(so_far.survivors, routines, seed=so_far.number)[:_MOST_SURVIVORS] if so_far.number > 1 else []
    language = language_named(subject.language)
    parts = [
        f"Write unit tests for this {language.title} code, the file {subject.path.name}.",
        fenced(shown_source(subject.source, routines, survivors or so_far.survivors), language.fences[0]),
        subject.rules(),
        "Test what the code does as it is, also where that surprises you: every test must pass on it, every time. "
        "A test is kept if it fails when a small fault is put into the code, so call the code with values at the "
        "borders of its conditions and compare whole results.",
    ]
    if so_far.kept:
        names = ", ".join(so_far.kept[:_MOST_NAMES])
        parts.append(f"These tests are there already, do not write them again: {names}.")
    if so_far.trouble:
        parts.append(f"Your last answer could not be used: {so_far.trouble}.")
    if so_far.failed:
        told = "\n".join(f"- {name}: {why}" for name, why in list(so_far.failed.items())[:_MOST_FAILED])
        parts.append(f"These tests of your last answer do not hold for the code:\n{told}")
    if survivors:
        told = "\n\n".join(mutant.describe for mutant in survivors)
        parts.append(
            f"No test notices {len(so_far.survivors)} faults yet. Write tests that pass on the code and fail with one "
            f"of these changes:\n\n{told}"
        )
    parts.append(f"Answer with one block of {language.title} code that has the new tests only.")
    return "\n\n".join(parts)


def spread(mutants: Sequence[Mutant], routines: Sequence[Routine], *, seed: int) -> list[Mutant]:
    """Mutants in an order that goes round the routines, so that the first few are not all of one."""
    places: dict[int, list[Mutant]] = {}
    for mutant in mutants:
        inside = [place for place, one in enumerate(routines) if one.start <= mutant.edit.start < one.end]
        places.setdefault(inside[-1] if inside else -1, []).append(mutant)
    draw = Random(seed)
    for group in places.values():
        draw.shuffle(group)
    return [mutant for turn in zip_longest(*places.values()) for mutant in turn if mutant is not None]


def shown_source(source: str, routines: Sequence[Routine], mutants: Sequence[Mutant]) -> str:
    """The code, or where it is too long the headings of its routines and the whole of those with these mutants."""
    if len(source) <= _MOST_SOURCE:
        return source
    left = _MOST_SOURCE
    outline: list[str] = []
    for one in routines:
        outline.append(one.heading if not one.about else f"{one.heading}\n{one.about.splitlines()[0]}")
    bodies: dict[int, str] = {}
    for mutant in mutants:
        for place, one in enumerate(routines):
            text = source[one.start : one.end]
            if one.start <= mutant.edit.start < one.end and place not in bodies and len(text) <= left:
                bodies[place] = text
                left -= len(text)
    shown: list[str] = []
    for place, heading in enumerate(outline):
        text = bodies.get(place, heading if len(heading) <= left else "")
        left -= 0 if place in bodies else len(text)
        shown += [text] if text else []
    return "\n\n".join(shown) or source[:_MOST_SOURCE]
