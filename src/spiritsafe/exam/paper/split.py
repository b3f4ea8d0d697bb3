"""Places of a bank: which are public, which are sealed, which are twins, and in which order they are asked.

In: a paper's header. Out: places. All of it follows from the header and the bank's root alone, so nobody chooses it and
everybody can recompute it. A bank is its strata one after the other, then the twins, in the order of their originals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from spiritsafe.exam.records.paper import PaperHeader, Stratum
from spiritsafe.exam.records.result import Half
from spiritsafe.stats import BettingRule, StopRule


@lru_cache(maxsize=256)
def _ranked(kind: str, bank_root: str, start: int, end: int) -> tuple[int, ...]:
    """Places from ``start`` to ``end`` by their hash with the bank's root: an order that nobody chose."""

    def rank(place: int) -> bytes:
        return hashlib.sha256(f"{kind}/{bank_root}/{place}".encode()).digest()

    return tuple(sorted(range(start, end), key=rank))


def public_indices(bank_root: str, num_problems: int, num_public: int) -> tuple[int, ...]:
    """The public half's places in a bank without strata: those whose hash with the root is smallest, ascending."""
    return tuple(sorted(_ranked("split", bank_root, 0, num_problems)[:num_public]))


def public_sizes(sizes: Sequence[int]) -> list[int]:
    """How many problems of each stratum become public: half of each, odd ones taking turns, half of all in sum."""
    totals, total = [0], 0
    for size in sizes:
        total += size
        totals.append(total)
    return [totals[k + 1] // 2 - totals[k] // 2 for k in range(len(sizes))]


def stratum_ranges(header: PaperHeader) -> list[tuple[Stratum, range]]:
    """Each stratum with its places."""
    ranges, start = [], 0
    for stratum in header.strata:
        ranges.append((stratum, range(start, start + stratum.num_problems)))
        start += stratum.num_problems
    return ranges


def public_places(header: PaperHeader) -> tuple[int, ...]:
    """The public half's places, ascending; each stratum is cut by itself."""
    if not header.strata:
        return public_indices(header.bank_root, header.num_problems, header.num_public)
    chosen: list[int] = []
    for stratum, places in stratum_ranges(header):
        chosen += _ranked("split", header.bank_root, places.start, places.stop)[: stratum.num_public]
    return tuple(sorted(chosen))


def num_places(header: PaperHeader) -> int:
    """Places of the bank, twins included."""
    return header.num_problems + header.num_twins


def halves(header: PaperHeader) -> tuple[Half, ...]:
    """What each place is."""
    public = set(public_places(header))
    kinds: list[Half] = ["public" if place in public else "sealed" for place in range(header.num_problems)]
    kinds += ["twin"] * header.num_twins
    return tuple(kinds)


def look_ends(header: PaperHeader, stop: StopRule | BettingRule) -> tuple[int, ...]:
    """After how many problems (twins not counted) the rule looks; the last is the whole paper."""
    return tuple(sealed + public for sealed, public in _parts(header, stop))


def _parts(header: PaperHeader, stop: StopRule | BettingRule) -> list[tuple[int, int]]:
    """Sealed and public problems asked by each look: the public ones in step with the sealed."""
    return [
        (sealed, round(header.num_public * look / stop.num_looks)) for look, sealed in enumerate(stop.looks, start=1)
    ]


def asking_order(header: PaperHeader, stop: StopRule | BettingRule | None = None) -> tuple[int, ...]:
    """The problems in the order in which they are asked, a twin right behind its original.

    Without a rule the order does not look at the halves. With one, each part up to a look holds its share of both, each
    half in its own random order. Either way the part that was asked by a registered look is itself a bank that was cut
    at random, so the public-sealed test stays exact there.
    """
    order = _ranked("order", header.bank_root, 0, header.num_problems)
    if stop is not None:
        public = set(public_places(header))
        mine = {True: [place for place in order if place in public], False: [p for p in order if p not in public]}
        parts: list[int] = []
        sealed = opened = 0
        for to_sealed, to_public in _parts(header, stop):
            part = {*mine[False][sealed:to_sealed], *mine[True][opened:to_public]}
            parts += [place for place in order if place in part]
            sealed, opened = to_sealed, to_public
        order = tuple(parts)
    if not header.num_twins:
        return order
    return tuple(place for own in order for place in (own, own + header.num_problems))
