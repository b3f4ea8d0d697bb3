from __future__ import annotations

import types

import pytest

from spiritsafe.tasks.code.duet.inside.replay import _result, _Steps
from spiritsafe.tasks.code.duet.inside.values import encoded


@pytest.fixture
def module() -> types.ModuleType:
    made = types.ModuleType("solution")
    text = """
import itertools, random
def same(x): return x
def one(): return 1
def yes(): return True
def chance(): return random.random()
def bad(kind): raise {"key": KeyError, "value": ValueError}[kind]("a word")
def endless(): return map(abs, itertools.count())
def clear(xs): xs.clear()
def keep(xs): pass
"""
    exec(text, vars(made))
    return made


def result(module: types.ModuleType, name: str, *arguments: object) -> str:
    return _result(module, name, [encoded(each) for each in arguments], False, _Steps(0))


def test_digests_tell_values_apart(module: types.ModuleType) -> None:
    values = [1, 2, True, 1.0, "1", None, [1], (1,), {1}, {1: 1}, [], (), -0.0, 0.0, 10**30, float("nan"), b"1", "é"]
    digests = [result(module, "same", value) for value in values]
    assert len(set(digests)) == len(values)
    assert not any(digest.startswith("!") for digest in digests)
    assert digests == [result(module, "same", value) for value in values]
    assert result(module, "one") != result(module, "yes")


def test_changed_arguments_count(module: types.ModuleType) -> None:
    assert result(module, "clear", [1]) != result(module, "keep", [1])
    assert result(module, "clear", []) == result(module, "keep", [])


def test_errors_are_marked_and_told_apart_by_their_kind(module: types.ModuleType) -> None:
    key, value = result(module, "bad", "key"), result(module, "bad", "value")
    assert key.startswith("!")
    assert value.startswith("!")
    assert key != value
    assert result(module, "missing").startswith("!")
    assert result(module, "endless").startswith("!")


def test_chance_is_the_same_for_each_call(module: types.ModuleType) -> None:
    assert result(module, "chance") == result(module, "chance")
