"""Tricks are tricks only where they are run: all but those that are no program compile."""

from __future__ import annotations

import pytest
from hack_parts import refused_programs, refused_tests

from spiritsafe.tasks.code.languages.signature import ValueType

KINDS: tuple[ValueType, ...] = ("bool", "str", "ints")


@pytest.mark.parametrize("kind", ["int", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)])
def test_programs_are_programs(kind: ValueType) -> None:
    assert refused_programs("cobol", kind) == {"no program"}


def test_tests_are_programs() -> None:
    assert refused_tests("cobol") == {"a copy of its own"}  # two of one name
