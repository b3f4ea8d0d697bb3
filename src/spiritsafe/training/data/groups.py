"""Micro-batches of completions that share their prompts: which groups go together, and to which process.

In: the documents of a step that a policy drew, G completions to a prompt. Out: micro-batches that compute a prompt once
for the completions beside it: P + G R tokens for a group instead of G (P + R). A micro-batch holds one group, and its
prefix is the whole prompt, or several, and its prefix is what their prompts have in common; whichever computes less.
The update is the same, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.models import Document, shared_prefix

_LEAST_SAVING = 0.05
"""Share of a micro-batch's tokens that sharing a prefix must save to be worth its extra attention call."""
_SHARE_OF_START = 16
"""Starting a micro-batch is reckoned as this part of ``micro_batch_tokens``: small ones use a machine badly."""


def paying_prefix(documents: Sequence[Document]) -> int:
    """Leading tokens that all documents share, 0 if sharing them would save too little."""
    total = sum(len(document.token_ids) for document in documents)
    return _if_it_pays(shared_prefix(documents), len(documents), total)


def _if_it_pays(prefix: int, num_documents: int, total: int) -> int:
    return prefix if prefix * (num_documents - 1) >= _LEAST_SAVING * total else 0


def _common(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return first[:length]
    return first[: next(place for place in range(length) if first[place] != second[place])]


@final
@dataclass(frozen=True, kw_only=True)
class _Unit:
    """Documents of one group that stay together.

    Attributes:
        places: Where they are in the step, the longest first.
        total: Their tokens.
        head: Leading tokens that they could share.
    """

    places: tuple[int, ...]
    total: int
    head: tuple[int, ...]

    @property
    def computed(self) -> int:
        """Tokens that a model computes for them alone."""
        count = len(self.places)
        return self.total - (count - 1) * _if_it_pays(len(self.head), count, self.total)

    def beside(self, other: _Unit) -> _Unit:
        """Both in one micro-batch."""
        return _Unit(
            places=self.places + other.places, total=self.total + other.total, head=_common(self.head, other.head)
        )


def split_groups(
    documents: Sequence[Document], places: Sequence[int], *, micro_batch_tokens: int
) -> list[tuple[int, ...]]:
    """Split documents of groups into micro-batches, the largest first.

    Groups whose prompts begin alike stand next to each other; of all ways to cut this line the cheapest is taken.

    Args:
        documents: All of a step; each has ``drawn``.
        places: Which of them to split.
        micro_batch_tokens: Most tokens a micro-batch may compute; a single document may have more.

    Returns:
        Places of each micro-batch.
    """
    groups = _groups(documents, places)
    units = [unit for group in groups for unit in _cut_group(documents, group, micro_batch_tokens)]
    units.sort(key=lambda unit: (unit.head, unit.places))
    start = micro_batch_tokens // _SHARE_OF_START
    # costs[n] is the least cost of the first n units, last[n] the last micro-batch then
    costs, last = [0], [0]
    batches: list[_Unit] = []
    for stop in range(1, len(units) + 1):
        batch = units[stop - 1]
        cost, begin, kept = costs[stop - 1] + batch.computed + start, stop - 1, batch
        for earlier in range(stop - 2, -1, -1):
            batch = units[earlier].beside(batch)
            if batch.computed > micro_batch_tokens:
                break
            if costs[earlier] + batch.computed + start < cost:
                cost, begin, kept = costs[earlier] + batch.computed + start, earlier, batch
        costs.append(cost)
        last.append(begin)
        batches.append(kept)
    chosen = []
    stop = len(units)
    while stop:
        chosen.append(batches[stop - 1])
        stop = last[stop]
    chosen.sort(key=lambda batch: (-batch.computed, batch.places))
    return [batch.places for batch in chosen]


def share_groups(documents: Sequence[Document], num_processes: int) -> list[tuple[int, ...]]:
    """Deal a step's groups out to processes so that what they compute is even.

    A group that alone is more than a fair share is dealt out in pieces.

    Returns:
        For each process its documents' places, ascending; empty when there are fewer documents than processes.
    """
    wholes = [_unit(documents, group) for group in _groups(documents, range(len(documents)))]
    total = sum(unit.computed for unit in wholes)
    units = [
        _unit(documents, piece)
        for whole in wholes
        for piece in _pieces(whole.places, -(-whole.computed * num_processes // total))
    ]
    shares: list[list[int]] = [[] for _ in range(num_processes)]
    loads = [0] * num_processes
    for unit in sorted(units, key=lambda unit: (-unit.computed, unit.places)):
        least = loads.index(min(loads))
        shares[least].extend(unit.places)
        loads[least] += unit.computed
    return [tuple(sorted(share)) for share in shares]


def _groups(documents: Sequence[Document], places: Sequence[int]) -> list[list[int]]:
    """Places of each group, the longest document first."""
    groups: dict[int, list[int]] = {}
    for place in places:
        drawn = documents[place].drawn
        if drawn is None:
            raise ValueError(f"document {place} was not drawn by a policy; the others were")
        groups.setdefault(drawn.group, []).append(place)
    for group in groups.values():
        group.sort(key=lambda place: (-len(documents[place].token_ids), place))
    return list(groups.values())


def _unit(documents: Sequence[Document], places: Sequence[int]) -> _Unit:
    first, *others = (documents[place] for place in places)
    # a document beside itself: what it could share with others
    length = shared_prefix([first, *others] if others else [first, first])
    return _Unit(
        places=tuple(places),
        total=sum(len(documents[place].token_ids) for place in places),
        head=first.token_ids[:length],
    )


def _pieces(group: Sequence[int], count: int) -> list[Sequence[int]]:
    """A group, sorted by length, dealt out into so many pieces of about equal length."""
    count = min(count, len(group))
    return [group[piece::count] for piece in range(count)]


def _cut_group(documents: Sequence[Document], group: Sequence[int], micro_batch_tokens: int) -> list[_Unit]:
    """A group as one unit, or as the fewest even pieces that fit a micro-batch."""
    for count in range(1, len(group)):
        units = [_unit(documents, piece) for piece in _pieces(group, count)]
        if all(unit.computed <= micro_batch_tokens for unit in units):
            return units
    return [_unit(documents, [place]) for place in group]
