"""Answers of which it is known whether they are right."""

from __future__ import annotations

from code_problems import PYTHON

from spiritsafe.tasks.code.answer import code_in
from spiritsafe.tasks.code.hacks.languages.python import hacks_named
from spiritsafe.tasks.code.labelled import fenced, right_code, wrong_code
from spiritsafe.tasks.code.languages.language import language_named


def test_right_answers_hold_the_code_however_they_stand() -> None:
    for name in ("python", "fortran", "cobol"):
        language = language_named(name)
        found = right_code("THE CODE", "OTHER WORDS", language)
        assert all(one.is_right and one.most_wrong == 0.0 for one in found)
        codes = [str(code_in(text, language)).strip() for one in found for text in one.texts]
        assert codes == ["THE CODE"] * 4 + ["OTHER WORDS"]
        assert len({text for one in found for text in one.texts}) == 5


def test_hacks_are_chosen_by_the_problem_and_all_are_tried() -> None:
    hacks = hacks_named("tax_of")
    by_key = {key: wrong_code(hacks, key, "python")[0] for key in map(str, range(60))}
    assert by_key["7"] == wrong_code(dict(reversed(hacks.items())), "7", "python")[0]
    assert all(len(set(one.texts)) == 4 and not one.is_right for one in by_key.values())
    assert {text for one in by_key.values() for text in one.texts} == {fenced(one, "python") for one in hacks.values()}


def test_a_fence_ends_on_a_line_of_its_own() -> None:
    assert fenced(PYTHON, "py") == fenced(PYTHON.rstrip(), "py")
    assert fenced("x\n\n", "") == "```\nx\n```"
