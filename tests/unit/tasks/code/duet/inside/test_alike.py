from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.tasks.code.duet.inside.alike import LEFT_OUT, is_alike
from spiritsafe.tasks.code.duet.inside.values import Opaque


@pytest.mark.parametrize(
    ("found", "wanted", "is_same"),
    [
        (1, 1, True),
        (1, 2, False),
        (1.0, 1, True),
        (1, 1.0, True),
        (1.0000001, 1, True),
        (0.1 + 0.2, 0.3, True),
        (1e-9, 0.0, True),
        (1.001, 1.0, False),
        (1e9 + 1, 1e9, True),
        ("a", "a", True),
        ("1.0", 1.0, False),
        (None, None, True),
        (None, False, False),
        (0, None, False),
        ([1.0, [0.30000000000000004]], [1.0, [0.3]], True),
        ([1.0], [1.0, 2.0], False),
        ((1, 2), [1, 2], False),
        ([2, 1], [1, 2], False),
        ({"a": 0.30000000000000004}, {"a": 0.3}, True),
        ({"a": 1, "b": 1}, {"a": 1}, False),
        ([1], {"a": 1}, False),
        ({1, 2}, {2, 1}, True),
        ([True], True, False),
        (float("nan"), 1.0, False),
        (Opaque("thing"), None, False),
        (Opaque("thing"), 1.0, False),
    ],
)
def test_values_are_alike(found: Any, wanted: Any, is_same: bool) -> None:
    assert is_alike(found, wanted) is is_same


@pytest.mark.parametrize(
    ("ignored", "found", "wanted", "is_same"),
    [
        ("kind", (1, (2,)), [1, [2]], True),
        ("kind", (2, 1), [1, 2], False),
        ("kind", {1}, [1], False),
        ("order", [2, 1], [1, 2], True),
        ("order", (2, 1), [1, 2], False),
        ("order", [2, 2, 1], [1, 2, 1], False),
        ("truth", "yes", True, True),
        ("truth", None, False, True),
        ("truth", 0, True, False),
        ("truth", Opaque("thing"), True, False),
        ("truth", 2, 1, False),
    ],
)
def test_what_is_left_out_does_not_count(ignored: str, found: Any, wanted: Any, is_same: bool) -> None:
    assert ignored in LEFT_OUT
    assert is_alike(found, wanted, (ignored,)) is is_same
