"""The fewest tests that notice what all of them notice.

In: of each test, which faults it notices. Out: tests of which each notices one that no other of them does.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set
from typing import TypeVar

_Test = TypeVar("_Test", bound=Hashable)


def least_cover(killed: Mapping[_Test, Set[int]]) -> list[_Test]:
    """Tests that together kill what all kill, in their order; each kills a mutant that no other of them kills.

    The one that kills most of what is left is chosen first (Chvátal, 1979), of equals the earlier one; a later choice
    can make an earlier one needless, which is then taken out.
    """
    left = set().union(*killed.values())
    chosen: list[_Test] = []
    while left:
        best = max(killed, key=lambda test: len(killed[test] & left))
        chosen.append(best)
        left -= killed[best]
    for test in list(chosen):
        others = set().union(*(killed[other] for other in chosen if other != test))
        if killed[test] <= others:
            chosen.remove(test)
    return [test for test in killed if test in chosen]
