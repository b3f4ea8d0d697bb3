"""Inputs for the functions of templates: edge cases first, then random ones that come near the numbers that matter.

In: what each parameter may be, a stream of random numbers, a count. Out: tuples of arguments, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from typing import final

from spiritsafe.tasks.code.languages.signature import CodeValue

Arguments = tuple[CodeValue, ...]
_PATIENCE = 200


@final
@dataclass(frozen=True, slots=True)
class Supply:
    """Values of one parameter.

    Attributes:
        edges: Those that every test should try.
        draw: A random one.
    """

    edges: tuple[CodeValue, ...]
    draw: Callable[[Random], CodeValue]


def whole(low: int, high: int, *near: int) -> Supply:
    """Integers from ``low`` to ``high``; many are one of ``near``, or next to one."""
    close = [n + step for n in near for step in (0, -1, 1)]
    edges = tuple(dict.fromkeys(n for n in [*close, 0, 1, -1, 2, low, high] if low <= n <= high))
    small = (max(low, -12), min(high, 12)) if low <= 12 and high >= -12 else (low, high)

    def draw(rng: Random) -> int:
        choice = rng.random()
        if choice < 0.35:
            return rng.choice(edges)
        return rng.randint(*small) if choice < 0.55 else rng.randint(low, high)

    return Supply(edges, draw)


def rows(item: Supply, least: int = 0, most: int = 10) -> Supply:
    """Lists of ``least`` to ``most`` integers; some have few different ones, some runs, some are in order."""
    numbers = [n for n in item.edges if isinstance(n, int)]
    few = (numbers * most)[: max(least, min(6, most))]
    singles = [[n] for n in numbers[:9]]
    candidates = [[], singles[0] * 2, sorted(few), few, sorted(few, reverse=True), *singles, [numbers[-1]] * 3]
    edges = tuple(candidate for candidate in candidates if least <= len(candidate) <= most)

    def draw(rng: Random) -> list[int]:
        length = rng.randint(least, most)
        pool = [item.draw(rng) for _ in range(length)]
        style = rng.random()
        if style < 0.25 and pool:
            pool = [rng.choice(pool[:3]) for _ in range(length)]
        elif style > 0.75:
            pool = [n for n in pool for _ in range(rng.randint(1, 6))][:length]
        result = [int(n) for n in pool]  # type: ignore[arg-type]  # they are integers
        return sorted(result, reverse=rng.random() < 0.5) if 0.25 <= style < 0.4 else result

    return Supply(edges, draw)


def text(alphabet: str, least: int = 0, most: int = 14, pieces: Sequence[str] = ()) -> Supply:
    """Texts of the characters of ``alphabet``, some of few different ones, some put together from ``pieces``."""
    candidates = ["", alphabet[0], alphabet[-1], alphabet[0] * 3, alphabet[:most], *pieces]
    edges = tuple(dict.fromkeys(candidate for candidate in candidates if least <= len(candidate) <= most))

    def draw(rng: Random) -> str:
        length = rng.randint(least, most)
        style = rng.random()
        if pieces and style < 0.5:
            joined = ""
            while len(joined) < length:
                joined += rng.choice(pieces) if rng.random() < 0.75 else rng.choice(alphabet)
            return joined[:most]
        pool = rng.sample(alphabet, min(len(alphabet), 3)) if style > 0.75 else alphabet
        return "".join(rng.choice(pool) for _ in range(length))

    return Supply(edges, draw)


def truth() -> Supply:
    """True or false."""
    return Supply((True, False), lambda rng: rng.random() < 0.5)


def mixed(
    supplies: Sequence[Supply], rng: Random, count: int, fit: Callable[..., Arguments] | None = None
) -> list[Arguments]:
    """``count`` tuples of arguments, or as many different ones as there are; ``fit`` makes a tuple's parts agree."""
    found: dict[str, Arguments] = {}
    misses = 0
    for candidate in _candidates(supplies, rng, 2 * count // 3):
        arguments = fit(*candidate) if fit else candidate
        misses = misses + 1 if repr(arguments) in found else 0
        found[repr(arguments)] = arguments
        if len(found) == count or misses > _PATIENCE:
            break
    return list(found.values())


def _candidates(supplies: Sequence[Supply], rng: Random, num_edges: int) -> Iterator[Arguments]:
    """Each edge of each parameter beside random other arguments, as many as fit, then random tuples without end."""
    turns = zip_longest(*([(i, edge) for edge in supply.edges] for i, supply in enumerate(supplies)))
    edges = [place for turn in turns for place in turn if place is not None]
    for index, edge in edges[:num_edges]:
        drawn = [supply.draw(rng) for supply in supplies]
        drawn[index] = edge
        yield tuple(drawn)
    while True:
        yield tuple(supply.draw(rng) for supply in supplies)
