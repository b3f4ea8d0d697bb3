from __future__ import annotations

import numpy as np
from cache_parts import random_rows

from spiritsafe.distil.cache.estimate import RowEstimates, padded_entries, place_in_row, row_of


def test_entries_stand_in_their_rows_and_each_row_sums_to_one() -> None:
    rows = RowEstimates(
        num_head_R=np.array([2, 0, 3]),
        head_ids_F=np.array([4, 9, 0, 1, 2]),
        head_log_probs_F=np.log([0.6, 0.3, 5.0, 3.0, 2.0]),
        num_draws_R=np.array([2, 4, 0]),
        tail_ids_D=np.array([7, 7, 1, 2, 3, 3]),
        log_tail_mass_R=np.array([np.log(0.1), 0.0, -np.inf]),
        entropy_R=np.zeros(3),
    )
    ids, probs = padded_entries(rows)
    assert ids.tolist() == [[4, 9, 7, 7], [1, 2, 3, 3], [0, 1, 2, 0]]
    np.testing.assert_allclose(probs, [[0.6, 0.3, 0.05, 0.05], [0.25] * 4, [0.5, 0.3, 0.2, 0.0]], atol=1e-15)


def test_split_and_join_are_inverse() -> None:
    rows = random_rows(np.random.default_rng(1), num_rows=23, vocab=50)
    parts = list(rows.split([3, 0, 13, 7]))
    assert [len(part) for part in parts] == [3, 0, 13, 7]
    again = RowEstimates.joined(parts)
    for name in RowEstimates.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(rows, name))
    np.testing.assert_array_equal(padded_entries(parts[2])[0][:, :5], padded_entries(rows)[0][3:16, :5])


def test_rows_and_places_of_entries() -> None:
    counts = np.array([2, 0, 3])
    assert row_of(counts).tolist() == [0, 0, 2, 2, 2]
    assert place_in_row(counts).tolist() == [0, 1, 0, 1, 2]
