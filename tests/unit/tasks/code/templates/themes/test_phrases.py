"""Shared conditions and changes: code, words and values say the same."""

from __future__ import annotations

from code_templates import changed, follows

from spiritsafe.tasks.code.templates.themes.phrases import (
    CHANGES,
    CONDITIONS,
    change_code,
    change_made,
    change_words,
    condition_code,
    condition_test,
    condition_words,
    numbers_near,
    with_own_change,
)

_NUMBERS = range(-130, 131)


def test_conditions_are_code_words_and_tests_of_the_same_numbers() -> None:
    assert len(set(CONDITIONS)) == len(CONDITIONS) > 150
    for condition in CONDITIONS:
        met = [x for x in _NUMBERS if follows(condition, x)]
        code = compile(condition_code(condition, "x"), "condition", "eval")
        assert met == [x for x in _NUMBERS if eval(code, {"x": x})]
        assert met == [x for x in _NUMBERS if condition_test(condition)(x)]
        assert 0 < len(met) < len(_NUMBERS)
    assert len({condition_words(condition) for condition in CONDITIONS}) == len(CONDITIONS)
    assert len({condition_code(condition, "x") for condition in CONDITIONS}) == len(CONDITIONS)


def test_no_two_conditions_choose_the_same_numbers() -> None:
    chosen = {tuple(x for x in _NUMBERS if follows(condition, x)) for condition in CONDITIONS}
    sums = {tuple(x for x in _NUMBERS if x and follows(condition, x)) for condition in CONDITIONS}
    assert len(chosen) == len(sums) == len(CONDITIONS)


def test_changes_are_code_words_and_values_of_the_same_numbers() -> None:
    assert len(set(CHANGES)) == len(CHANGES) > 300
    results = set()
    for change in CHANGES:
        made = tuple(changed(change, x) for x in _NUMBERS)
        code = compile(change_code(change, "x"), "change", "eval")
        assert made == tuple(eval(code, {"x": x}) for x in _NUMBERS)
        assert made == tuple(map(change_made(change), _NUMBERS))
        assert made != tuple(_NUMBERS)
        results.add(made)
    assert len(results) == len(CHANGES)
    assert len({change_words(change) for change in CHANGES}) == len(CHANGES)


def test_numbers_near_a_condition_meet_it_and_do_not() -> None:
    for condition in CONDITIONS:
        near = {x + step for x in numbers_near(condition) for step in (-1, 0, 1)}
        assert {follows(condition, x) for x in near} == {True, False}


def test_changes_that_a_condition_makes_plain_are_refused() -> None:
    def is_kept(condition: str, change: str) -> bool:
        return with_own_change({"condition": condition, "change": change}) is not None

    assert not is_kept("from 0 to 8", "modulo 9")  # leaves them as they are
    assert not is_kept("from 0 to 8", "quotient 12")  # makes all of them 0
    assert not is_kept("remainder 2 of 5", "modulo 5")
    assert is_kept("from 0 to 8", "modulo 7")
    assert is_kept("from 0 to 8", "plus 3")
    assert is_kept("above 5", "quotient 12")
