from __future__ import annotations

import errno

import pytest

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.process.out_of_memory import is_out_of_memory, memory_error, said_as_budget

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "23068672 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1 GiB is free."


class OutOfMemoryError(RuntimeError):
    """As torch's is."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(CPU), "a further 23 MB could not be had"),
        (OutOfMemoryError(CUDA), "a further 2,684 MB could not be had"),
        (RuntimeError("std::bad_alloc"), "Memory ran out."),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "Memory ran out."),
        (MemoryError(), "Memory ran out."),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Memory ran out."),
    ],
)
def test_what_allocators_say_becomes_a_budget_error(error: Exception, said: str) -> None:
    assert is_out_of_memory(error)
    found = memory_error(error)
    assert isinstance(found, BudgetError)
    assert said in str(found)
    for way in ("micro_batch_tokens", "lora", "max_context", "shorter"):
        assert way in found.hint


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes cannot be multiplied"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        BudgetError("Training takes at least 3 GB.", hint="Free some memory."),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as raised, said_as_budget():
        raise error
    assert raised.value is error


def test_the_cause_is_kept() -> None:
    with pytest.raises(BudgetError, match="Memory ran out") as raised, said_as_budget("Do less."):
        raise RuntimeError(CPU)
    assert raised.value.hint == "Do less."
    assert isinstance(raised.value.__cause__, RuntimeError)
