from __future__ import annotations

import mmap
import sys

import pytest
import torch

from spiritsafe.core.process.free_memory import resident_bytes
from spiritsafe.pipeline.plan import peak_memory
from spiritsafe.pipeline.plan.peak_memory import available_bytes, peak_bytes, reset_peak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resetting the mark is Linux's")
def test_the_mark_rises_and_can_be_reset() -> None:
    # Mapped, not allocated: the C library may serve a large block from a hole in its heap, and keeps it when freed.
    block = mmap.mmap(-1, 200_000_000)
    for start in range(0, len(block), mmap.PAGESIZE):
        block[start] = 1
    high = peak_bytes()
    assert high > 200_000_000
    block.close()
    assert reset_peak()
    assert peak_bytes() < high - 100_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_this_process_can_have_what_it_has() -> None:
    available = available_bytes(torch.device("cpu"))
    assert available is not None
    assert available > resident_bytes() > 50_000_000


def test_processes_of_one_machine_share_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "free_bytes", lambda: 8_000)
    monkeypatch.setattr(peak_memory, "resident_bytes", lambda: 500)
    assert available_bytes(torch.device("cpu")) == 8_500
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert available_bytes(torch.device("cpu")) == 2_500
