"""Worked solutions of products, spelled out."""

from random import Random

import pytest
from inline_snapshot import snapshot

from spiritsafe.tasks.families.arith.items import Item, LinearKnobs, ProductsKnobs, linear, products


def draw(kind, knobs, wanted: str) -> Item:  # type: ignore[no-untyped-def]  # any of the generators
    rng = Random(0)
    while True:
        item = kind(rng, knobs)
        if item is not None and item.canonical_text == wanted:
            return item


@pytest.mark.parametrize(
    ("canonical", "digits", "solution"),
    [
        (
            "7 * 8",
            (1, 1),
            snapshot("""\
8 * 7 = 56
#### 56\
"""),
        ),
        (
            "7 * 23",
            (1, 2),
            snapshot("""\
7 * 20 = 140
7 * 3 = 21
140 + 21 = 161
#### 161\
"""),
        ),
        (
            "30 * 47",
            (2, 2),
            snapshot("""\
47 * 30 = 1410
#### 1410\
"""),
        ),
        (
            "23 * 47",
            (2, 2),
            snapshot("""\
47 * 20 = 940
47 * 3 = 141
940 + 141 = 1081
#### 1081\
"""),
        ),
    ],
)
def test_products(canonical: str, digits: tuple[int, int], solution: str) -> None:
    assert draw(products, ProductsKnobs(digits=digits), canonical).solution() == solution


def test_linear() -> None:
    item = draw(linear, LinearKnobs(), "3x+4=19")
    assert item.solution() == "3x = 19 - 4 = 15\nx = 15 / 3 = 5\n#### 5"
