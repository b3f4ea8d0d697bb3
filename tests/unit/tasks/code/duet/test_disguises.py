from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.tasks.code.duet.disguises import disguised, is_changed
from spiritsafe.tasks.code.duet.inside.alike import LEFT_OUT

GOLD = """
def f(value, times=0):
    return f(value, times - 1) if times else value
"""


def given(program: str, value: Any) -> Any:
    module: dict[str, Any] = {}
    exec(program, module)
    return module["f"](value, times=2)


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("kind", [1, 2], (1, 2)),
        ("kind", (1, 2), [1, 2]),
        ("order", [1, 2, 3], [3, 2, 1]),
        ("order", (1, 2), (2, 1)),
        ("truth", True, "yes"),
        ("truth", False, None),
        ("number", 1.0, 1.0001),
        ("number", (2, [0.0]), (2, [0.0001])),
    ],
)
def test_a_disguise_changes_one_thing_however_often_the_program_calls_itself(
    name: str, value: Any, changed: Any
) -> None:
    programs = disguised(GOLD, "f")
    assert given(programs[name], value) == changed
    assert type(given(programs[name], value)) is type(changed)
    assert is_changed(name, value)


@pytest.mark.parametrize("name", ["kind", "order", "truth", "number"])
def test_a_disguise_leaves_other_values_alone(name: str) -> None:
    for value in (3, "text", None, {"a": 1.0}, *([1.5] if name != "number" else [])):
        assert given(disguised(GOLD, "f")[name], value) == value
        assert not is_changed(name, value)


def test_all_that_a_comparison_may_leave_out_has_its_disguise() -> None:
    assert set(LEFT_OUT) < set(disguised(GOLD, "f"))
