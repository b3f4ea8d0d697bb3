"""Whether a result is as it should be: equal, where floats need only nearly be so.

In: two plain values. Out: whether they are alike. What a comparison leaves out is said by name.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from spiritsafe.tasks.code.duet.inside.values import Opaque

_CLOSE = 1e-6
"""How far two numbers may be apart of which one is a float, in shares of the larger or as such."""
LEFT_OUT = ("kind", "order", "truth")
"""What a comparison may leave out: whether things are a list or a tuple, how they are ordered, and all of a value but
whether it counts as true."""


def is_alike(found: Any, wanted: Any, ignored: Collection[str] = ()) -> bool:
    """Whether two values are equal, floats nearly so, inside of others too.

    Args:
        found: A value that nobody vouches for.
        wanted: What it should be.
        ignored: Those of :data:`LEFT_OUT` that do not count.
    """
    if "truth" in ignored and isinstance(wanted, bool):
        return not isinstance(found, Opaque) and bool(found) is wanted
    if isinstance(wanted, float) or (isinstance(found, float) and isinstance(wanted, int)):
        return isinstance(found, int | float) and math.isclose(found, wanted, rel_tol=_CLOSE, abs_tol=_CLOSE)
    if isinstance(wanted, list | tuple):
        if not isinstance(found, list | tuple if "kind" in ignored else type(wanted)) or len(found) != len(wanted):
            return False
        if "order" in ignored:
            found, wanted = sorted(found, key=repr), sorted(wanted, key=repr)
        return all(is_alike(each, other, ignored) for each, other in zip(found, wanted, strict=True))
    if isinstance(wanted, dict):
        same_keys = isinstance(found, dict) and found.keys() == wanted.keys()
        return same_keys and all(is_alike(found[key], each, ignored) for key, each in wanted.items())
    return bool(found == wanted)
