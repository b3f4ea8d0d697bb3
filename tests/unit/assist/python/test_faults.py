from __future__ import annotations

import pytest

from spiritsafe.assist.python.faults import python_faults
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.mutants.registry import mutants_of

SOURCE = '''"""Says."""
from typing import TYPE_CHECKING

__version__ = "1.0"
if TYPE_CHECKING:
    def only_types(a):
        return a + 1


def clamp(a, low=0):
    """Not less."""
    if a < low:
        return low
    return a * 1


def same(a):
    x = 4
    return a


if __name__ == "__main__":
    def script(a):
        return a + 1
'''


def test_faults_are_those_of_the_registry_and_no_more_than_wanted() -> None:
    every, _ = python_faults(SOURCE, most=1000, seed=0)
    assert [one.source for one in every] == [one.source for one in mutants_of(SOURCE, "python")]
    some, _ = python_faults(SOURCE, most=5, seed=0)
    assert len(some) == 5
    assert {one.source for one in some} < {one.source for one in every}
    others = {tuple(one.source for one in python_faults(SOURCE, most=5, seed=seed)[0]) for seed in range(9)}
    assert len(others) > 1


def test_what_tests_never_meet_has_no_faults() -> None:
    every, _ = python_faults(SOURCE, most=1000, seed=0)
    lines = {SOURCE.splitlines()[one.line - 1].strip() for one in every}
    assert lines == {"def clamp(a, low=0):", "if a < low:", "return low", "return a * 1", "x = 4", "return a"}


def test_what_compiles_to_the_same_is_counted() -> None:
    source = "def f(a):\n    if False:\n        return a + 1\n    return a\n"
    mutants, num_same = python_faults(source, most=1000, seed=0)
    assert num_same == 5  # all in the line that is never compiled: None, -, 0, 2, -1
    assert [one.name for one in mutants] == ["L2 truth: False -> True", "L4 return: a -> None"]


def test_what_is_not_python_is_refused() -> None:
    with pytest.raises(TaskError, match="not Python"):
        python_faults("def (", most=1, seed=0)
