"""A sequence made of another one an item at a time: nothing is held, each item is made whenever it is asked for.

In: a sequence and a function. Out: a sequence of the same length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, final, overload

S = TypeVar("S")
T = TypeVar("T")


@final
class MappedSequence(Sequence[T], Generic[S, T]):
    """The items of a sequence, changed.

    Args:
        items: What they are made of.
        change: Given an item's place and the item; the same for the same, however often it is asked.
    """

    def __init__(self, items: Sequence[S], change: Callable[[int, S], T]) -> None:
        self._items = items
        self._change = change

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        return self._change(place, self._items[place])
