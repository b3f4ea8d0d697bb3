from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.tasks.families.programs.examples import examples_in


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (">>> f(1, 'a)')\n    [2]", [([1, "a)"], ([2],))]),
        ("f([1, 2]) == True, f(3) => -1\n", [([[1, 2]], ()), ([3], (-1,))]),
        ("f(3) ➞ 4", [([3], (4,))]),
        ("f(3) # => None", [([3], (None,))]),
        ("f(3) returns a lot", [([3], ())]),
        ("f((1, 2))", [([(1, 2)], ())]),
        ("def f(x):\n    pass", []),
        ("f(x) f(y=1) f(1 +", []),
        ("other_f(1) a.f(2)", []),
        ("", []),
    ],
)
def test_calls_that_are_shown(text: str, found: list[tuple[list[Any], tuple[Any, ...]]]) -> None:
    assert [(each.arguments, each.result) for each in examples_in(text, "f")] == found
