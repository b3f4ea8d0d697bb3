from __future__ import annotations

import json
from typing import Any

import pytest

from spiritsafe.tasks.code.duet.behaviour import behaviours
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

PROGRAM = """
def f(n):
    if n < 0:
        raise ValueError(n)
    xs = [0]
    try:
        for k in range(n):
            xs[0] += k
    except BaseException:
        return "caught"
    return {"a\\nb": xs, 1: object()} if n == 1 else xs

def g(xs):
    xs.append(1)
"""


def replayed(*calls: tuple[str, Any], **how: Any) -> list[str]:
    return behaviours(shared_sandbox(), [PROGRAM], [(name, [value]) for name, value in calls], **how)[0]


def test_whole_results_are_values() -> None:
    results = replayed(("f", 4), ("f", 1), ("f", -1), ("g", ["list", [0]]), whole=True)
    assert json.loads(results[0]) == ["list", [6]]
    assert json.loads(results[1]) == ["dict", [["a\nb", ["list", [0]]], [1, ["opaque", "object"]]]]
    assert results[2].startswith("!")
    assert results[3] == "null"


def test_digests_tell_what_became_of_arguments() -> None:
    one, other = replayed(("g", ["list", [0]]), ("g", ["list", [2]]))
    assert one != other
    assert replayed(("g", ["list", [0]])) == [one]


def test_a_very_long_result_is_told_as_an_error_is() -> None:
    program = "def f(n): return 'x' * n"
    short, long = behaviours(shared_sandbox(), [program], [("f", [10]), ("f", [30_000])], whole=True)[0]
    assert short == '"xxxxxxxxxx"'
    assert long.startswith("!")


@pytest.mark.parametrize("steps", [100, 1000])
def test_a_call_may_take_so_many_steps_whatever_the_program_catches(steps: int) -> None:
    results = replayed(("f", 3), ("f", 2 * steps), ("f", 5), whole=True, steps=steps)
    assert results == ['["list", [3]]', "!long", '["list", [10]]']


def test_all_calls_together_may_take_a_hundred_times_as_many() -> None:
    results = replayed(*[("f", 20)] * 300, whole=True, steps=60)
    kept = results.index("!long")
    assert 100 < kept < 200
    assert set(results[:kept]) == {'["list", [190]]'}
    assert set(results[kept:]) == {"!long"}
