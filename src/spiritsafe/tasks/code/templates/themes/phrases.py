"""Parts that templates share: conditions on a number and changes to it, as code and as English.

In: a part's name, such as ``above 5`` or ``times 3 plus -4``. Out: an expression of the subset, or words for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spiritsafe.tasks.code.templates.template import scaled, shifted

CONDITIONS = (
    *(f"above {n}" for n in range(-15, 41) if n != -1),
    *(f"below {n}" for n in range(-5, 61) if n != 1),
    *(f"remainder {r} of {m}" for m in range(2, 8) for r in range(m)),
    *(f"digit {d}" for d in range(10)),
    *(f"from {low} to {low + width}" for low in range(-20, 31, 5) for width in (8, 13, 27)),
)
"""Conditions of different meaning, also where a 0 adds nothing: "above -1" would be "above 0" in a sum."""

CHANGES = (
    *(f"times {a} plus {b}" for a in (*range(-6, 0), *range(2, 10)) for b in range(-12, 13)),
    *(f"plus {b}" for b in (*range(-20, 0), *range(1, 21))),
    *(f"square plus {b}" for b in range(-9, 10)),
    *(f"quotient {m}" for m in range(2, 13)),
    *(f"modulo {m}" for m in range(5, 13)),
)
"""Changes of a number, none of which leaves it as it is."""


def condition_code(condition: str, name: str) -> str:
    """The condition on the variable ``name``."""
    match condition.split():
        case ["above", n]:
            return f"{name} > {n}"
        case ["below", n]:
            return f"{name} < {n}"
        case ["remainder", r, "of", m]:
            return f"{name} % {m} == {r}"
        case ["digit", d]:
            return f"abs({name}) % 10 == {d}"
    _, low, _, high = condition.split()
    return f"{low} <= {name} <= {high}"


def condition_words(condition: str) -> str:
    """What numbers that meet it are like, after "numbers": ``that are greater than 5``."""
    match condition.split():
        case ["above", n]:
            return f"that are greater than {n}"
        case ["below", n]:
            return f"that are less than {n}"
        case ["remainder", "0", "of", m]:
            return f"that are multiples of {m}"
        case ["remainder", r, "of", m]:
            range_words = f"remainders are from 0 to {int(m) - 1}, also of negative numbers"
            return f"that leave remainder {r} when divided by {m} ({range_words})"
        case ["digit", d]:
            return f"whose last decimal digit is {d} (the sign does not matter)"
    _, low, _, high = condition.split()
    return f"that lie from {low} to {high}, both included"


def condition_test(condition: str) -> Callable[[int], bool]:
    """The condition itself, to look at settings."""
    match condition.split():
        case ["above", n]:
            return lambda x: x > int(n)
        case ["below", n]:
            return lambda x: x < int(n)
        case ["remainder", r, "of", m]:
            return lambda x: x % int(m) == int(r)
        case ["digit", d]:
            return lambda x: abs(x) % 10 == int(d)
    _, low, _, high = condition.split()
    return lambda x: int(low) <= x <= int(high)


def numbers_near(condition: str) -> tuple[int, ...]:
    """Numbers to test a condition with, and near: those that it speaks of, and some that meet it."""
    meets = condition_test(condition)
    spoken = [int(word) for word in condition.split() if word.lstrip("-").isdigit()]
    return (*spoken, *[x for x in (*range(-17, 70, 3), *range(-16, 70, 3)) if meets(x)][:12:2])


def change_code(change: str, name: str) -> str:
    """The variable ``name`` after the change."""
    match change.split():
        case ["times", a, "plus", b]:
            return f"{scaled(name, int(a))}{shifted(int(b))}"
        case ["plus", b]:
            return f"{name}{shifted(int(b))}"
        case ["square", "plus", b]:
            return f"{name} * {name}{shifted(int(b))}"
        case ["quotient", m]:
            return f"{name} // {m}"
    return f"{name} % {change.split()[1]}"


def change_words(change: str, name: str = "x") -> str:
    """What a number ``name`` becomes."""
    match change.split():
        case ["times", a, "plus", b]:
            return f"{a} * {name}{shifted(int(b))}"
        case ["plus", b]:
            return f"{name}{shifted(int(b))}"
        case ["square", "plus", b]:
            return f"{name} * {name}{shifted(int(b))}"
        case ["quotient", m]:
            return f"{name} / {m} rounded down (towards minus infinity)"
    divisor = int(change.split()[1])
    return f"the remainder of {name} divided by {divisor} (from 0 to {divisor - 1}, also if {name} is negative)"


def change_made(change: str) -> Callable[[int], int]:
    """The change itself, to look at settings."""
    match change.split():
        case ["times", a, "plus", b]:
            return lambda x: int(a) * x + int(b)
        case ["plus", b]:
            return lambda x: x + int(b)
        case ["square", "plus", b]:
            return lambda x: x * x + int(b)
        case ["quotient", m]:
            return lambda x: x // int(m)
    divisor = int(change.split()[1])
    return lambda x: x % divisor


def with_own_change(settings: dict[str, Any]) -> dict[str, Any] | None:
    """The settings, unless the change of the numbers that meet the condition is one that a simpler change makes too."""
    meets, made = condition_test(settings["condition"]), change_made(settings["change"])
    numbers = [x for x in range(-120, 121) if meets(x)]
    is_constant = len({made(x) for x in numbers}) == 1
    is_shift = len({made(x) - x for x in numbers}) == 1 and not settings["change"].startswith("plus")
    return None if is_constant or is_shift else settings
