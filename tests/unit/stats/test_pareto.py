"""Dominated choices, against the definition spelt out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.stats import dominating

CHOICES = st.lists(st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float)), max_size=8)


@given(CHOICES)
def test_a_choice_is_dominated_exactly_where_another_is_better_in_one_and_worse_in_none(
    choices: list[tuple[float, float]],
) -> None:
    for (cost, worth), found in zip(choices, dominating(choices), strict=True):
        better = [c for c in choices if c[0] <= cost and c[1] >= worth and (c[0] < cost or c[1] > worth)]
        assert (found is None) == (not better)
        if found is not None:
            assert choices[found] == min(better, key=lambda c: (c[0], -c[1]))


def test_equal_choices_do_not_dominate_each_other() -> None:
    assert dominating([(1.0, 0.5), (1.0, 0.5)]) == [None, None]
    assert dominating([(2.0, 0.5), (1.0, 0.5), (1.0, 0.4)]) == [1, None, 1]
