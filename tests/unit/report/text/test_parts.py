from __future__ import annotations

import pytest

from spiritsafe.report.text.parts import part_labels


@pytest.mark.parametrize(
    ("tasks", "labels"),
    [
        (
            ["code:solve?a=1&language=cobol&z=2", "code:solve?a=1&language=python&z=2"],
            ["language=cobol", "language=python"],
        ),
        (["arith:sums?terms=2&digits=1-2", "arith:products?digits=1-2"], ["arith:sums?terms=2", "arith:products"]),
        (["arith:linear", "arith:sums?terms=2"], ["arith:linear", "arith:sums?terms=2"]),
        (["easy", "hard"], ["easy", "hard"]),
        (["a:b?x=1", "a:b?x=1&y=2"], ["a:b", "a:b?y=2"]),
        (["a:b?x=1"], ["x=1"]),
        ([], []),
    ],
    ids=["knobs", "tasks", "one without knobs", "labels", "one with fewer knobs", "one alone", "none"],
)
def test_each_part_is_told_from_the_others(tasks: list[str], labels: list[str]) -> None:
    assert part_labels(tasks) == labels
