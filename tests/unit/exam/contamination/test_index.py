from __future__ import annotations

import random

import numpy as np
import pytest

from spiritsafe.exam.contamination.index import FoundRun, ProblemIndex
from spiritsafe.exam.contamination.shingles import SEPARATOR, Hashes, WordHashes

HASH = WordHashes(mask_names=False)


def hashed(words: list[str]) -> Hashes:
    return HASH(words)[0].copy()


def block_of(texts: list[list[str]]) -> tuple[Hashes, dict[int, int]]:
    parts, lengths, size = [], {}, 0
    for text in texts:
        lengths[size] = len(text)
        parts += [hashed(text), np.array([SEPARATOR])]
        size += len(text) + 1
    return np.concatenate(parts), lengths


def search(
    problems: list[list[str]], texts: list[list[str]], *, ngram: int = 5, shingle: int = 3, near: float = 0.6
) -> list[FoundRun]:
    index = ProblemIndex([hashed(words) for words in problems], ngram=ngram, shingle=shingle, near=near)
    index.scan(*block_of(texts))
    return index.take()


def runs(words: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


def by_force(problem: list[str], texts: list[list[str]], ngram: int, shingle: int, near: float) -> FoundRun:
    """The definitions, word by word; separators are words that differ from all others."""
    if not problem:
        return FoundRun()
    size, k = len(problem), min(shingle, len(problem))
    stream: list[str] = []
    for text in texts:
        stream += [*text, "\0"]
    n = min(ngram, size)
    there = set(runs(stream, n))
    own = set(runs(problem, n))
    mine = set(runs(problem, k))
    best = 0.0
    shingles = runs(stream, k)
    width = size - k + 1
    for start in range(len(shingles)):
        stretch = set(shingles[start : start + width])
        best = max(best, len(stretch & mine) / len(stretch | mine))
    return FoundRun(
        verbatim=tuple(problem) in runs(stream, size),
        whole=problem in texts,
        ngrams=len(own & there) / len(own),
        near=best if best >= near else 0.0,
    )


@pytest.mark.parametrize("seed", range(30))
def test_as_by_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(rng.choice([3, 8, 40]))]

    def words(longest: int) -> list[str]:
        return [rng.choice(vocabulary) for _ in range(rng.randint(1, longest))]

    problems = [words(14) for _ in range(12)]
    texts = [words(20) for _ in range(10)]
    for problem in problems[:6]:  # planted: whole, inside, with one word changed, with two dropped
        texts.append(list(problem))
        texts.append([*words(4), *problem, *words(4)])
        changed = list(problem)
        changed[rng.randrange(len(changed))] = rng.choice(vocabulary)
        texts.append(changed)
        texts.append([*words(3), *problem[1:-1], *words(3)])
    rng.shuffle(texts)
    ngram, near = rng.choice([2, 4, 13]), rng.choice([0.4, 0.6, 0.9])
    found = search(problems, texts[:25], ngram=ngram, near=near)
    for problem, mine in zip(problems, found, strict=True):
        expected = by_force(problem, texts[:25], ngram, 3, near)
        assert (mine.verbatim, mine.whole) == (expected.verbatim, expected.whole)
        assert mine.ngrams == pytest.approx(expected.ngrams)
        assert mine.near == pytest.approx(expected.near)
        assert bool(mine.passage) == (mine.near > 0)


def test_a_problem_of_few_words_is_one_run() -> None:
    (found,) = search([["12", "+", "34"]], [["5", "+", "12", "+", "34"]], ngram=13)
    assert found.verbatim
    assert not found.whole
    assert found.ngrams == 1.0
    (found,) = search([["12", "+", "34"]], [["12", "+", "35"]], ngram=13)
    assert (found.verbatim, found.ngrams, found.near) == (False, 0.0, 0.0)


def test_equal_problems_are_found_alike_and_empty_ones_never() -> None:
    same = ["a", "b", "c", "d"]
    first, empty, second = search([same, [], same], [["x", *same]])
    assert first == second
    assert first.verbatim
    assert empty == FoundRun()


def test_each_take_starts_afresh() -> None:
    index = ProblemIndex([hashed(["a", "b", "c"])], ngram=5, shingle=3, near=0.6)
    index.scan(*block_of([["a", "b", "c"]]))
    assert index.take()[0].whole
    index.scan(*block_of([["b", "c"]]))
    assert index.take()[0] == FoundRun()
    assert ProblemIndex([], ngram=5, shingle=3, near=0.6).longest == 0


def test_many_stretches_are_forgotten_without_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.exam.contamination.index._MEMORY", 2)
    rng = random.Random(0)
    problem = [f"w{number}" for number in range(10)]
    texts = [[rng.choice(problem) for _ in range(12)] for _ in range(40)]
    (found,) = search([problem], texts, near=0.3)
    assert found.near == pytest.approx(by_force(problem, texts, 5, 3, 0.3).near)
