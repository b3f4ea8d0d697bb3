from __future__ import annotations

import pytest

from spiritsafe.core.mapped import MappedSequence


def test_items_are_made_when_they_are_asked_for() -> None:
    made: list[int] = []

    def change(place: int, item: str) -> str:
        made.append(place)
        return f"{place}{item}"

    mapped = MappedSequence(["a", "b", "c"], change)
    assert (len(mapped), made) == (3, [])
    assert (mapped[1], mapped[-1], mapped[1:]) == ("1b", "2c", ["1b", "2c"])
    assert made == [1, 2, 1, 2]
    assert list(mapped) == ["0a", "1b", "2c"]
    with pytest.raises(IndexError):
        mapped[3]


def test_a_map_of_a_map_sees_the_changed_items() -> None:
    assert list(MappedSequence(MappedSequence([1, 2], lambda _, n: n * 10), lambda at, n: n + at)) == [10, 21]
