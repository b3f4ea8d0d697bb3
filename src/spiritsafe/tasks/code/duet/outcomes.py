"""Which calls tell programs apart by what they give, as results are compared.

In: results as :func:`~spiritsafe.tasks.code.duet.behaviour.behaviours` has them whole. Out: values, and places of
calls.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from spiritsafe.tasks.code.duet.inside.alike import is_alike
from spiritsafe.tasks.code.duet.inside.values import decoded

_MOST_CHARACTERS = 2000
_NOT_PLAIN = ('["opaque"', '["iterator"', "NaN", "Infinity")


def plain_result(results: Sequence[str], place: int) -> tuple[Any, ...]:
    """What a program gave for a call, if others can be compared with it: in a tuple, which is empty where not."""
    if place >= len(results) or results[place].startswith("!") or len(results[place]) > _MOST_CHARACTERS:
        return ()
    if any(mark in results[place] for mark in _NOT_PLAIN):
        return ()
    return (decoded(json.loads(results[place])),)


def telling(gold: Sequence[str], other: Sequence[str], ignored: Sequence[str] = ()) -> frozenset[int]:
    """Places of the calls for which another program gives something else than the right one.

    Where it came to no end, that is the call that it ended in; what it would have done after is not known.

    Args:
        gold: Results of the right program.
        other: Those of the other.
        ignored: See :func:`~spiritsafe.tasks.code.duet.inside.alike.is_alike`.
    """
    places = []
    for place in range(min(len(gold), len(other) + 1)):
        wanted = plain_result(gold, place)
        if wanted and (place == len(other) or not _is_right(other[place], wanted[0], ignored)):
            places.append(place)
    return frozenset(places)


def _is_right(result: str, wanted: Any, ignored: Sequence[str]) -> bool:
    return not result.startswith("!") and is_alike(decoded(json.loads(result)), wanted, ignored)
