"""Finding problems in running text: word for word, in long runs of words, and nearly.

In: the problems' words as hashes (:mod:`spiritsafe.exam.contamination.shingles`), then block after block of other text.
Out: for each problem how much of it was found. Only the problems' own runs of words are kept, so a text may be as long
as it likes.

- *verbatim*: all words of the problem stand there in a row.
- *n-grams*: the share of the problem's runs of ``ngram`` words that stand there anywhere. A problem with fewer words
  has one run: all of it.
- *near*: the largest Jaccard similarity of the sets of runs of ``shingle`` words between the problem and any stretch of
  as many words. Stretches that cannot reach ``near`` are not looked at, and none that can is missed: each of them
  holds one of the problem's rarest runs (the prefix filter of Chaudhuri, Ganti & Kaushik 2006).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from spiritsafe.exam.contamination.shingles import Hashes, gram_hashes

_BITS = 22
_MEMORY = 100_000  # stretches remembered as looked at


@final
@dataclass(frozen=True, slots=True)
class FoundRun:
    """How much of one problem was found.

    Attributes:
        verbatim: All of it, in a row.
        whole: And nothing else in that message or field.
        ngrams: Share of its runs of words.
        near: Similarity of the likest stretch; 0 below the limit that was asked for.
        passage: The likest stretch, as hashes of its runs of words.
    """

    verbatim: bool = False
    whole: bool = False
    ngrams: float = 0.0
    near: float = 0.0
    passage: bytes = b""


@final
class _Grams:
    """A set of hashes that long arrays can be looked up in; a bitmap first, because nearly all are not in it."""

    def __init__(self, keys: Hashes) -> None:
        self.keys = np.unique(keys)
        self._shift = np.uint64(64 - _BITS)
        self._bits = np.zeros(1 << _BITS, dtype=np.bool_)
        self._bits[(self.keys >> self._shift).astype(np.int64)] = True

    def find(self, hashes: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions of those that are in the set, and which they are."""
        maybe = np.flatnonzero(self._bits[(hashes >> self._shift).astype(np.int64)])
        at = np.minimum(np.searchsorted(self.keys, hashes[maybe]), self.keys.size - 1)
        good = self.keys[at] == hashes[maybe]
        return maybe[good], at[good]

    def ids(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Which they are, of hashes that are all in the set."""
        return np.searchsorted(self.keys, hashes).astype(np.int64)


@final
class _Text:
    """One problem's words; problems with the same words share it."""

    def __init__(self, words: Hashes, *, ngram: int, shingle: int, near: float) -> None:
        self.words = words
        self.size = int(words.size)
        self.ngram, self.shingle = min(ngram, self.size), min(shingle, self.size)
        hashes = gram_hashes(words, {self.ngram, self.shingle})
        self.grams, self.shingles = np.unique(hashes[self.ngram]), np.unique(hashes[self.shingle])
        self.first = hashes[self.ngram][:1]
        self.shingle_set = frozenset(self.shingles.tolist())
        # a stretch of similarity `near` has at least near × |shingles| of them, so it misses at most the others
        self.num_prefix = self.shingles.size - math.ceil(near * self.shingles.size - 1e-9) + 1


@final
class ProblemIndex:
    """The problems that are looked for, in one form (plain or masked).

    Args:
        problems: Each problem's words; one without words is never found.
        ngram: Words in a run.
        shingle: Words in a run, for similarity.
        near: Least similarity of a near copy, above 0.
    """

    def __init__(self, problems: Sequence[Hashes], *, ngram: int, shingle: int, near: float) -> None:
        numbers: dict[bytes, int] = {}
        self._text_of = [numbers.setdefault(words.tobytes(), len(numbers)) if words.size else -1 for words in problems]
        self._texts = [
            _Text(np.frombuffer(words, dtype=np.uint64), ngram=ngram, shingle=shingle, near=near)
            for words in numbers
            if words
        ]
        self._near = near
        self._index_grams()
        self._index_shingles()
        self.longest = max((text.size for text in self._texts), default=0)
        self._reset()

    def _index_grams(self) -> None:
        """Runs of words by length, and which texts begin with which."""
        by_size: dict[int, list[int]] = {}
        for number, text in enumerate(self._texts):
            by_size.setdefault(text.ngram, []).append(number)
        self._grams = {
            size: _Grams(np.concatenate([self._texts[number].grams for number in numbers]))
            for size, numbers in by_size.items()
        }
        self._beginning: dict[int, dict[int, list[int]]] = {size: {} for size in by_size}
        for size, numbers in by_size.items():
            for number in numbers:
                first = int(self._grams[size].ids(self._texts[number].first)[0])
                self._beginning[size].setdefault(first, []).append(number)

    def _index_shingles(self) -> None:
        """Each text's rarest shingles, by length."""
        counts = Counter(shingle for text in self._texts for shingle in text.shingle_set)
        self._prefix: dict[int, _Grams] = {}
        self._prefixed: dict[int, dict[int, list[int]]] = {}
        rarest: dict[int, dict[int, list[int]]] = {}
        for number, text in enumerate(self._texts):
            for shingle in sorted(text.shingle_set, key=lambda s: (counts[s], s))[: text.num_prefix]:
                rarest.setdefault(text.shingle, {}).setdefault(shingle, []).append(number)
        for size, texts in rarest.items():
            grams = _Grams(np.array(list(texts), dtype=np.uint64))
            self._prefix[size] = grams
            self._prefixed[size] = {at: texts[int(key)] for at, key in enumerate(grams.keys.tolist())}

    def _reset(self) -> None:
        count = len(self._texts)
        self._verbatim, self._whole = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
        self._likeness, self._likest = np.zeros(count), [b""] * count
        self._seen = {size: np.zeros(grams.keys.size, dtype=np.bool_) for size, grams in self._grams.items()}
        self._looked: set[int] = set()

    def scan(self, words: Hashes, lengths: dict[int, int]) -> None:
        """Look through a block of text.

        Args:
            words: The block's words. Texts that do not belong together have a separator between them.
            lengths: Where messages and fields begin that are whole in this block, and their lengths.
        """
        hashes = gram_hashes(words, {*self._grams, *self._prefix})
        for size, grams in self._grams.items():
            positions, ids = grams.find(hashes[size])
            self._seen[size][ids] = True
            beginning = self._beginning[size]
            begins = np.isin(ids, np.fromiter(beginning, dtype=np.int64, count=len(beginning)))
            for position, gram in zip(positions[begins].tolist(), ids[begins].tolist(), strict=True):
                for number in beginning[gram]:
                    self._try_verbatim(number, words, position, lengths)
        for size, grams in self._prefix.items():
            positions, ids = grams.find(hashes[size])
            for position, gram in zip(positions.tolist(), ids.tolist(), strict=True):
                for number in self._prefixed[size][gram]:
                    if self._likeness[number] < 1.0:
                        self._try_near(number, hashes[size], position)

    def _try_verbatim(self, number: int, words: Hashes, position: int, lengths: dict[int, int]) -> None:
        text = self._texts[number]
        if self._whole[number] or not np.array_equal(words[position : position + text.size], text.words):
            return
        self._verbatim[number] = True
        self._whole[number] = lengths.get(position) == text.size

    def _try_near(self, number: int, shingles: Hashes, position: int) -> None:
        """All stretches as long as the text that hold the shingle at ``position``."""
        text = self._texts[number]
        width = text.size - text.shingle + 1
        around = shingles[max(0, position - width + 1) : position + width]
        key = hash((number, around.tobytes()))
        if key in self._looked:
            return
        if len(self._looked) >= _MEMORY:
            self._looked.clear()
        self._looked.add(key)
        values = around.tolist()
        # No stretch of them is likelier than their common shingles allow: a union holds all of the text's own.
        bound = len(text.shingle_set.intersection(values)) / len(text.shingle_set)
        if bound < self._near or bound <= self._likeness[number]:
            return
        for start in range(max(1, len(values) - width + 1)):
            stretch = set(values[start : start + width])
            common = len(stretch & text.shingle_set)
            likeness = common / (len(stretch) + len(text.shingle_set) - common)
            if likeness >= self._near and likeness > self._likeness[number]:
                self._likeness[number] = likeness
                self._likest[number] = around[start : start + width].tobytes()

    def take(self) -> list[FoundRun]:
        """What was found of each problem since the last call."""
        found = [
            FoundRun(
                verbatim=bool(self._verbatim[number]),
                whole=bool(self._whole[number]),
                ngrams=float(self._seen[text.ngram][self._grams[text.ngram].ids(text.grams)].mean()),
                near=float(self._likeness[number]),
                passage=self._likest[number],
            )
            for number, text in enumerate(self._texts)
        ]
        self._reset()
        return [found[number] if number >= 0 else FoundRun() for number in self._text_of]
