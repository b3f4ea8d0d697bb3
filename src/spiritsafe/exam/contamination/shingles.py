"""Text as words, and words as numbers that can be compared by the billion.

In: any text. Out: its words (letters, numbers, signs of arithmetic; no other punctuation, no case), each as a 64-bit
hash, twice: as it is, and masked, where every number is the same word (and, if wanted, every capitalised one). Two
problems that differ in their numbers alone have the same masked words. A run of words has a hash that follows from
the hashes of its words.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "÷": "/"})
_ONE_BY_ONE = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts without spaces: each character is a word
_WORD = re.compile(
    r"\d+(?:,\d{3})*(?:\.\d+)?"
    rf"|[{_ONE_BY_ONE}]"
    rf"|[^\W\d_{_ONE_BY_ONE}]+(?:['’][^\W\d_{_ONE_BY_ONE}]+)*"
    r"|[-+*/^=<>%]"
)
_NUMBER, _NAME = "\0number", "\0name"
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_CAPACITY = 1 << 20  # different words whose hashes are kept: 16 MiB, and about 100 MiB for the words


def words_of(text: str) -> list[str]:
    """The words of a text, in order, with their capitals."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).translate(_SIGNS))


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


SEPARATOR = np.uint64(_hash("\0separator"))
"""A word that stands in no text: it keeps runs of words from reaching from one text into the next."""


@final
class WordHashes:
    """Words to hashes, two rows: plain and masked. The memory it takes is bounded, however long it is used.

    Args:
        mask_names: Mask words with a capital first letter too, as names.
    """

    def __init__(self, *, mask_names: bool) -> None:
        self._mask_names = mask_names
        self._ids: dict[str, int] = {}
        self._table = np.zeros((2, _CAPACITY), dtype=np.uint64)

    def _masked(self, word: str) -> str:
        if word[0].isdigit():
            return _NUMBER
        if self._mask_names and len(word) > 1 and word[0].isupper() and word[1:].islower():
            return _NAME
        return word.casefold()

    def _learn(self, word: str) -> int:
        new = len(self._ids)
        plain = word.replace(",", "") if word[0].isdigit() else word.casefold()
        self._table[:, new] = (_hash(plain), _hash(self._masked(word)))
        self._ids[word] = new
        return new

    def __call__(self, words: Sequence[str]) -> Hashes:
        """Hashes of the words, shape (2, words)."""
        parts = [self._some(words[at : at + _CAPACITY]) for at in range(0, len(words), _CAPACITY)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((2, 0), dtype=np.uint64)

    def _some(self, words: Sequence[str]) -> Hashes:
        if len(self._ids) + len(words) > _CAPACITY:
            self._ids.clear()
        known = self._ids.get
        ids = [self._learn(word) if (found := known(word)) is None else found for word in words]
        return self._table[:, ids]


def gram_hashes(words: Hashes, sizes: Collection[int]) -> dict[int, Hashes]:
    """Hash of each run of ``n`` words, for each size ``n``: a polynomial in the words' hashes, modulo 2**64."""
    found: dict[int, Hashes] = {}
    run = np.zeros(words.size, dtype=np.uint64)
    for size in range(1, max(sizes, default=0) + 1):
        if size > words.size:
            run = np.zeros(0, dtype=np.uint64)
        else:
            run = run[: words.size - size + 1] * _FACTOR + words[size - 1 :]
        if size in sizes:
            found[size] = run
    return found
