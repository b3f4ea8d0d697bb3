"""Which of several choices nobody should take: another one costs no more and is worth no less.

In: what each costs and is worth. Out: for each, one that dominates it.
"""

from __future__ import annotations

from collections.abc import Sequence


def dominating(choices: Sequence[tuple[float, float]]) -> list[int | None]:
    """The place of a choice that dominates each one; None where none does.

    One dominates another that costs no less and is worth no more, and differs from it in one of these. Of several the
    cheapest is named, then the one that is worth most.

    Args:
        choices: Cost (bytes) and worth (a score) of each.
    """
    order = sorted(range(len(choices)), key=lambda place: (choices[place][0], -choices[place][1], place))
    return [
        next((other for other in order if choices[other] != choices[place] and _covers(choices[other], choice)), None)
        for place, choice in enumerate(choices)
    ]


def _covers(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] >= other[1]
