from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.exam.contamination import shingles as passages
from spiritsafe.exam.contamination.shingles import SEPARATOR, WordHashes, gram_hashes, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What is 12 + 34?", ["What", "is", "12", "+", "34"]),
        ("Ann’s 1,234.5 apples, 3−2×4", ["Ann’s", "1,234.5", "apples", "3", "-", "2", "*", "4"]),
        ("“Quoted”, (bracketed)… #### 7.", ["Quoted", "bracketed", "7"]),
        ("x=-3;y_1", ["x", "=", "-", "3", "y", "1"]),
        ("算数 ab", ["算", "数", "ab"]),
        ("ﬁne ＋１", ["fine", "+", "1"]),
        ("", []),
    ],
)
def test_words_keep_numbers_and_signs_and_drop_punctuation(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def hashes(text: str, *, mask_names: bool = False) -> tuple[list[int], list[int]]:
    plain, masked = WordHashes(mask_names=mask_names)(words_of(text)).tolist()
    return plain, masked


def test_masking_hides_numbers_and_names_and_nothing_else() -> None:
    first, second = "Ann has 12 pears and 1,000 figs", "Ann has 7 pears and 3.5 figs"
    assert hashes(first)[0] != hashes(second)[0]
    assert hashes(first)[1] == hashes(second)[1]
    other_name = second.replace("Ann", "Bob")
    assert hashes(first)[1] != hashes(other_name)[1]
    assert hashes(first, mask_names=True)[1] == hashes(other_name, mask_names=True)[1]
    assert hashes(first)[1] != hashes(first.replace("pears", "nuts"))[1]
    assert hashes("USA I x", mask_names=True)[1] == hashes("usa i X")[1]  # neither abbreviations nor single letters


def test_case_and_commas_do_not_count() -> None:
    assert hashes("THE 1,234 apples!")[0] == hashes("the 1234 Apples")[0]
    assert hashes("1 + 2")[0] != hashes("1 - 2")[0]


def test_memory_stays_bounded_and_a_full_memory_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [str(number) for number in range(500)]
    wanted = WordHashes(mask_names=False)(words)
    monkeypatch.setattr(passages, "_CAPACITY", 64)
    small = WordHashes(mask_names=False)
    for _ in range(3):
        assert (small(words) == wanted).all()
        assert len(small._ids) <= 64


@given(st.lists(st.integers(0, 5), max_size=40), st.sets(st.integers(1, 15), max_size=4))
def test_runs_have_equal_hashes_exactly_when_their_words_are_equal(values: list[int], sizes: set[int]) -> None:
    words = WordHashes(mask_names=False)([f"w{value}" for value in values])[0]
    found = gram_hashes(words, sizes)
    assert set(found) == sizes
    names: dict[int, tuple[int, ...]] = {}
    for size, runs in found.items():
        expected = [tuple(values[at : at + size]) for at in range(len(values) - size + 1)]
        assert runs.size == len(expected)
        for run, value in zip(runs.tolist(), expected, strict=True):
            assert names.setdefault(run, value) == value
        assert len(set(runs.tolist())) == len(set(expected))


def test_the_separator_is_no_word() -> None:
    words = WordHashes(mask_names=True)([random.Random(at).randbytes(3).hex() for at in range(1000)])
    assert SEPARATOR not in words
    assert SEPARATOR not in WordHashes(mask_names=True)(["separator", "A", "1"])
    assert np.unique(words[0]).size == 1000
