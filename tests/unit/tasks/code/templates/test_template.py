"""A template draws settings, names them, and writes an exercise."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.languages.signature import CodeSignature
from spiritsafe.tasks.code.templates.inputs import rows, whole
from spiritsafe.tasks.code.templates.template import (
    Exercise,
    Template,
    added,
    asking,
    grown,
    loaded,
    plus,
    scaled,
    shifted,
    signature_of,
    template,
)

_GOLD = """\
def double(x: int) -> int:
    return x * 2


def extend(values: list[int], name: str, is_long: bool, n: int) -> list[int]:
    values.append(double(n))
    return values
"""


def _ordered(s: dict[str, Any]) -> dict[str, Any] | None:
    return None if s["a"] == s["b"] else s | {"a": min(s["a"], s["b"]), "b": max(s["a"], s["b"])}


def _made(size: int) -> Template:
    @template(level=2, settle=_ordered, a=range(size), b=range(size), word=("up", "down"))
    def _between(a: int, b: int, word: str) -> Exercise:
        gold = f"def pick(x: int) -> int:\n    return x{shifted(a)}{shifted(b)}\n"
        return Exercise(
            gold=gold, wordings=(f"{word} {a} {b}", f"{a} {b} {word}"), notes="Go.", supplies=(whole(0, 9),)
        )

    return _between


def test_settings_are_drawn_in_their_canonical_form() -> None:
    made = _made(10)
    assert (made.name, made.level) == ("between", 2)
    rng = Random(3)
    drawn = [made.draw(rng) for _ in range(300)]
    assert all(int(s["a"]) < int(s["b"]) for s in drawn)
    again = Random(3)
    assert drawn == [made.draw(again) for _ in range(300)]
    assert len({made.canonical_text(s) for s in drawn}) > 60


def test_the_canonical_text_is_that_of_the_settings_alone() -> None:
    made = _made(10)
    assert made.canonical_text({"word": "up", "b": 4, "a": 2}) == "between(a=2, b=4, word='up')"


@pytest.mark.parametrize(("size", "tolerance"), [(12, 0.0), (200, 0.1)])
def test_problems_are_counted(size: int, tolerance: float) -> None:
    exact = size * (size - 1)  # pairs without order, with two words
    assert abs(_made(size).space_size() - exact) <= tolerance * exact


def test_settings_that_are_always_refused_are_an_error() -> None:
    with pytest.raises(TaskError, match="between finds no settings"):
        _made(1).draw(Random(0))


def test_an_exercise_says_what_is_wanted() -> None:
    exercise = _made(10).exercise({"a": 1, "b": 2, "word": "up"})
    assert [exercise.statement(n) for n in range(3)] == ["up 1 2 Go.", "1 2 up Go.", "up 1 2 Go."]
    assert exercise.answer((5,)) == 8
    assert exercise.signature == CodeSignature("pick", (("x", "int"),), "int")
    assert len(exercise.inputs(Random(0), 4)) == 4


def test_the_last_function_is_asked_for_and_leaves_its_arguments_alone() -> None:
    assert signature_of(_GOLD) == CodeSignature(
        "extend", (("values", "ints"), ("name", "str"), ("is_long", "bool"), ("n", "int")), "ints"
    )
    assert loaded(_GOLD)([1], "x", True, 3) == [1, 6]
    exercise = Exercise(gold=_GOLD, wordings=("",), supplies=(rows(whole(0, 3)),))
    values = [4]
    assert exercise.answer((values, "x", True, 3)) == [4, 6]
    assert values == [4]


def test_code_and_words_for_numbers() -> None:
    assert [shifted(n) for n in (3, 0, -3)] == [" + 3", "", " - 3"]
    assert [scaled("x", n) for n in (1, -1, 5, -5)] == ["x", "-x", "x * 5", "x * -5"]
    assert [added("y", n) for n in (1, -1, 5, -5)] == [" + y", " - y", " + y * 5", " - y * 5"]
    assert [grown(n) for n in (3, -3)] == ["+= 3", "-= 3"]
    assert [plus(n) for n in (3, 0, -3)] == ["plus 3", "plus 0", "minus 3"]
    code = "total = 0  # sum\nlast = 0  # last\nx = 1\n"
    assert asking(code, "sum") == "total = 0\nx = 1\n"
    assert asking(code, "last") == "last = 0\nx = 1\n"
