"""Python's cyclic garbage collector, called less often while many records are made that stay.

In: nothing. Out: a context in which the collector runs after :data:`MOST_NEW` new objects instead of 700. Each run goes
through all young objects; where thousands of problems and outcomes are made and none is dropped, those runs take time
and find nothing.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST_NEW = 50_000
"""Objects that may be made between two runs: what a cycle could hold until then is some megabytes."""

_lock = threading.Lock()
_inside = 0  # contexts that are open, in all threads: the collector is one for the whole process
_before = gc.get_threshold()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Run the collector rarely inside, as before outside; contexts may be nested, and open in several threads.

    A collector that is off, or set to run more rarely still, is left as it is.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = gc.get_threshold()
            if 0 < _before[0] < MOST_NEW:
                gc.set_threshold(MOST_NEW, *_before[1:])
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                gc.set_threshold(*_before)
