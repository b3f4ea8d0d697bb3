from __future__ import annotations

import pytest

from spiritsafe.models.running.engine.runner import common_prefix


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([(1, 2, 3), (1, 2, 4)], 2),
        ([(1, 2, 3)], 2),
        ([(1, 2), (1, 2, 3)], 1),
        ([(5,), (1, 2)], 0),
        ([(1, 9, 3), (1, 2, 3), (1, 2, 4)], 1),
        ([], 0),
    ],
)
def test_common_prefix(prompts: list[tuple[int, ...]], expected: int) -> None:
    assert common_prefix(prompts) == expected
