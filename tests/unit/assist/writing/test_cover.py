from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.assist.writing.cover import least_cover

SETS = st.lists(st.frozensets(st.integers(0, 7)), max_size=6)


def union(sets: list[frozenset[int]]) -> frozenset[int]:
    return frozenset().union(*sets)


@given(SETS)
def test_each_kept_test_is_needed_and_nothing_is_lost(sets: list[frozenset[int]]) -> None:
    killed = dict(enumerate(sets))
    chosen = least_cover(killed)
    assert union([killed[one] for one in chosen]) == union(sets)
    for one in chosen:
        assert killed[one] - union([killed[other] for other in chosen if other != one])
    assert chosen == sorted(chosen)


@given(SETS)
def test_it_is_not_far_from_the_fewest(sets: list[frozenset[int]]) -> None:
    wanted = union(sets)
    fewest = next(
        count
        for count in range(len(sets) + 1)
        if any(union(list(some)) == wanted for some in combinations(sets, count))
    )
    harmonic = sum(1 / size for size in range(1, max(map(len, sets), default=0) + 1))  # Chvátal's bound
    assert len(least_cover(dict(enumerate(sets)))) <= max(1.0, harmonic) * fewest


def test_what_a_later_choice_covers_is_taken_out_again() -> None:
    # greedily "a" comes first, and the two others cover it
    killed = {"a": {1, 2, 3, 4}, "b": {1, 2, 5}, "c": {3, 4, 6}}
    assert least_cover(killed) == ["b", "c"]


def test_of_equals_the_earlier_is_kept() -> None:
    assert least_cover({"a": {1}, "b": {1}, "c": set()}) == ["a"]
    assert least_cover({}) == []
