"""Inputs are within what is allowed, near what matters, and each once."""

from __future__ import annotations

from random import Random

import pytest

from spiritsafe.tasks.code.templates.inputs import Supply, mixed, rows, text, truth, whole


def _many(supply: Supply, count: int = 2_000) -> list[object]:
    rng = Random(5)
    return [supply.draw(rng) for _ in range(count)]


def test_integers_come_near_the_numbers_that_matter() -> None:
    supply = whole(-50, 1000, 700, -50)
    assert set(supply.edges) >= {699, 700, 701, -50, -49, 0, 1, -1, 1000}
    assert -51 not in supply.edges
    drawn = _many(supply)
    assert all(isinstance(n, int) and -50 <= n <= 1000 for n in drawn)
    assert sum(n in (699, 700, 701) for n in drawn) > 100  # by chance it would be about six
    assert len(set(drawn)) > 400


@pytest.mark.parametrize("low", [20, -90])
def test_integers_far_from_0_stay_in_their_range(low: int) -> None:
    assert all(isinstance(n, int) and low <= n <= low + 40 for n in _many(whole(low, low + 40)))


def test_lists_are_of_all_lengths_and_kinds() -> None:
    supply = rows(whole(-9, 99, 40), 1, 7)
    drawn = [values for values in _many(supply) if isinstance(values, list)]
    assert {len(values) for values in drawn} == set(range(1, 8))
    assert {len(values) for values in supply.edges if isinstance(values, list)} <= set(range(1, 8))
    long = [values for values in drawn if len(values) == 7]
    ordered = [values for values in long if values == sorted(values)]
    repeated = [values for values in long if len(set(values)) <= 3]
    runs = [values for values in long if any(values[i] == values[i + 1] == values[i + 2] for i in range(5))]
    assert all(len(found) > len(long) // 20 for found in (ordered, repeated, runs))
    assert [] in rows(whole(0, 5)).edges
    assert [40] in supply.edges


def test_texts_are_of_their_characters_and_pieces() -> None:
    supply = text("abc-", 2, 9, ("-c-", "toolongtobeanedgeofthis"))
    drawn = [str(value) for value in _many(supply)]
    assert {len(value) for value in drawn} == set(range(2, 10))
    assert all(2 <= len(str(edge)) <= 9 for edge in supply.edges)
    assert "-c-" in supply.edges
    assert sum("-c-" in value for value in drawn) > len(drawn) // 5
    assert any(set(value) == set("abc-") for value in drawn)
    assert "" in text("ab").edges


def test_inputs_are_different_and_begin_with_edges_of_every_parameter() -> None:
    supplies = (whole(-30, 30, 7), text("xyz", 0, 6), truth())
    found = mixed(supplies, Random(1), 60)
    assert len({repr(arguments) for arguments in found}) == len(found) == 60
    for place, supply in enumerate(supplies):
        assert {repr(edge) for edge in supply.edges} <= {repr(arguments[place]) for arguments in found[:40]}
    assert found == mixed(supplies, Random(1), 60)
    assert found != mixed(supplies, Random(2), 60)


def test_where_there_are_few_inputs_all_are_found() -> None:
    found = mixed((truth(), whole(0, 1)), Random(0), 50)
    assert sorted(found) == [(False, 0), (False, 1), (True, 0), (True, 1)]


def test_true_and_1_are_two_inputs() -> None:
    assert len(mixed((Supply((True, 1), lambda rng: 1),), Random(0), 2)) == 2


def test_arguments_are_made_to_agree() -> None:
    found = mixed((rows(whole(0, 9)), rows(whole(0, 9))), Random(0), 40, lambda x, y: (x[: len(y)], y[: len(x)]))
    assert len(found) == 40
    assert all(len(x) == len(y) for x, y in found if isinstance(x, list) and isinstance(y, list))
