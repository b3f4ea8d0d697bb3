"""Explanations that are the code are none."""

from __future__ import annotations

import time
from random import Random

import pytest
from code_problems import COBOL, FORTRAN, PYTHON

from spiritsafe.tasks.code.templates.catalogue import templates
from spiritsafe.tasks.families.code.leaks import leak_in

GOOD = (
    "The amount is given in cents. Up to and including 100 cents nothing is due. Above that a fifth of the amount is "
    "due, rounded down to whole cents. Use the parameter `cents`; for `-5` the result is `0`."
)


@pytest.mark.parametrize("code", [PYTHON, FORTRAN, COBOL])
def test_plain_words_are_an_explanation(code: str) -> None:
    assert leak_in(GOOD, code) is None


@pytest.mark.parametrize(
    ("explanation", "why"),
    [
        (f"Like this:\n```\n{PYTHON}```", "a block of code"),
        ("Return `cents // 5` if that is enough.", "between backticks: cents // 5"),
        (PYTHON, "in a row"),
        (" ".join(PYTHON.split()), "in a row"),
        (PYTHON.upper().replace("\n", " ; "), "in a row"),
        ("def tax_of(cents: int and if cents > 100: return and /5 return 0", "stand in it"),
        ("It is x == 1, or y != 2, or z <= 3.", "signs that only programs have"),
        ("very " * 400 + "long", "characters"),
    ],
)
def test_the_code_in_other_dress_is_none(explanation: str, why: str) -> None:
    assert why in str(leak_in(explanation, PYTHON))


def test_statements_of_templates_are_explanations_of_their_golds() -> None:

    rng = Random(11)
    for template in templates().values():
        exercise = template.exercise(template.draw(rng))
        for wording in range(3):
            assert leak_in(exercise.statement(wording), exercise.gold) is None, template.name


def test_long_texts_take_no_time() -> None:
    started = time.process_time()
    assert leak_in("x = " * 1_000, PYTHON * 40) is None
    assert time.process_time() - started < 20
