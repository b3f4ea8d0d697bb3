"""Out of memory, said so: what the allocators of Python, torch and CUDA raise becomes a :class:`BudgetError`.

In: an exception. Out: whether memory was what was missing, and the error that a user reads. Known by the words that
allocators use, so that nothing heavy is imported here.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from spiritsafe.core.errors import BudgetError, SpiritsafeError

LESS_MEMORY = (
    "End other programs or take a larger machine; or lower micro_batch_tokens (the updates stay the same), train "
    "adapters (lora) instead of all weights, lower max_batch or max_context of the engine, or use shorter documents."
)
"""What helps, whatever ran."""

_WORDS = re.compile(
    r"can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc|ALLOC_FAILED",
    re.IGNORECASE,
)
_ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|[KMG]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed. Errors of our own tree say themselves what they are."""
    if isinstance(error, SpiritsafeError):
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    # torch.OutOfMemoryError is a RuntimeError; a CPU's allocator raises a plain one
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


def memory_error(error: BaseException, *, hint: str = LESS_MEMORY) -> BudgetError:
    """The same as an error of ours: how much was asked for, and what to do."""
    asked = _ASKED.search(str(error))
    said = ""
    if asked is not None:
        said = f": a further {float(asked[1]) * _UNITS[asked[2].lower()] / 1e6:,.0f} MB could not be had"
    return BudgetError(f"Memory ran out{said}.", hint=hint)


@contextmanager
def said_as_budget(hint: str = LESS_MEMORY) -> Iterator[None]:
    """Whatever runs inside and finds no memory ends in a :class:`BudgetError`.

    Raises:
        BudgetError: An allocation failed.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise memory_error(error, hint=hint) from error
