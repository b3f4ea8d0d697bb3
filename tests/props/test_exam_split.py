from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.exam.paper.files import keyed_salt
from spiritsafe.exam.paper.split import public_indices


@given(st.binary(min_size=32, max_size=32), st.integers(2, 300), st.data())
def test_the_split_is_a_function_of_root_and_size(root, size, data):
    num_public = data.draw(st.integers(1, size - 1))
    chosen = public_indices(root.hex(), size, num_public)
    assert len(set(chosen)) == num_public
    assert list(chosen) == sorted(chosen)
    assert set(chosen) <= set(range(size))
    assert chosen == public_indices(root.hex(), size, num_public)
    if num_public < size - 1:  # one more public problem adds one and moves none
        assert set(chosen) < set(public_indices(root.hex(), size, num_public + 1))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(0, 99), st.integers(0, 99))
def test_salts_differ_by_secret_and_place(one, other, i, j):
    same = one == other and i == j
    assert (keyed_salt(one.hex(), "problem", i) == keyed_salt(other.hex(), "problem", j)) == same
    assert len(keyed_salt(one.hex(), "problem", i)) == 32
