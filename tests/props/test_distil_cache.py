"""Whatever rows a teacher has, their bytes give them back, and nothing else passes for them."""

from __future__ import annotations

import numpy as np
from cache_parts import random_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.core.errors import IntegrityError
from spiritsafe.distil.cache.encoding import (
    SPAN_STEP,
    decode_rows,
    decode_sorted,
    encode_rows,
    encode_sorted,
    sorted_bytes,
)
from spiritsafe.distil.cache.estimate import padded_entries

ROWS = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from([1, 2, 7, 260, 49152, 151936, 262144]))


@given(st.lists(st.integers(0, 10**9), max_size=60), st.integers(1, 10**9))
def test_any_sorted_list_comes_back_in_the_bytes_foretold(numbers: list[int], universe: int) -> None:
    ordered = np.sort(np.array([n % universe for n in numbers], dtype=np.int64))
    data = encode_sorted(ordered, universe)
    assert len(data) == sorted_bytes(len(ordered), universe)
    np.testing.assert_array_equal(decode_sorted(np.frombuffer(data, np.uint8), len(ordered), universe), ordered)


@settings(max_examples=50)
@given(ROWS)
def test_rows_come_back_with_their_ids_and_near_probabilities(shape: tuple[int, int, int]) -> None:
    seed, num_rows, vocab = shape
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, num_rows=num_rows, vocab=vocab)
    data = encode_rows(rows, vocab, rng.random((num_rows, 13)))
    back = decode_rows(np.frombuffer(data, np.uint8), num_rows, vocab)
    ids, probs = padded_entries(back)
    wanted_ids, wanted = padded_entries(rows)
    np.testing.assert_array_equal(ids, wanted_ids)
    np.testing.assert_allclose(probs.sum(1), 1.0, atol=1e-9)
    largest_step = 255 * SPAN_STEP / 255
    assert np.abs(probs - wanted).max() <= wanted.max() * np.expm1(2 * largest_step) + 1e-3
    np.testing.assert_allclose(back.entropy_R, rows.entropy_R, rtol=2**-10)


@settings(max_examples=50)
@given(ROWS, st.data())
def test_cut_blocks_never_pass(shape: tuple[int, int, int], data: st.DataObject) -> None:
    seed, num_rows, vocab = shape
    rng = np.random.default_rng(seed)
    block = encode_rows(random_rows(rng, num_rows=num_rows, vocab=vocab), vocab, rng.random((num_rows, 13)))
    cut = data.draw(st.integers(0, len(block) - 1))
    try:
        decode_rows(np.frombuffer(block[:cut], np.uint8), num_rows, vocab)
    except IntegrityError:
        return
    raise AssertionError("a cut block was read")
