from __future__ import annotations

import sys

import pytest

from spiritsafe.pipeline.peak import peak_bytes, reset_peak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resetting the mark is Linux's")
def test_the_mark_rises_and_can_be_reset() -> None:
    block = bytearray(200_000_000)
    high = peak_bytes()
    assert high > 200_000_000
    del block
    assert reset_peak()
    assert peak_bytes() < high - 100_000_000
