from __future__ import annotations

import sys

import pytest
import torch

from spiritsafe.core.process.free_memory import resident_bytes
from spiritsafe.pipeline.plan.peak_memory import available_bytes, peak_bytes, reset_peak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resetting the mark is Linux's")
def test_the_mark_rises_and_can_be_reset() -> None:
    block = bytearray(200_000_000)
    high = peak_bytes()
    assert high > 200_000_000
    del block
    assert reset_peak()
    assert peak_bytes() < high - 100_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_this_process_can_have_what_it_has() -> None:
    available = available_bytes(torch.device("cpu"))
    assert available is not None
    assert available > resident_bytes() > 50_000_000
