"""Golds of templates beside second solutions, written from the statements in ordinary Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

from spiritsafe.tasks.code.templates.template import Template

NUM_DRAWS = 40
NUM_INPUTS = 60


def templates_of(theme: ModuleType) -> dict[str, Template]:
    """Those that a module defines, by name."""
    return {value.name: value for value in vars(theme).values() if isinstance(value, Template)}


def disagreements(template: Template, reference: Callable[..., Any]) -> list[str]:
    """Where gold and reference give different values, or values of different types."""
    rng = Random(template.name)
    found = []
    for _ in range(NUM_DRAWS):
        settings = template.draw(rng)
        exercise = template.exercise(settings)
        for arguments in exercise.inputs(rng, NUM_INPUTS):
            gold = exercise.answer(arguments)
            own = reference(SimpleNamespace(**settings), *arguments)
            if gold != own or type(gold) is not type(own):
                found.append(f"{template.canonical_text(settings)} {arguments}: {gold!r}, {own!r}")
    return found


def check_theme(theme: ModuleType, references: Mapping[str, Callable[..., Any]]) -> None:
    """Every template of a module has a reference, and agrees with it."""
    templates = templates_of(theme)
    assert set(references) == set(templates)
    differing = {name: disagreements(templates[name], references[name])[:3] for name in templates}
    assert {name: found for name, found in differing.items() if found} == {}


def follows(condition: str, x: int) -> bool:
    """Whether a number meets a condition of the shared phrases."""
    words = condition.split()
    numbers = [int(word) for word in words if word.lstrip("-").isdigit()]
    return {
        "above": lambda: x > numbers[0],
        "below": lambda: x < numbers[0],
        "remainder": lambda: (x - numbers[0]) % numbers[1] == 0,
        "digit": lambda: str(x)[-1] == str(numbers[0]),
        "from": lambda: x in range(numbers[0], numbers[1] + 1),
    }[words[0]]()


def changed(change: str, x: int) -> int:
    """A number after a change of the shared phrases."""
    words = change.split()
    numbers = [int(word) for word in words if word.lstrip("-").isdigit()]
    return {
        "times": lambda: numbers[0] * x + numbers[-1],
        "plus": lambda: x + numbers[0],
        "square": lambda: x**2 + numbers[0],
        "quotient": lambda: divmod(x, numbers[0])[0],
        "modulo": lambda: divmod(x, numbers[0])[1],
    }[words[0]]()
