from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.tasks.code.duet.inside.values import decoded
from spiritsafe.tasks.families.programs.further import Further, further_of
from spiritsafe.tasks.families.programs.judges import judge_python
from spiritsafe.tasks.families.programs.layouts import AskedProgram, asked_of
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

PROMPT = '''
def longest(words: list) -> int:
    """The length of the longest word.
    >>> longest(["a", "bcd"])
    3
    >>> longest(["abcd", "a"])
    5
    """
'''


def asked(gold: str, test: str, *, prompt: str = PROMPT, entry: str = "longest") -> AskedProgram:
    row = {"prompt": prompt, "canonical_solution": gold, "test": test, "entry_point": entry}
    return asked_of(row, "row 1")


def is_right(problem: AskedProgram, further: Further, program: str) -> bool:
    suite: dict[str, Any] = {**problem.suite, "further": further.facts()}
    return judge_python(shared_sandbox(), program, suite, problem.entry).is_right


LONGEST = asked(
    "    return max(map(len, words))\n",
    "def check(f):\n    assert f(['ab', 'xyz']) == 3\n    assert f(['q', 'rst', 'uvwx']) == 4\n"
    "    assert f(['m']) == 1\n",
)


def test_further_inputs_reject_what_published_tests_let_pass_and_no_right_program() -> None:
    further = further_of(LONGEST, 12)
    assert len(further.calls) == 12
    assert further.why_none == ""
    last = f"{PROMPT}\n    return len(words[-1])\n"
    assert is_right(LONGEST, Further(), last)
    assert not is_right(LONGEST, further, last)
    assert is_right(LONGEST, further, "def longest(words):\n    return len(sorted(words, key=len)[-1])\n")
    assert is_right(LONGEST, further, LONGEST.gold)


def test_further_inputs_are_new_and_hold_what_the_gold_gives() -> None:
    further = further_of(LONGEST, 12)
    given = [(decoded(arguments[0]), decoded(result)) for arguments, result in further.calls]
    assert all(max(map(len, words)) == result for words, result in given)
    assert [words for words, _ in given if words in (["ab", "xyz"], ["q", "rst", "uvwx"], ["m"], [])] == []
    assert len({str(words) for words, _ in given}) == 12


def test_of_the_examples_only_those_that_the_gold_agrees_with_are_known() -> None:
    known = [decoded(arguments[0]) for _, arguments in further_of(LONGEST, 12).known]
    assert known == [["ab", "xyz"], ["q", "rst", "uvwx"], ["m"], ["a", "bcd"]]


def test_the_same_problem_has_the_same_further_inputs() -> None:
    first = further_of(LONGEST, 5)
    again = asked(f"{LONGEST.gold.removeprefix(PROMPT)}", LONGEST.suite["tests"])
    assert further_of(again, 5) is first
    assert further_of(again, 6) is not first


@pytest.mark.parametrize(
    ("gold", "test", "ignored"),
    [
        ("    return sorted(words)\n", "assert f(['b', 'a']) == ['a', 'b']", ()),
        ("    return sorted(words)\n", "assert tuple(f(['b', 'a', 'c'])) == ('a', 'b', 'c')", ("kind",)),
        ("    return sorted(words)\n", "assert sorted(f(['b', 'a', 'c'])) == ['a', 'b', 'c']", ("kind", "order")),
        (
            "    return len(words) > 1\n",
            "assert f(['b', 'a']) is True\n    assert f(['a']) is False\n    assert f(['a', 'b', 'c'])",
            (),
        ),
        ("    return len(words) > 1\n", "assert f(['b', 'a'])\n    assert not f(['a'])", ("truth",)),
    ],
)
def test_results_are_compared_as_closely_as_by_the_published_tests(
    gold: str, test: str, ignored: tuple[str, ...]
) -> None:
    further = further_of(
        asked(gold, f"def check(f):\n    {test}\n", prompt='def longest(words):\n    """Do it."""\n'), 4
    )
    assert further.ignored == ignored
    assert further.calls


@pytest.mark.parametrize(
    ("gold", "test", "why"),
    [
        ("    return 1 + 1\n", "assert f(3) == 3", "the gold does not pass"),
        ("    return n * 0.5\n", "assert abs(f(3) - 1.5) < 0.1", "other numbers"),
        ("    return n + 2\n", "assert f(3) > 3\n    assert f(8) > 8", "other results"),
        ("    n.sort()\n", "f([2, 1])", "nothing that gives a plain value"),
    ],
)
def test_nothing_is_added_where_other_results_may_be_right(gold: str, test: str, why: str) -> None:
    problem = asked(gold, f"def check(f):\n    {test}\n", prompt='def half(n):\n    """Do it."""\n', entry="half")
    further = further_of(problem, 4)
    assert why in further.why_none
    assert further.calls == ()
    assert further.facts()["why_none"] == further.why_none


def test_inputs_for_which_the_gold_gives_no_value_or_another_each_time_are_left_out() -> None:
    gold = "    if n == 4:\n        raise ValueError\n    return time.time_ns() if n == 7 else n\n"
    test = "def check(f):\n    assert f(3) == 3\n    assert f(5) == 5\n    assert f(6) == 6\n"
    problem = asked(gold, test, prompt='import time\ndef same(n):\n    """Do it."""\n', entry="same")
    further = further_of(problem, 20)
    assert [decoded(arguments[0]) for arguments, _ in further.calls] == [2]


def test_inputs_with_a_result_of_another_type_are_left_out() -> None:
    gold = "    return n if n > 2 else None\n"
    test = "def check(f):\n    assert f(3) == 3\n    assert f(5) == 5\n"
    problem = asked(gold, test, prompt='def same(n):\n    """Do it."""\n', entry="same")
    assert {decoded(arguments[0]) for arguments, _ in further_of(problem, 20).calls} == {4, 6}


def test_inputs_with_several_right_results_are_left_out() -> None:
    gold = "    return max(words, key=len)\n"
    test = "def check(f):\n    assert f(['a', 'bc']) == 'bc'\n    assert f(['abc', 'b']) == 'abc'\n"
    test += "    assert f(['p', 'qrs', 'tu']) == 'qrs'\n"
    problem = asked(gold, test, prompt='def longest(words):\n    """One of the longest words."""\n')
    given = [decoded(arguments[0]) for arguments, _ in further_of(problem, 20).calls]
    assert len(given) == 20
    assert all(len({word for word in words if len(word) == len(max(words, key=len))}) == 1 for words in given)


def test_inputs_that_take_the_gold_long_are_left_out() -> None:
    gold = "    for _ in range(1000 * n if n > 4 else 1):\n        for _ in range(9): pass\n    return n\n"
    test = "def check(f):\n    assert f(3) == 3\n    assert f(5) == 5\n"
    problem = asked(gold, test, prompt='def same(n):\n    """Do it."""\n', entry="same")
    assert {decoded(arguments[0]) for arguments, _ in further_of(problem, 20).calls} == {2, 4}
